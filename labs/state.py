"""What a lab keeps on disk: `lab.json` says its shape; everything else is found from there and from the kernel."""

import os
import sys
from pathlib import Path

import msgspec

from labs import called
from labs.topology import LABS_DIR, Lab, checked_name
from netplane.errors import UsageError

FILE = "lab.json"
COMPLETE = "complete"


def save(lab: Lab) -> None:
    """Write `lab.json`, whole or not at all."""
    lab.folder.mkdir(parents=True, exist_ok=True)
    draft = lab.folder / f".{FILE}.new"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(lab))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(lab.folder / FILE)


def load(folder: Path) -> Lab:
    """The lab kept in a folder.

    Raises:
        UsageError: when there is none, or its file cannot be read.
    """
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Lab)
    except FileNotFoundError as error:
        others = ", ".join(names()) or "none"
        raise UsageError(
            f"there is no lab {folder.name!r}", hint=f"labs that are up: {others}; make one: {called.lab('up')}"
        ) from error
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{folder / FILE}: {error}", hint=f"remove what is left: {called.lab('down', folder.name)}"
        ) from error


def mark_complete(lab: Lab) -> None:
    """Note that the lab came up wholly: before, an interrupted `up` left something to clear, not to use."""
    (lab.folder / COMPLETE).touch()


def is_complete(folder: Path) -> bool:
    """Whether the lab in a folder came up wholly."""
    return (folder / COMPLETE).exists() and (folder / FILE).exists()


def by_name(name: str) -> Lab:
    """The lab of that name. Raises UsageError when there is none."""
    return load(LABS_DIR / checked_name(name))


def names() -> list[str]:
    """Names of the labs that have a folder, sorted."""
    if not LABS_DIR.is_dir():
        return []
    return sorted(path.name for path in LABS_DIR.iterdir() if path.is_dir())


def own_names() -> list[str]:
    """Names of the labs whose programs run from this Python environment; those that cannot be read are not ours."""
    found = []
    for name in names():
        try:
            lab = load(LABS_DIR / name)
        except UsageError:
            continue
        if lab.environment == sys.prefix:
            found.append(name)
    return found

"""Files of an apiserver: where they may be put, and how they are written (netplane.files); errors name them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from netplane.errors import NetplaneError, UsageError
from netplane.files import replacing


def checked_target(what: str, path: Path) -> Path:
    """`path`, if a file can be put there: its folder exists, and it is no device. Raises UsageError naming `what`.

    A misspelt folder is not made. What is put in the place of /dev/null would be there for every program.
    """
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{what} {path}: the folder {folder} does not exist", hint=f"make it first: mkdir -p {folder}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{what} {path} is no ordinary file", hint="name one, or a new one")
    return path


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content` in one step; its folder is made when missing.

    Raises:
        NetplaneError: naming the file, when it cannot be written.
    """
    with writing(path, mode) as file:
        file.write(content)


@contextmanager
def writing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` when the body ends well, and is gone when it does not.

    Raises:
        NetplaneError: naming the file, when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, mode) as file:
            yield file
    except OSError as error:
        raise NetplaneError(f"cannot write {path}: {error.strerror}", hint="check the folder and its owner") from error

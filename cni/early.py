"""Has the Python relay run while Python itself still starts: a relay needs next to nothing of what comes after.

    exec BIN_DIR/.netplane-python/python3 ─▶ types, sys, importlib ─▶ encodings ─▶ io, signals, script … ─▶ program
                                              python3._pth: here ──────▲
                                              encodings.py: the relay; it ends the process

The folder's `python3` is a link to the system's interpreter. Python reads the file `._pth` beside the name it was
called by and looks for modules only where that says, first of all for `encodings`, which it cannot do without. That one
is the relay. It is not documented for Linux, so it is tried out before it is used. Where it does not work the relay is
an ordinary script, and it becomes one again by itself: an interpreter that takes no notice of the file runs the script
that named it, and one that lacks a module hands over to it. It saves a fifth of the relay's time.
"""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from cni.files import link_atomic, write_atomic

FOLDER = ".netplane-python"
_FLAGS = "-ISOO"
_SHEBANG_MAX_BYTES = 127  # kernels before 5.1 cut the first line there
_TIMEOUT_S = 10.0

_HEAD = """\
# Made by `netplane cni install` out of its file cni/shim.py: a relay that runs before Python has started wholly.
try:
    import _socket
except ImportError:  # another interpreter came in the place of the one this was made for
    import posix
    import sys
    posix.execv({plain!r}, [{plain!r}, "-IS", *sys.argv])
"""


def quickened(bin_dir: Path, script: bytes, source: str) -> bytes:
    """The relay to put into `bin_dir`: the script with an interpreter of its own, made there, where that works.

    Args:
        bin_dir: where plugins lie.
        script: the relay; one that is no script stays as it is.
        source: of the same program, which ends with the exit status that its `main` returns.

    Raises:
        OSError: the folder cannot be written.
    """
    home = bin_dir.absolute()
    first, _, rest = script.partition(b"\n")
    plain = os.fsdecode(first.split(b" ")[0].removeprefix(b"#!")) if first.startswith(b"#!") else ""
    if not plain or not _may_be_named(home) or not _works(home, plain, Path(plain).stat().st_mtime_ns, source):
        return script
    _write(home, plain, source)
    return os.fsencode(_first_line(home)) + b"\n" + rest


def _first_line(bin_dir: Path) -> str:
    return f"#!{bin_dir / FOLDER / 'python3'} {_FLAGS}"


def _may_be_named(bin_dir: Path) -> bool:
    """Whether a script's first line can name something in it. A file system of its own is what a container sees of its
    host's folder: nobody knows where that lies on the host.
    """
    here = bin_dir.stat().st_dev == Path("/").stat().st_dev
    return here and len(_first_line(bin_dir)) < _SHEBANG_MAX_BYTES and not re.search(r"\s", str(bin_dir))


def uses(script: bytes) -> bool:
    """Whether a script's first line names the interpreter made here."""
    return FOLDER.encode() in script.partition(b"\n")[0]


def remove(bin_dir: Path) -> list[Path]:
    """Remove the interpreter. Returns what was removed."""
    found = [bin_dir / FOLDER] if (bin_dir / FOLDER).is_dir() else []
    for folder in found:
        shutil.rmtree(folder)
    return found


@lru_cache(maxsize=8)
def _works(bin_dir: Path, plain: str, changed_ns: int, source: str) -> bool:
    """Make it, and ask it something that it can answer only as it should. It keeps its bytecode for the next calls."""
    _write(bin_dir, plain, source)
    command = [str(bin_dir / FOLDER / "python3"), _FLAGS, os.devnull]
    asked = {"CNI_COMMAND": "VERSION"}
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, env=asked, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
        return done.returncode == 0 and done.stdout.startswith(b'{"cniVersion":')
    return False


def _write(bin_dir: Path, plain: str, source: str) -> None:
    folder = bin_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "python3._pth", b".\n", 0o644)
    text = _HEAD.format(plain=plain) + source + "\n\nposix._exit(main())\n"
    write_atomic(folder / "encodings.py", text.encode(), 0o644)
    link_atomic(folder / "python3", plain)

"""Files that others run or read while they are replaced."""

import os
from pathlib import Path

from netplane.files import replacing


def write_atomic(path: Path, data: bytes, mode: int) -> bool:
    """Write a file whole, unless it holds this already. Returns whether it was written."""
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
        return False
    with replacing(path, mode) as file:
        file.write(data)
    return True


def link_atomic(path: Path, target: str) -> None:
    """Make a symbolic link, or make an existing one lead there."""
    if path.is_symlink() and str(path.readlink()) == target:
        return
    part = path.with_name(f".{path.name}.{os.getpid()}~")
    try:
        part.symlink_to(target)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)

"""Ends the program when its configuration file changes: whoever started it starts it again, with the new one.

A ConfigMap's file is a link that is switched to another folder, which no watch on the file itself would show; its
content is compared.
"""

import asyncio
from pathlib import Path

from netplane.errors import NetplaneError


class ConfigurationChanged(NetplaneError):
    """The file holds something else than at start."""


async def until_changed(path: Path, *, every_s: float = 5.0) -> None:
    """Wait until a file's content changes, then raise ConfigurationChanged. A file that is gone has not changed."""
    began = _content(path)
    while True:
        await asyncio.sleep(every_s)
        now = _content(path)
        if now is not None and now != began:
            raise ConfigurationChanged(
                f"content of the proxy server's configuration file was updated: {path}",
                hint="start netplane-proxy again; the rules stay meanwhile",
            )


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None

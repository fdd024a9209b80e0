"""One command at a time on a lab: an abstract unix socket of the lab's name, which vanishes with its holder."""

import contextlib
import socket
from collections.abc import Iterator

from netplane.errors import UsageError


@contextlib.contextmanager
def held(name: str) -> Iterator[None]:
    """Hold the lab of this name.

    Raises:
        UsageError: when another command holds it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.bind(f"\0netplane-lab-{name}")
        except OSError as error:
            raise UsageError(
                f"another command is at work on lab {name}", hint="wait until it is done, or give another name"
            ) from error
        yield

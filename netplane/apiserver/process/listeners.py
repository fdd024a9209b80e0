"""Listening sockets, each made inside its network namespace: one process then serves them all from one loop."""

import errno
import socket

from netplane.apiserver.process.settings import Listener
from netplane.errors import UsageError
from netplane.kernel import netns

BACKLOG = 2048


def open_all(listeners: tuple[Listener, ...]) -> list[socket.socket]:
    """Bound and listening sockets, in order; on failure none stays open.

    Raises:
        UsageError: naming the flag, the address and what to do.
    """
    sockets: list[socket.socket] = []
    try:
        for listener in listeners:
            sockets.append(_open(listener))  # noqa: PERF401 - those made so far are closed when one fails
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _open(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if listener.address.version == 6 else socket.AF_INET
    flag = f"--listen-netns {listener.netns}={listener.address}:{listener.port}" if listener.netns else "--secure-port"
    if listener.netns:
        with netns.opened(listener.netns) as fd:
            made = netns.socket_in(fd, family, socket.SOCK_STREAM)
    else:
        made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if listener.address.is_loopback else 0)
        made.bind((str(listener.address), listener.port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise UsageError(
            f"{flag}: cannot listen on {listener}: {error.strerror}", hint=_hint(error, listener)
        ) from error
    return made


def _hint(error: OSError, listener: Listener) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program has port {listener.port}; stop it or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listener.address} is not an address here; add it to an interface or choose another"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root"
    return "choose another address or port"


def actual(listener: Listener, made: socket.socket) -> Listener:
    """The listener with the port the kernel chose, where 0 was asked for."""
    return listener._replace(port=int(made.getsockname()[1]))

"""Network namespaces: named ones under /run/netns (as iproute2 keeps them), and work done inside one.

A thread that enters a namespace changes only itself. Code that must run inside one therefore enters, makes its
socket and returns: a socket belongs for ever to the namespace it was made in.
"""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from netplane.errors import NetplaneError

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class NetnsError(NetplaneError):
    """A namespace that cannot be made, opened or entered."""


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def setns(fd: int) -> None:
    """Move the calling thread into the namespace behind `fd`."""
    _call("setns", fd, CLONE_NEWNET)


def path(name_or_path: str) -> Path:
    """`blue` → /run/netns/blue; a path stays as it is."""
    return Path(name_or_path) if "/" in name_or_path else NETNS_DIR / name_or_path


def exists(name: str) -> bool:
    """Whether a named namespace is there."""
    return path(name).exists()


@contextlib.contextmanager
def opened(name_or_path: str) -> Iterator[int]:
    """An open descriptor of a namespace, closed on leaving.

    Raises:
        NetnsError: when there is no such namespace.
    """
    target = path(name_or_path)
    try:
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetnsError(f"network namespace {target}: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def entered(fd: int | None) -> Iterator[None]:
    """Run the body with the calling thread inside the namespace behind `fd` (None: where it is).

    If the way back fails the process ends: a thread left in a stranger's namespace would change it.
    """
    if fd is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd)
        try:
            yield
        finally:
            try:
                setns(home)
            except OSError:
                os._exit(70)
    finally:
        os.close(home)


def socket_in(fd: int | None, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket made inside the namespace behind `fd` (None: the caller's)."""
    with entered(fd):
        return socket.socket(family, kind, protocol)


def run_in(name_or_path: str, work: Callable[[], T]) -> T:
    """Call `work` in a new thread inside a namespace and return its result; its exceptions are raised here."""

    def enter() -> None:
        with opened(name_or_path) as fd:
            setns(fd)

    return _in_thread(work, enter, f"netns-{name_or_path}")


def run_in_new(work: Callable[[], T]) -> T:
    """Call `work` in a new thread inside a fresh, nameless namespace that ends with it; raises what it raises."""
    return _in_thread(work, lambda: _call("unshare", CLONE_NEWNET), "netns-new")


def _in_thread(work: Callable[[], T], enter: Callable[[], None], name: str) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            enter()
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name=name)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def create(name: str) -> Path:
    """Make a named namespace with its loopback still down; /run/netns is shared as `ip netns add` does it.

    Raises:
        NetnsError: when it exists already, or the caller may not (not root).
    """
    target = path(name)
    try:
        _prepare_dir()
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as error:
        raise NetnsError(f"network namespace {name} exists already") from error
    except OSError as error:
        raise NetnsError(f"network namespace {name}: {error.strerror}", hint="making namespaces needs root") from error

    def keep() -> None:
        _call("mount", b"/proc/thread-self/ns/net", os.fsencode(target), b"none", _MS_BIND, None)

    try:
        run_in_new(keep)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise NetnsError(f"network namespace {name}: {error.strerror}", hint="making namespaces needs root") from error
    return target


def delete(name: str) -> None:
    """Remove a named namespace; harmless when it is gone. What runs inside keeps it alive until it ends."""
    target = path(name)
    with contextlib.suppress(OSError):
        _call("umount2", os.fsencode(target), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()


def names(prefix: str = "") -> list[str]:
    """Named namespaces that begin with `prefix`, sorted."""
    if not NETNS_DIR.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIR.iterdir() if entry.name.startswith(prefix))


def _prepare_dir() -> None:
    NETNS_DIR.mkdir(parents=True, exist_ok=True)
    where = os.fsencode(NETNS_DIR)
    try:
        _call("mount", b"", where, b"none", _MS_SHARED | _MS_REC, None)
    except OSError:
        _call("mount", where, where, b"none", _MS_BIND | _MS_REC, None)
        _call("mount", b"", where, b"none", _MS_SHARED | _MS_REC, None)

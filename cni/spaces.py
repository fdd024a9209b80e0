"""Pods' network namespaces: opened by path or taken from the relay, and checked before anything enters them."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from cni.errors import CniError, Code
from netplane.kernel.netns import CLONE_NEWNET

_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)


@contextlib.contextmanager
def pod_space(path: str, passed_fd: int | None) -> Iterator[int]:
    """A descriptor of the pod's namespace.

    Args:
        path: CNI_NETNS.
        passed_fd: the caller's descriptor of the same, which wins: the path may mean nothing here. Stays open.

    Raises:
        CniError: INVALID_ENVIRONMENT when it is no network namespace, or is the node's own.
    """
    if passed_fd is not None:
        _check(path, passed_fd)
        yield passed_fd
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _bad(path, f"cannot be opened: {why}") from error
    try:
        _check(path, fd)
        yield fd
    finally:
        os.close(fd)


def _check(path: str, fd: int) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError as error:
        raise _bad(path, "is no namespace") from error
    if kind != CLONE_NEWNET:
        raise _bad(path, "is a namespace of another kind")
    if os.path.samestat(os.fstat(fd), Path("/proc/thread-self/ns/net").stat()):
        raise _bad(path, "is the node's own network namespace")


def _bad(path: str, problem: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS: {path!r} {problem}")

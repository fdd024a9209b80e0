"""Kernel parameters under /proc/sys; the network ones belong to the namespace of the calling thread."""

from pathlib import Path

from netplane.errors import NetplaneError

_ROOT = Path("/proc/sys")


class SysctlError(NetplaneError):
    """A parameter that is not there or may not be written."""


def read(name: str) -> str | None:
    """The value of `net/ipv4/ip_forward` (slashes, since interface names hold dots); None when it is not there."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str | int) -> bool:
    """Set a parameter when it differs. Returns whether it was written.

    Raises:
        SysctlError: when the parameter does not exist or the kernel refuses the value.
    """
    if read(name) == str(value):
        return False
    try:
        (_ROOT / name).write_text(str(value))
    except OSError as error:
        raise SysctlError(
            f"sysctl {name}={value}: {error.strerror}",
            hint="run as root; the kernel may lack the module that offers this parameter",
        ) from error
    return True

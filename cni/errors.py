"""PURE: CNI errors: the codes of the specification (CNI 1.1.0, section 5, "Error") and ours above 100."""

from enum import IntEnum

import msgspec

from netplane.errors import NetplaneError


class Code(IntEnum):
    """What a runtime can act on. 1 to 99 are the specification's."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO = 5
    DECODING = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    INTERNAL = 100
    ADDRESSES_EXHAUSTED = 101
    ALREADY_ATTACHED = 102
    KERNEL = 103
    CHECK_FAILED = 104
    PORT_IN_USE = 105
    UNSUPPORTED_BY_KERNEL = 106


class CniError(NetplaneError):
    """A failure a runtime is told about.

    Args:
        code: what kind of failure; another plugin's own is passed on as it is.
        message: one line, naming the field, variable or object.
        details: what to do about it.
    """

    def __init__(self, code: Code | int, message: str, details: str = "") -> None:
        super().__init__(message, hint=details)
        self.code = code


def invalid(field: str, problem: str, advice: str = "") -> CniError:
    """An INVALID_CONFIG error that names its field."""
    return CniError(Code.INVALID_CONFIG, f"{field}: {problem}", advice)


class _Wire(msgspec.Struct, omit_defaults=True):
    cniVersion: str  # noqa: N815 - the name on the wire
    code: int
    msg: str
    details: str = ""


def encode(error: CniError, version: str) -> bytes:
    """The error as a plugin prints it on stdout. Bytes that are no UTF-8 are shown escaped."""
    message, details = (text.encode(errors="backslashreplace").decode() for text in (error.message, error.hint))
    return msgspec.json.encode(_Wire(version, int(error.code), message, details))

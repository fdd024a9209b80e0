"""PURE: what the relay and the agent say to each other over the unix socket.

    request   "NPC1"  u32 environment bytes  u32 stdin bytes   environment   stdin
    reply     "NPR1"  u32 exit status        u32 text bytes    text for stdout

Numbers are big endian. The environment is NUL-terminated strings: the name the relay was called by, then each CNI_*
variable as KEY=value. An open descriptor of CNI_NETNS may ride on the first byte (SCM_RIGHTS), so that a namespace
which only the caller's mount namespace can name still reaches the agent. `cni/shim.c` and `cni/shim.py` write the
same bytes; neither parses JSON.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

REQUEST_MAGIC, REPLY_MAGIC = b"NPC1", b"NPR1"
HEADER = struct.Struct("!4sII")
ENVIRONMENT_MAX_BYTES = 1 << 16
STDIN_MAX_BYTES = 1 << 20


class FrameError(ValueError):
    """Bytes that are no frame of ours."""


class Request(NamedTuple):
    """What a runtime called the plugin with; text is UTF-8 with odd bytes as lone surrogates, as os.environ has it."""

    argv0: str
    environment: Mapping[str, str]
    stdin: bytes


def request_sizes(header: bytes) -> tuple[int, int]:
    """(environment bytes, stdin bytes) of a request.

    Raises:
        FrameError: when it is none, or announces more than the bounds.
    """
    magic, environment, stdin = HEADER.unpack(header)
    if magic != REQUEST_MAGIC:
        raise FrameError("this socket speaks to the netplane CNI relay only")
    if environment > ENVIRONMENT_MAX_BYTES:
        raise FrameError(f"the CNI_* environment is {environment} bytes, at most {ENVIRONMENT_MAX_BYTES} are read")
    if stdin > STDIN_MAX_BYTES:
        raise FrameError(f"the configuration on stdin is {stdin} bytes, at most {STDIN_MAX_BYTES} are read")
    return environment, stdin


def request_body(environment: bytes, stdin: bytes) -> Request:
    """The two parts that follow a request's header."""
    argv0, *pairs = environment.decode(errors="surrogateescape").split("\0")
    return Request(argv0, dict(pair.split("=", 1) for pair in pairs if "=" in pair), stdin)


def encode_request(request: Request) -> bytes:
    """The bytes a relay sends."""
    words = [request.argv0, *(f"{key}={value}" for key, value in request.environment.items())]
    environment = "".join(word + "\0" for word in words).encode(errors="surrogateescape")
    return HEADER.pack(REQUEST_MAGIC, len(environment), len(request.stdin)) + environment + request.stdin


def decode_request(frame: bytes) -> Request:
    """A whole request, as the relay saves one for later.

    Raises:
        FrameError: when it is cut short or is none.
    """
    if len(frame) < HEADER.size:
        raise FrameError("the request is cut short")
    environment, stdin = request_sizes(frame[: HEADER.size])
    if len(frame) != HEADER.size + environment + stdin:
        raise FrameError("the request is cut short")
    middle = HEADER.size + environment
    return request_body(frame[HEADER.size : middle], frame[middle:])


def encode_reply(status: int, text: bytes) -> bytes:
    """The bytes the agent answers: the exit status and what the plugin prints."""
    return HEADER.pack(REPLY_MAGIC, status, len(text)) + text


def decode_reply(frame: bytes) -> tuple[int, bytes]:
    """(exit status, text). Raises FrameError when it is cut short or is none."""
    if len(frame) < HEADER.size:
        raise FrameError("the reply is cut short")
    magic, status, size = HEADER.unpack_from(frame)
    if magic != REPLY_MAGIC or len(frame) != HEADER.size + size:
        raise FrameError("the reply is cut short")
    return status, frame[HEADER.size :]

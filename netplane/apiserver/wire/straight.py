"""Bytes of a streamed answer straight to the connection, for one who has them framed already.

ASGI's way costs a task's wake-up, a message and the framing for each piece, some 10 µs; and a thousand watchers of one
event want the same bytes. What is written here is what uvicorn would write: an HTTP/1.1 chunk (RFC 9112, section 7.1).
"""

import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from netplane.apiserver.wire.reply import PART_BYTES, Reply, Send


class Straight:
    """One answer that goes out in chunks."""

    __slots__ = ("_answer", "_flow", "_write")

    def __init__(self, answer: RequestResponseCycle) -> None:
        self._answer = answer
        self._flow = answer.flow
        self._write = answer.transport.write

    def write(self, framed: bytes) -> bool:
        """Write a chunk if the client is there and reads what it gets; False: nothing was written."""
        answer = self._answer
        if self._flow.write_paused or answer.disconnected or answer.response_complete or not answer.chunked_encoding:
            return False
        self._write(framed)
        return True


def of(send: Send) -> Straight | None:
    """The way around `send`; None where there is none, since somebody stands between (or it is no socket's)."""
    answer = getattr(send, "__self__", None)
    return Straight(answer) if isinstance(answer, RequestResponseCycle) and answer.scope["method"] == "GET" else None


_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def whole(answer: Reply, send: Send) -> bool:
    """Write a whole answer at once, head and body; False: nothing was written, `send` must."""
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or len(answer.body) > PART_BYTES or not _plain(cycle):
        return False
    more = b"".join([b"%b: %b\r\n" % one for one in answer.headers]) if answer.headers else b""
    if more and _CONTROL.search(more.replace(b"\r\n", b"", len(answer.headers))):
        return False
    head = b"%bcontent-type: %b\r\n%b: %b\r\ncontent-length: %d\r\n%b\r\n" % (
        STATUS_LINE[answer.status], answer.content_type, *answer.cache, len(answer.body), more,
    )  # fmt: skip
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(head + answer.body)
    cycle.message_event.set()
    cycle.on_response()
    return True


def _plain(cycle: RequestResponseCycle) -> bool:
    """Whether a client waits for an answer with a body, on a connection that stays open."""
    waits = not (cycle.response_started or cycle.disconnected or cycle.flow.write_paused)
    return waits and cycle.keep_alive and cycle.scope["method"] != "HEAD" and not cycle.default_headers


def chunk(body: bytes) -> bytes:
    """A body's bytes, framed; nothing for nothing, since an empty chunk is the end."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""

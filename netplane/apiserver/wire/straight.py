"""Bytes of a streamed answer straight to the connection, for one who has them framed already.

ASGI's way costs a task's wake-up, a message and the framing for each piece, some 10 µs; and a thousand watchers of one
event want the same bytes. What is written here is what uvicorn would write: an HTTP/1.1 chunk (RFC 9112, section 7.1).
"""

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from netplane.apiserver.wire.reply import Send


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


def chunk(body: bytes) -> bytes:
    """A body's bytes, framed; nothing for nothing, since an empty chunk is the end."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""

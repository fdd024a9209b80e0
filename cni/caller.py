"""One relay at the agent's socket: what it has sent so far, and what of the answer it has not taken yet.

Nothing here waits: a thread and the event loop both use it, each with its own way of waiting for more.
"""

import array
import os
import select
import socket
import struct

from cni import errors, frames
from cni.errors import CniError, Code
from cni.frames import FrameError, Request
from cni.results import VERSIONS

_PEER = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED
_MAX_RIGHTS = 4


class Caller:
    """A connection; `close` it, and with it the descriptors that came along.

    Raises:
        PermissionError: it is neither root nor ourselves; the connection is closed.
    """

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.request: Request | None = None
        self.rest: bytes | None = None
        self._data = bytearray()
        self._rights: list[int] = []
        client.setblocking(False)
        uid = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
        if uid not in (0, os.geteuid()):
            client.close()
            raise PermissionError(f"user {uid} may not call the CNI agent")

    @property
    def container(self) -> str:
        """Whose call it is, once it is read."""
        return self.request.environment.get("CNI_CONTAINERID", "") if self.request else ""

    @property
    def netns_fd(self) -> int | None:
        """The pod's namespace, when the relay could open it."""
        return self._rights[0] if self._rights else None

    def close(self) -> None:
        """Hang up."""
        for fd in self._rights:
            os.close(fd)
        self._rights.clear()
        self.client.close()

    # Reading --------------------------------------------------------------------------------------------------

    def read(self, patience_s: float = 0.0) -> bool:
        """Take what is there; whether the request is whole now, or was none and has its answer.

        Args:
            patience_s: how long to wait, once, for more.
        """
        try:
            while self.request is None:
                if len(self._data) >= self._size():
                    self.request = frames.decode_request(bytes(self._data))
                elif not self._receive():
                    if not patience_s or not _readable(self.client, patience_s):
                        return False
                    patience_s = 0.0
        except FrameError as error:
            failure = CniError(Code.DECODING, str(error))
            self.rest = frames.encode_reply(1, errors.encode(failure, VERSIONS[-1]))
        return True

    def _size(self) -> int:
        """Bytes of the whole request, or of its header as long as that is not known."""
        if len(self._data) < frames.HEADER.size:
            return frames.HEADER.size
        return frames.HEADER.size + sum(frames.request_sizes(bytes(self._data[: frames.HEADER.size])))

    def _receive(self) -> bool:
        """Take what is there; whether there was something."""
        room = socket.CMSG_SPACE(_MAX_RIGHTS * array.array("i").itemsize)
        try:
            data, control, _, _ = self.client.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        for level, kind, packed in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
                self._rights.extend(fds)
        if not data:
            raise FrameError("the request is cut short")
        self._data += data
        return True

    # Answering ------------------------------------------------------------------------------------------------

    def answer(self, status: int, text: bytes) -> None:
        """Send the exit status and the text, as far as they are taken now; `rest` is what remains."""
        self.rest = frames.encode_reply(status, text)
        self.send()

    def send(self) -> bool:
        """Send more of the answer; whether all is sent."""
        while self.rest:
            try:
                self.rest = self.rest[self.client.send(self.rest) :]
            except BlockingIOError:
                return False
        return True


def _readable(client: socket.socket, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLIN)
    return bool(poll.poll(patience_s * 1e3))

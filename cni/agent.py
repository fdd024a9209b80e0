"""The agent's socket: takes relays' requests, runs them in worker threads, one at a time per container.

    accept ─▶ root? ─▶ read the frame (bounded bytes, bounded time) ─▶ container's turn ─▶ worker thread ─▶ reply

Reading happens in the event loop and waiting for a turn is not in a thread, so neither a client that stops halfway nor
a container that is slow holds anything that another container's call needs. A worker sends what fits into the client's
socket (nearly always all of it) before the loop hears of it, which spares the client a wait for the loop's turn.
"""

import array
import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cni import errors, frames
from cni.errors import CniError, Code
from cni.frames import Request
from cni.results import VERSIONS
from netplane.errors import NetplaneError
from netplane.obs import logs

log = logs.get("cni.agent")

T = TypeVar("T")
Handler = Callable[[Request, int | None], tuple[int, bytes]]

WORKERS = 16
# A DEL mostly waits for the kernel, and the more of them wait together the more go in one group (see cni/reaper.py).
DELETERS = 64
CLIENT_TIMEOUT_S = 10.0
BACKLOG = 1024
SWEEP_S = 30.0
_SO_PEERCRED_BYTES = struct.calcsize("3i")
_MAX_RIGHTS = 4


class Agent:
    """Serves the relay.

    Args:
        path: of the socket; its folder is made for root alone. `PATH.pending/` holds DELs that found no agent.
        handler: does one call; blocking, any thread.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self.pending = Path(f"{path}.pending")
        self._handler = handler
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._workers = ThreadPoolExecutor(WORKERS, "cni")
        self._deleters = ThreadPoolExecutor(DELETERS, "cni-del")
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled; calls under way are finished first.

        Once the socket listens no relay saves a DEL any more, so saved ones are worked off right then, before the first
        call; later ones (of a relay that gave up waiting) every SWEEP_S.
        """
        listener = self._listen()
        await self._work_off_pending()
        sweeper = asyncio.create_task(self._sweep())
        try:
            await self._accept(listener)
        finally:
            listener.close()
            sweeper.cancel()
            self.path.unlink(missing_ok=True)
            if self._clients:
                await asyncio.wait(self._clients)
            self._workers.shutdown()
            self._deleters.shutdown()

    def _listen(self) -> socket.socket:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.pending.mkdir(exist_ok=True, mode=0o700)
            self.path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            mask = os.umask(0o177)
            try:
                listener.bind(os.fspath(self.path))
            finally:
                os.umask(mask)
            listener.listen(BACKLOG)
        except OSError as error:
            raise NetplaneError(
                f"--socket {self.path}: {error.strerror or error}", hint="name a path shorter than 108 bytes"
            ) from error
        return listener

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._serve(client))
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)

    async def _serve(self, client: socket.socket) -> None:
        rights: list[int] = []
        try:
            _check_peer(client)
            try:
                async with asyncio.timeout(CLIENT_TIMEOUT_S):
                    request = await _read_request(client, rights)
            except frames.FrameError as error:
                rest = frames.encode_reply(1, errors.encode(CniError(Code.DECODING, str(error)), VERSIONS[-1]))
            else:
                netns_fd = rights[0] if rights else None
                rest = await self._turned(request, lambda: _reply(client, *self._handler(request, netns_fd)))
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_sendall(client, rest)
        except (OSError, TimeoutError) as error:
            log.warning("a client went away", error=str(error) or type(error).__name__)
        finally:
            for fd in rights:
                os.close(fd)
            client.close()

    async def call(self, request: Request, netns_fd: int | None) -> tuple[int, bytes]:
        """Run one request in a worker when it is its container's turn."""
        return await self._turned(request, lambda: self._handler(request, netns_fd))

    async def _turned(self, request: Request, work: Callable[[], T]) -> T:
        pool = self._deleters if request.environment.get("CNI_COMMAND") == "DEL" else self._workers
        async with self._turn(request.environment.get("CNI_CONTAINERID", "")):
            return await asyncio.get_running_loop().run_in_executor(pool, work)

    @contextlib.asynccontextmanager
    async def _turn(self, container: str) -> AsyncIterator[None]:
        lock, users = self._turns.get(container, (asyncio.Lock(), 0))
        self._turns[container] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(container)
            if users > 1:
                self._turns[container] = lock, users - 1

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._work_off_pending()
            except OSError as error:
                log.warning("cannot read saved requests", folder=str(self.pending), error=str(error))

    async def _work_off_pending(self) -> None:
        """DELs that came while nobody listened. One that fails is kept for the next time."""
        for file in sorted(self.pending.iterdir()):
            if file.name.endswith("~"):
                if time.time() - file.stat().st_mtime > SWEEP_S:
                    file.unlink(missing_ok=True)
                continue
            try:
                request = frames.decode_request(file.read_bytes())
            except frames.FrameError as error:
                log.warning("dropped a saved request that cannot be read", file=file.name, error=str(error))
                file.unlink(missing_ok=True)
                continue
            status, text = await self.call(request, None)
            if status and request.environment.get("CNI_COMMAND") == "DEL":
                log.warning("a saved DEL failed and is kept", file=file.name, error=text.decode(errors="replace"))
                continue
            file.unlink(missing_ok=True)


def _check_peer(client: socket.socket) -> None:
    packed = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _SO_PEERCRED_BYTES)
    _, uid, _ = struct.unpack("3i", packed)
    if uid not in (0, os.geteuid()):
        raise PermissionError(f"user {uid} may not call the CNI agent")


def _reply(client: socket.socket, status: int, text: bytes) -> bytes:
    """Send a reply as far as the client's socket takes it now; returns the rest."""
    frame = frames.encode_reply(status, text)
    try:
        return frame[client.send(frame) :]
    except BlockingIOError:
        return frame


async def _read_request(client: socket.socket, rights: list[int]) -> Request:
    """One frame; descriptors that came with it are put in `rights`, whatever happens after.

    Raises:
        FrameError: it is none, too large, or cut short.
    """
    data = bytearray()
    await _read(client, data, frames.HEADER.size, rights)
    environment, stdin = frames.request_sizes(bytes(data[: frames.HEADER.size]))
    await _read(client, data, frames.HEADER.size + environment + stdin, rights)
    return frames.decode_request(bytes(data))


async def _read(client: socket.socket, data: bytearray, size: int, rights: list[int]) -> None:
    """Until `data` has `size` bytes; a whole request mostly comes at once."""
    while len(data) < size:
        more = await _receive(client, rights)
        if not more:
            raise frames.FrameError("the request is cut short")
        data += more


async def _receive(client: socket.socket, rights: list[int]) -> bytes:
    room = socket.CMSG_SPACE(_MAX_RIGHTS * array.array("i").itemsize)
    while True:
        try:
            data, control, _, _ = client.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(client)
            continue
        for level, kind, packed in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
                rights.extend(fds)
        return data


async def _readable(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(client, wake)
    try:
        await ready
    finally:
        loop.remove_reader(client)

"""The agent's socket: takes relays' requests and has them done, one at a time per container.

    accept ─▶ root? ─▶ a whole request at once, and its container's turn ─▶ done and answered in the same thread
                  └──▶ otherwise the event loop waits: for the rest of it (bounded bytes, bounded time), for its turn

Nearly every call goes the short way. Waiting is not done in threads, so neither a client that stops halfway nor a
container that is slow holds anything that another container's call needs.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cni import frames
from cni.caller import Caller
from cni.crew import Crew
from cni.frames import Request
from cni.turns import Turns
from netplane.errors import NetplaneError
from netplane.obs import logs

log = logs.get("cni.agent")

Handler = Callable[[Request, int | None], tuple[int, bytes]]

THREADS = 64
CLIENT_TIMEOUT_S = 10.0
# A relay sends its request right after it connects; one that takes longer is waited for in the event loop.
PATIENCE_S = 0.002
# Calls under way when the agent is told to stop; what is not done by then is put right by the next start.
GRACE_S = 5.0
BACKLOG = 1024
SWEEP_S = 30.0


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
        self._turns = Turns()
        self._late = ThreadPoolExecutor(THREADS, "cni-late")
        self._waiting: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Serve until cancelled; calls under way are finished first, for GRACE_S at most.

        Once the socket listens no relay saves a DEL any more, so saved ones are worked off right then, before the first
        call; later ones (of a relay that gave up waiting) every SWEEP_S.
        """
        self._loop = asyncio.get_running_loop()
        listener = self._listen()
        crew = Crew(listener, self._serve, THREADS)
        try:
            await self._work_off_pending()
            crew.start()
            await self._sweep()
        finally:
            self.path.unlink(missing_ok=True)
            await self._finish(crew)
            listener.close()

    async def _finish(self, crew: Crew) -> None:
        """Who has not said yet what it wants is hung up on, and tries again or leaves its DEL for the next agent."""
        ended = await asyncio.to_thread(crew.stop, GRACE_S)
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            _, late = await asyncio.wait(self._waiting, timeout=GRACE_S)
            ended = ended and not late
        self._late.shutdown(wait=False, cancel_futures=True)
        if not ended:
            log.warning("stopped in the middle of calls; the next start puts right what they left")

    def _listen(self) -> socket.socket:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.pending.mkdir(exist_ok=True, mode=0o700)
            self.path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
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

    # The short way, in a thread of the crew ----------------------------------------------------------------------

    def _serve(self, client: socket.socket) -> None:
        try:
            caller = Caller(client)
        except OSError as error:
            _went_away(error)
            return
        try:
            done = self._at_once(caller)
        except OSError as error:
            _went_away(error)
            done = True
        except Exception:
            log.exception("a call failed; its client is hung up on")
            done = True
        if done:
            caller.close()
        else:
            assert self._loop is not None, "set before the crew starts"
            self._loop.call_soon_threadsafe(self._wait_for, caller)

    def _at_once(self, caller: Caller) -> bool:
        """Whether the client has its whole answer; False when there is something to wait for."""
        if not caller.read(PATIENCE_S):
            return False
        if caller.request is not None:
            with self._turns.now(caller.container) as mine:
                if not mine:
                    return False
                with logs.put_off():
                    caller.answer(*self._handler(caller.request, caller.netns_fd))
        return caller.send()

    # The long way, in the event loop -----------------------------------------------------------------------------

    def _wait_for(self, caller: Caller) -> None:
        task = asyncio.ensure_future(self._attend(caller))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _attend(self, caller: Caller) -> None:
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                while not caller.read():
                    await _readable(caller.client)
            if caller.rest is None and caller.request is not None:
                caller.answer(*await self.call(caller.request, caller.netns_fd))
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_sendall(caller.client, caller.rest or b"")
        except (OSError, TimeoutError) as error:
            _went_away(error)
        finally:
            caller.close()

    async def call(self, request: Request, netns_fd: int | None) -> tuple[int, bytes]:
        """Do one request in a thread when it is its container's turn."""
        async with self._turns.later(request.environment.get("CNI_CONTAINERID", "")):
            work = asyncio.get_running_loop().run_in_executor(self._late, self._handler, request, netns_fd)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                # It goes on in its thread, with the client's descriptor: neither may go before it has ended.
                await asyncio.wait([work], timeout=GRACE_S)
                raise

    def when_idle(self, container: str, work: Callable[[], None]) -> bool:
        """Do something for a container unless a call for it is under way; whether it was done. Any thread."""
        with self._turns.now(container) as mine:
            if mine:
                work()
            return mine

    # Saved DELs --------------------------------------------------------------------------------------------------

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


def _went_away(error: BaseException) -> None:
    log.warning("a client went away", error=str(error) or type(error).__name__)


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

"""A TCP relay between a client and a server, for tests that lose answers on the way."""

import asyncio
import contextlib


class Relay:
    """Listens on loopback and passes bytes both ways; used from one event loop."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._losing = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def lose_answers(self) -> None:
        """From now on requests arrive, and answers do not."""
        self._losing = True

    def cut(self) -> None:
        """Break all connections; new ones are as good as ever."""
        self._losing = False
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        server, requests = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {answers, requests}
        await asyncio.gather(self._pass(client, requests, answer=False), self._pass(server, answers, answer=True))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not (answer and self._losing):
                    target.write(data)
                    await target.drain()
        target.transport.abort()
        self._writers.discard(target)

    async def close(self) -> None:
        """Stop listening, end connections."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

"""Connections of the apiserver without sockets: its protocol over a pipe that keeps what is written."""

import asyncio
from typing import Any

import uvicorn

from netplane.apiserver.access.peer import Protocol


class Pipe(asyncio.Transport):
    """A connection's other end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.closed = False
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def serving(app: Any, **settings: Any) -> uvicorn.Server:
    """A server of an application that listens nowhere; `settings` as uvicorn has them."""
    config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None, **settings)
    config.load()
    return uvicorn.Server(config)


def connected(server: uvicorn.Server) -> tuple[Protocol, Pipe]:
    """A connection to it, just made."""
    protocol, pipe = Protocol(server.config, server.server_state, {}), Pipe()
    protocol.connection_made(pipe)
    return protocol, pipe

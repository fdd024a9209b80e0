"""What the agent's stop waits for, and what it does not. A wait that never ends would be the test's timeout."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cni import agent as agents
from cni import frames
from cni.agent import Agent
from cni.frames import Request


def frame(container: str = "c1", command: str = "ADD") -> bytes:
    return frames.encode_request(Request("netplane", {"CNI_COMMAND": command, "CNI_CONTAINERID": container}, b"{}"))


async def ask(path: Path, data: bytes) -> bytes:
    """What the agent answers; b"" when it hangs up."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


@contextlib.asynccontextmanager
async def running(agent: Agent) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(agent.run())
    while not agent.path.exists():
        await asyncio.sleep(0.01)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_stop_hangs_up_on_clients_that_have_not_said_what_they_want(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "CLIENT_TIMEOUT_S", 3600.0)
    handled: list[Request] = []

    def handle(request: Request, _: int | None) -> tuple[int, bytes]:
        handled.append(request)
        return 0, b""

    async def play() -> list[bytes]:
        agent = Agent(tmp_path / "s", handle)
        async with running(agent) as task:
            asked = [asyncio.create_task(ask(agent.path, frame()[:size])) for size in (0, 5, 12, 40)]
            while len(agent._waiting) < len(asked):
                await asyncio.sleep(0.01)
            task.cancel()
            return await asyncio.gather(*asked)

    assert asyncio.run(play()) == [b""] * 4
    assert handled == []


def test_a_stop_finishes_calls_under_way_and_answers_them(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Request, _: int | None) -> tuple[int, bytes]:
        begun.set()
        assert go_on.wait(60)
        return 0, request.environment["CNI_CONTAINERID"].encode()

    async def play() -> tuple[int, bytes]:
        agent = Agent(tmp_path / "s", slow)
        async with running(agent) as task:
            asked = asyncio.create_task(ask(agent.path, frame("c7")))
            await asyncio.to_thread(begun.wait, 60)
            task.cancel()
            while agent.path.exists():
                await asyncio.sleep(0.01)
            go_on.set()
            return frames.decode_reply(await asked)

    assert asyncio.run(play()) == (0, b"c7")


def test_a_stop_does_not_wait_for_a_call_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "GRACE_S", 0.05)
    begun, never = threading.Event(), threading.Event()

    def stuck(request: Request, _: int | None) -> tuple[int, bytes]:
        begun.set()
        never.wait()
        return 0, b""

    async def play() -> None:
        agent = Agent(tmp_path / "s", stuck)
        async with running(agent):
            asked = [asyncio.create_task(ask(agent.path, frame("c1"))) for _ in range(3)]
            await asyncio.to_thread(begun.wait, 60)
        for one in asked[1:]:
            one.cancel()

    try:
        asyncio.run(play())
    finally:
        never.set()


def test_turns_of_one_container_are_kept_whichever_way_calls_come(tmp_path: Path) -> None:
    """The first comes whole, the others in two parts: one is done by a thread, those wait in the event loop."""
    together, most, lock = 0, 0, threading.Lock()

    def count(request: Request, _: int | None) -> tuple[int, bytes]:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        threading.Event().wait(0.005)
        with lock:
            together -= 1
        return 0, json.dumps(dict(request.environment)).encode()

    async def in_parts(path: Path) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(frame()[:20])
        await asyncio.sleep(0.01)
        writer.write(frame()[20:])
        return await reader.read()

    async def play() -> list[bytes]:
        agent = Agent(tmp_path / "s", count)
        async with running(agent):
            return await asyncio.gather(
                *(ask(agent.path, frame()) for _ in range(8)), *(in_parts(agent.path) for _ in range(8))
            )

    answers = asyncio.run(play())
    assert {frames.decode_reply(answer)[0] for answer in answers} == {0}
    assert (len(answers), most) == (16, 1)


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(tmp_path: Path) -> None:
    large = b"x" * 4_000_000

    async def play() -> bytes:
        agent = Agent(tmp_path / "s", lambda *_: (0, large))
        async with running(agent):
            client = socket.socket(socket.AF_UNIX)
            await asyncio.to_thread(client.connect, str(agent.path))
            with client:
                client.send(frame())
                await asyncio.sleep(0.05)
                parts = []
                while part := await asyncio.to_thread(client.recv, 1 << 20):
                    parts.append(part)
                return b"".join(parts)

    assert frames.decode_reply(asyncio.run(play())) == (0, large)

"""Connections whose request never comes are closed; the others are not."""

import asyncio

import pytest

from netplane.apiserver.access import peer
from netplane.apiserver.access.tokens import User
from tests.connections import connected, serving


@pytest.mark.parametrize(
    ("names", "user"),
    [
        (["jane"], User("jane", "", ("dev", "system:authenticated"))),
        (["jane", "joe"], User("joe", "", ("dev", "system:authenticated"))),
        ([""], None),
        ([], None),
    ],
)
def test_who_a_certificate_names(names: list[str], user: User | None) -> None:
    subject = ((("organizationName", "dev"),), *((("commonName", name),) for name in names))
    assert peer.user_of({"subject": subject}) == user


async def app(scope: object, receive: object, send: object) -> None:
    """Nobody asks it."""


def test_a_head_that_takes_too_long_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(peer, "HEAD_S", -1.0)  # whatever is waited for is late

    async def test() -> None:
        server = serving(app)
        made = []
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"):
            protocol, transport = connected(server)
            protocol.data_received(sent)
            made.append(transport)
        look = asyncio.create_task(peer.close_slow(server))
        while not made[1].closed:
            await asyncio.sleep(0.001)
        look.cancel()
        await asyncio.gather(look, *server.server_state.tasks, return_exceptions=True)
        assert [one.closed for one in made[:2]] == [True, True]
        assert protocol.head_since is None  # its head is there: the request's own time counts

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "MOST_OF_A_HEAD", 1000)

    async def test() -> None:
        server = serving(app)
        protocol, transport = connected(server)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(9):
            assert not transport.closed
            protocol.data_received(b"X-Filler: %b\r\n" % (b"a" * 100))
        assert transport.closed
        assert transport.written.startswith(b"HTTP/1.1 431 ")

        protocol, transport = connected(server)
        protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"b" * 1500)
        protocol.data_received(b"b" * 400)
        assert not transport.closed, "a body is no head"
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(test(), 20))

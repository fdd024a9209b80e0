"""Requests that pass by the HTTP parser are read as the parser reads them."""

import asyncio
from typing import Any

import pytest

from netplane.apiserver.wire.heads import BODY, LONGEST, MOST, Heads
from tests.connections import connected, serving

FIELDS = b"Host: h\r\nAccept: application/json\r\nAuthorization: Bearer t\r\n"
PLAIN = [
    (b"GET", b"/api/v1/pods", b"", b""),
    (b"GET", b"/api/v1/pods?limit=5&continue=a%3Db?", b"", b""),
    (b"DELETE", b"/api/v1/namespaces/a%2Fb/pods/x:y~z@1", b"", b""),
    (b"POST", b"/api/v1/namespaces/default/pods", b"Content-Length: 12\r\n", b'{"a":"\r\n\r\n"}'),
    (b"PUT", b"/apis/apps/v1/x", b"Content-Length: 0\r\nX: y\r\n", b""),
]
ODD = [
    (b"HEAD", b"/api", b"", b""),
    (b"GET", b"//api", b"", b""),
    (b"GET", b"/api#x", b"", b""),
    (b"GET", b"/a<b", b"", b""),
    (b"POST", b"/api", b"content-length: 2\r\n", b"{}"),
    (b"POST", b"/api", b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    (b"POST", b"/api", b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}"),
    (b"GET", b"/api", b"Connection: Upgrade\r\nUpgrade: spdy/3.1\r\n", b""),
]


def raw(method: bytes, target: bytes, more: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    return b"%b %b HTTP/%b\r\n%b%b\r\n%b" % (method, target, version, FIELDS, more, body)


def heard(*chunks: bytes) -> tuple[list[Any], int]:
    """What the application was asked on one connection, and how many requests the parser saw."""
    asked: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        whole, more = b"", True
        while more:
            message = await receive()
            whole, more = whole + message["body"], message["more_body"]
        asked.append((scope, whole))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def body() -> int:
        connection, _ = connected(serving(app, proxy_headers=False))
        for chunk in chunks:
            connection.data_received(chunk)
            for _ in range(5):
                await asyncio.sleep(0)
        return connection._began

    return asked, asyncio.run(body())


def test_a_connection_waits_for_its_next_request_for_a_while_and_not_for_an_answer() -> None:
    asking, answered = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asking.set()
        await answered.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def body() -> None:
        connection, _ = connected(serving(app, timeout_keep_alive=100))
        for _ in range(2):  # once by the parser, once without
            asking.clear()
            answered.clear()
            connection.data_received(raw(*PLAIN[0]))
            await asking.wait()
            now = asyncio.get_running_loop().time()
            assert not connection.waits_too_long(now + 1000)
            answered.set()
            await asyncio.gather(*connection.tasks)
            assert connection.waits_too_long(now + 1000)
            assert not connection.waits_too_long(now + 99)

    asyncio.run(body())


@pytest.mark.parametrize("early", [0, 20, 10_000])
def test_a_request_that_came_before_the_last_answer_is_not_waited_for(early: int) -> None:
    """`early`: so many bytes of it."""
    asking, answered = asyncio.Queue[int](), asyncio.Queue[int]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asking.put_nowait(1)
        await answered.get()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def body() -> None:
        connection, _ = connected(serving(app, timeout_keep_alive=100))
        one = raw(*PLAIN[0])
        connection.data_received(one + one[:early])
        await asking.get()
        first = list(connection.tasks)
        answered.put_nowait(1)
        await asyncio.gather(*first)
        connection.data_received(one[early:])
        await asking.get()
        assert not connection.waits_too_long(asyncio.get_running_loop().time() + 1000)
        answered.put_nowait(1)
        await asyncio.gather(*connection.tasks)

    asyncio.run(asyncio.wait_for(body(), 20))


@pytest.mark.parametrize("request_", PLAIN, ids=lambda one: one[1].decode())
def test_a_plain_request_passes_by_the_parser_and_is_read_as_before(request_: tuple[bytes, ...]) -> None:
    sent = raw(*request_)
    asked, parsed = heard(sent, sent, sent)
    assert parsed <= 1  # heads are remembered by all connections
    assert len(asked) == 3
    first, second = asked[0], asked[1]
    for scope, whole in asked:
        scope["headers"] = sorted(scope["headers"])
        assert scope.pop(BODY, whole) == whole  # beside ASGI's way
    assert first == second


@pytest.mark.parametrize("request_", ODD, ids=lambda one: (one[0] + one[1] + one[2]).decode())
def test_an_unusual_request_is_the_parser_s(request_: tuple[bytes, ...]) -> None:
    asked, parsed = heard(raw(*request_), raw(*request_))
    assert parsed == len(asked) == 2


def test_parts_and_more_than_one_request_at_once_are_the_parser_s() -> None:
    one, two = raw(*PLAIN[0]), raw(*PLAIN[3])
    asked, parsed = heard(one, one + two, two[:20], two[20:-3], two[-3:], one)
    assert [scope["method"] for scope, _ in asked] == ["GET", "GET", "POST", "POST", "GET"]
    assert [whole for _, whole in asked] == [b"", b"", PLAIN[3][3], PLAIN[3][3], b""]
    assert parsed in (3, 4)


@pytest.mark.parametrize("rest", [b"\r\n\r\n", b"oken\r\n\r\n", b"\r\nImpersonate-User: jane\r\n\r\n"])
def test_a_known_head_that_has_not_ended_is_the_parser_s(rest: bytes) -> None:
    whole = raw(*PLAIN[0])
    asked, parsed = heard(whole, whole.removesuffix(b"\r\n\r\n"), rest)
    assert parsed in (1, 2)  # heads are remembered by all connections
    (_, _), (scope, _) = asked
    fields = dict(scope["headers"])
    assert fields[b"authorization"] == (b"Bearer token" if rest.startswith(b"oken") else b"Bearer t")
    assert fields.get(b"impersonate-user") == (b"jane" if b"jane" in rest else None)


def test_another_length_of_body_is_the_same_head() -> None:
    heads = Heads()
    heads.learn(raw(b"POST", b"/a", b"Content-Length: 2\r\n", b"{}"), [(b"host", b"h"), (b"content-length", b"2")])
    found = heads.request(raw(b"POST", b"/b?c", b"Content-Length: 3\r\n", b"{ }"))
    assert found == (b"POST", b"/b", b"c", [(b"host", b"h"), (b"content-length", b"3")], b"{ }")
    assert heads.request(raw(b"POST", b"/b", b"Content-Length: 3\r\n", b"{}")) is None
    assert heads.request(raw(b"POST", b"/b", b"Content-Length: +3\r\n", b"{ }")) is None
    assert heads.request(raw(b"POST", b"/b", b"", b"{}")) is None
    assert heads.request(raw(b"POST", b"/b", b"Content-Length: 3\r\n", b"{ }", version=b"1.0")) is None


def test_what_is_remembered_is_bounded() -> None:
    heads = Heads()
    heads.learn(b"GET / HTTP/1.1\r\nA: %b\r\n\r\n" % (b"x" * LONGEST), [(b"a", b"x" * LONGEST)])
    assert not heads._known
    for i in range(MOST + 1):
        heads.learn(b"GET / HTTP/1.1\r\nA: %d\r\n\r\n" % i, [(b"a", b"%d" % i)])
    assert len(heads._known) == 1

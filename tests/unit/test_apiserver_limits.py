"""How much one server takes on: turns between users, 429, 504, 413, and what the metrics say of it."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from netplane.apiserver.access.tokens import AUTHENTICATED, MASTERS, User
from netplane.apiserver.limits import levels
from netplane.apiserver.limits.fairness import QUEUE_LENGTH, TURN_REQUESTS
from netplane.apiserver.limits.levels import Limits
from netplane.apiserver.wire import durations
from netplane.apiserver.wire.call import BODY_LIMIT_BYTES
from netplane.errors import UsageError
from tests.apiserver_app import READER, USERS, Server, serving

CONFIG = "/api/v1/namespaces/default/configmaps"
NOISY, NODE = "noisy-token", "node-token"


@pytest.fixture(autouse=True)
def _users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(USERS, NOISY, User("noisy", "3", ("people", AUTHENTICATED)))
    monkeypatch.setitem(USERS, NODE, User("system:node:n1", "4", ("system:nodes", AUTHENTICATED)))


def run(test: Callable[[Server], Awaitable[None]], given: Limits | None = None) -> None:
    async def body() -> None:
        async with serving(limits=given) as server:
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 60))


def hold_store(server: Server) -> asyncio.Event:
    """Reads wait until the event is set."""
    go, get = asyncio.Event(), server.store.get

    async def slow(*args: Any) -> Any:
        await go.wait()
        return await get(*args)

    server.store.get = slow  # type: ignore[method-assign, assignment]  # a slow disk
    return go


def test_a_noisy_user_does_not_hold_up_the_others() -> None:
    async def test(ask: Server) -> None:
        served: list[str] = []

        async def client(token: str, times: int) -> None:
            for _ in range(times):
                assert (await ask("GET", CONFIG, token=token)).status == 200
                served.append(token)

        noise = [asyncio.create_task(client(NOISY, 20)) for _ in range(200)]
        quiet = asyncio.create_task(client(READER, 10))
        await asyncio.gather(quiet, *noise)
        at = [-1, *(i for i, one in enumerate(served) if one == READER)]
        assert max(b - a for a, b in itertools.pairwise(at)) <= 3 * TURN_REQUESTS

    run(test)


def test_a_full_queue_answers_429_and_others_go_on() -> None:
    async def test(ask: Server) -> None:
        go = hold_store(ask)
        held = [asyncio.create_task(ask("GET", f"{CONFIG}/x", token=NOISY)) for _ in range(QUEUE_LENGTH + 4)]
        for _ in range(10):
            await asyncio.sleep(0)
        refused = await ask("GET", f"{CONFIG}/x", token=NOISY)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.json["reason"] == "TooManyRequests"
        assert refused.json["message"] == "Too many requests, please try again later."
        assert refused.json["details"] == {"retryAfterSeconds": 1}
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        assert (await ask("GET", lease, token=NODE)).status != 429  # a node is let in at other gates
        assert (await ask("GET", CONFIG)).status == 200  # an administrator waits for nobody
        go.set()
        assert {one.status for one in await asyncio.gather(*held)} == {404}
        text = (await ask("GET", "/metrics")).body.decode()
        labels = 'flow_schema="global-default-read",priority_level="global-default",reason="queue-full"'
        assert f"apiserver_flowcontrol_rejected_requests_total{{{labels}}} 1.0" in text
        assert 'apiserver_current_inflight_requests{request_kind="readOnly"} 0.0' in text

    run(test, Limits(reading=5, changing=5))


def test_what_the_server_says_of_itself_has_a_queue_of_its_own() -> None:
    async def test(ask: Server) -> None:
        gate = ask.cluster.limits.describing
        assert (await ask("GET", "/apis", token=NOISY)).status == 200
        assert (gate.executing, gate.dispatched) == (0, 1)
        while gate.executing < gate.seats:  # all are taken
            if not gate.enter_now():
                await asyncio.sleep(0)
        waiting = [asyncio.create_task(ask("GET", "/openapi/v3", token=NOISY)) for _ in range(QUEUE_LENGTH)]
        for _ in range(3):
            await asyncio.sleep(0)
        refused = await ask("GET", "/apis", token=NOISY)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert (await ask("GET", "/livez", token=NOISY)).status == 200  # probes wait for nobody
        text = (await ask("GET", "/metrics")).body.decode()  # nor do administrators
        labels = 'flow_schema="describing",priority_level="describing"'
        assert f"apiserver_flowcontrol_current_inqueue_requests{{{labels}}} {QUEUE_LENGTH}.0" in text
        other = asyncio.create_task(ask("GET", "/apis", token=READER))
        await asyncio.sleep(0)
        for _ in range(gate.seats):
            gate.leave("whoever had it")
        assert (await other).status == 200
        assert {one.status for one in await asyncio.gather(*waiting)} == {200}

    run(test)


def test_a_request_over_its_time_is_answered_504_once() -> None:
    async def test(ask: Server) -> None:
        go = hold_store(ask)
        late = asyncio.create_task(ask("GET", f"{CONFIG}/x?timeout=5s"))
        other = asyncio.create_task(ask("GET", f"{CONFIG}/x"))
        await asyncio.sleep(0)
        ask.cluster.limits.sweep(time.perf_counter() + 10)
        await asyncio.sleep(0)
        go.set()
        answer = await late
        assert (answer.status, answer.json["reason"], answer.json["details"]) == (504, "Timeout", {})
        assert answer.json["message"] == "Timeout: request did not complete within the allotted timeout"
        assert (await other).status == 404
        assert ask.cluster.limits.under_way() == (0, 0)

    run(test)


def test_a_watch_has_no_deadline() -> None:
    async def test(ask: Server) -> None:
        sent: list[dict[str, Any]] = []
        gone = asyncio.Event()
        watch = asyncio.create_task(ask.open("GET", f"{CONFIG}?watch=true", None, sent, token=READER, gone=gone))
        while not ask.cluster.watches:
            await asyncio.sleep(0)
        ask.cluster.limits.sweep(time.perf_counter() + 10_000)
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        while not any(b'"ADDED"' in one.get("body", b"") for one in sent):
            await asyncio.sleep(0)
        assert ask.cluster.limits.watches == {"reader": 1}
        gone.set()
        await watch
        assert ask.cluster.limits.watches == {}

    run(test)


def test_a_user_has_so_many_watches_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "WATCHES_PER_USER", 0)

    async def test(ask: Server) -> None:
        refused = await ask("GET", f"{CONFIG}?watch=true", token=READER)
        assert (refused.status, refused.headers["retry-after"]) == (429, "10")

    run(test)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", 'time: invalid duration "soon"'),
        ("3", 'time: missing unit in duration "3"'),
        ("3d", 'time: unknown unit "d" in duration "3d"'),
    ],
)
def test_a_timeout_that_is_none_is_refused(text: str, message: str) -> None:
    async def test(ask: Server) -> None:
        refused = await ask("GET", f"{CONFIG}?timeout={text}")
        assert (refused.status, refused.json["reason"]) == (400, "BadRequest")
        assert refused.json["message"] == f"invalid timeout specified in the request URL - {message}"

    run(test)


@pytest.mark.parametrize(
    ("text", "seconds"), [("32s", 32), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("0", 0), ("-2s", -2)]
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "0s", "-1s"])
def test_the_flag_says_what_a_duration_is(text: str) -> None:
    from netplane.apiserver.process import flags

    with pytest.raises(UsageError, match="--request-timeout: "):
        flags.duration_s("--request-timeout", text)


def test_a_body_over_the_limit_is_413_however_it_comes() -> None:
    async def test(ask: Server) -> None:
        large = b'{"metadata":{"name":"c"},"data":{"a":"' + b"x" * BODY_LIMIT_BYTES + b'"}}'
        for headers in ({}, {"content_length": str(len(large))}):
            refused = await ask("POST", CONFIG, large, **headers)
            assert (refused.status, refused.json["reason"]) == (413, "RequestEntityTooLarge")
            assert refused.json["message"] == "Request entity too large: limit is 3145728"
        assert (await ask("GET", CONFIG)).json["items"] == []

    run(test)


@pytest.mark.parametrize(
    ("user", "level"),
    [
        (User("admin", "", (MASTERS,)), None),
        (User("system:node:n", "", ("system:nodes",)), "system"),
        (User("system:kube-controller-manager"), "system"),
        (User("system:serviceaccount:kube-system:x", "", ("system:serviceaccounts:kube-system",)), "system"),
        (User("jane", "", (AUTHENTICATED,)), "default"),
        (User("system:serviceaccount:app:x", "", ("system:serviceaccounts:app",)), "default"),
    ],
)
def test_who_passes_which_gates(user: User, level: str | None) -> None:
    given = Limits(100, 50)
    assert given.level(user) is (getattr(given, level) if level else None)
    assert (given.system.reading.seats, given.default.reading.seats) == (20, 80)
    assert (given.system.changing.seats, given.default.changing.seats) == (10, 40)

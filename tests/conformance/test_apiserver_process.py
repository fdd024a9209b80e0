"""The real apiserver process: kill -9 under load, SIGTERM with watchers, and listeners in other namespaces."""

import asyncio
import contextlib
import json
import secrets
import signal
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from netplane.kernel import netns
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Change
from tests.apiserver_process import Apiserver
from tests.certificates import Certificate
from tests.etcd_process import Etcd

CONFIG = "/api/v1/namespaces/default/configmaps"
WRITERS = 16
KILLS, WRITES = 3, 350  # more than 1,000 in all


class Acknowledged:
    """What the server said it had stored: name → revision."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.failures = 0


async def write_until(server: Apiserver, writer: int, round_: int, stop: asyncio.Event, done: Acknowledged) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(base_url=server.url, verify=server.tls(), headers=headers, timeout=10) as client:
        for i in range(100_000):
            if stop.is_set():
                return
            name = f"c-{round_}-{writer}-{i}"
            try:
                answer = await client.post(CONFIG, json={"metadata": {"name": name}, "data": {"n": str(i)}})
            except httpx2.TransportError:
                done.failures += 1
                return
            if answer.status_code == 201:
                done.revisions[name] = int(answer.json()["metadata"]["resourceVersion"])


async def watch_until(server: Apiserver, rev: int, stop: asyncio.Event, seen: list[tuple[int, str]]) -> None:
    """Everything after `rev` until the server goes or the test says stop."""
    headers = {"Authorization": f"Bearer {server.token}"}
    timeout = httpx2.Timeout(10, read=None)
    async with httpx2.AsyncClient(base_url=server.url, verify=server.tls(), headers=headers, timeout=timeout) as client:
        with contextlib.suppress(httpx2.TransportError):
            async with client.stream("GET", CONFIG, params={"watch": "1", "resourceVersion": str(rev)}) as answer:
                async for line in answer.aiter_lines():
                    metadata = json.loads(line)["object"]["metadata"]
                    seen.append((int(metadata["resourceVersion"]), metadata["name"]))
                    if stop.is_set():
                        return


@pytest.mark.parametrize("storage", ["sqlite", "etcd"])
def test_kill_dash_nine_loses_nothing_that_was_acknowledged(tmp_path: Path, storage: str) -> None:
    """Three times: write from many clients, kill -9 in the middle, restart. A watcher resumes each time."""
    done, seen = Acknowledged(), list[tuple[int, str]]()
    with contextlib.ExitStack() as stack:
        flags: tuple[str, ...] = ()
        if storage == "etcd":
            etcd = stack.enter_context(Etcd(tmp_path / "etcd"))
            flags = ("--storage", "etcd", "--etcd-servers", etcd.url)
        server = stack.enter_context(Apiserver(tmp_path, *flags))
        with server.client() as client:
            start = int(client.get(CONFIG).json()["metadata"]["resourceVersion"])
        for round_ in range(KILLS):
            asyncio.run(_round(server, round_, done, seen, seen[-1][0] if seen else start))
            server.start()
        with server.client() as client:
            listed = client.get(CONFIG).json()
            stored = {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in listed["items"]}
        wanted = set(stored.items())
        rest = asyncio.run(_rest(server, seen[-1][0], set(stored), seen))
    assert done.failures >= KILLS * WRITERS, "every round's writers were cut off"
    assert len(done.revisions) >= KILLS * WRITES
    lost = {name: rev for name, rev in done.revisions.items() if stored.get(name) != rev}
    assert not lost
    assert len(set(stored.values())) == len(stored), "every write has a revision of its own"
    assert {(name, rev) for rev, name in rest} == wanted, "the watcher saw each write once, none more"
    assert [rev for rev, _ in rest] == sorted({rev for rev, _ in rest})


async def _round(server: Apiserver, round_: int, done: Acknowledged, seen: list[tuple[int, str]], rev: int) -> None:
    stop = asyncio.Event()
    before = len(done.revisions)
    tasks = [asyncio.create_task(write_until(server, i, round_, stop, done)) for i in range(WRITERS)]
    tasks.append(asyncio.create_task(watch_until(server, rev, stop, seen)))
    while len(done.revisions) < before + WRITES:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(server.kill)
    await asyncio.gather(*tasks)


async def _rest(server: Apiserver, rev: int, names: set[str], seen: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Resume once more, until all that is stored was seen."""
    stop = asyncio.Event()
    task = asyncio.create_task(watch_until(server, rev, stop, seen))
    async with asyncio.timeout(20):
        while not names <= {name for _, name in seen}:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seen


def test_sigterm_ends_watches_cleanly_and_revisions_go_on(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server:
        ended: list[Any] = []
        opened = threading.Event()

        def follow() -> None:
            with server.client() as client, client.stream("GET", f"{CONFIG}?watch=1") as answer:
                opened.set()
                ended.extend(answer.iter_lines())  # a cut connection raises

        watcher = threading.Thread(target=follow)
        watcher.start()
        assert opened.wait(10)
        with server.client() as client:
            made = client.post(CONFIG, json={"metadata": {"name": "c"}}).json()["metadata"]
        assert server.terminate() == 0
        watcher.join(10)
        assert [json.loads(line)["object"]["metadata"]["name"] for line in ended] == ["c"]
        token = server.token
        server.start()
        assert server.token == token
        with server.client() as client:
            again = client.get(f"{CONFIG}/c").json()["metadata"]
            assert (again["uid"], again["resourceVersion"]) == (made["uid"], made["resourceVersion"])
            later = client.post(CONFIG, json={"metadata": {"name": "d"}}).json()["metadata"]
            assert int(later["resourceVersion"]) > int(made["resourceVersion"])


def test_a_stop_does_not_wait_for_clients_that_keep_their_connections(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server, server.client() as one, server.client() as other:
        assert one.get("/version").status_code == other.get(CONFIG).status_code == 200
        assert server.terminate() == 0
        assert "shutdown exceeded" not in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_a_stop_waits_for_a_client_that_still_reads_its_answer(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server, server.client() as client:
        for i in range(30):  # more than the sockets hold
            client.post(CONFIG, json={"metadata": {"name": f"c{i}"}, "data": {"a": "x" * 900_000}}).raise_for_status()
        with client.stream("GET", CONFIG) as answer:
            server.signal(signal.SIGTERM)
            server.until(lambda: b"stopping" in server.log.read_bytes())
            time.sleep(1.0)  # for the server to do what it must not
            assert len(json.loads(answer.read())["items"]) == 30
        assert server.process is not None
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text()


def test_a_second_process_on_one_folder_says_so(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server:
        second = Apiserver(tmp_path)
        second.log = tmp_path / "second.log"
        with pytest.raises(AssertionError, match="is in use by another apiserver"):
            second.start()
        assert "hint:" in second.log.read_text()
        with server.client() as client:
            assert client.get("/readyz").status_code == 200


def test_tokens_from_a_file(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('boss,root,1,"system:masters"\nguest,visitor,2,"people"\n')
    with Apiserver(tmp_path, "--token-auth-file", str(tokens)) as server:
        assert server.token == "boss"
        with server.client("guest") as guest, server.client() as boss:
            assert guest.get(CONFIG).status_code == 403
            binding = {
                "metadata": {"name": "people"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "Group", "name": "people"}],
            }
            bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
            assert boss.post(bindings, json=binding).status_code == 201
            assert guest.get(CONFIG).status_code == 200
            refused = guest.post(CONFIG, json={"metadata": {"name": "c"}})
            assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
        with server.client("wrong") as nobody:
            assert nobody.get("/version").status_code == 401
        with server.client("") as anyone:
            assert anyone.get("/version").json()["major"] == "1"
            assert anyone.get(CONFIG).status_code == 403


def test_a_client_certificate_says_who(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server:
        own, foreign = tmp_path / "own.pem", tmp_path / "foreign.pem"
        authority = Certificate.read((tmp_path / "data" / "pki" / "ca.pem").read_bytes())
        alices = Certificate.issue("alice", "system:masters", by=authority)
        own.write_bytes(alices.key_pem + alices.pem)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        tls = server.tls()
        tls.load_cert_chain(own)
        with httpx2.Client(base_url=server.url, verify=tls) as alice:
            who = alice.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review).json()["status"][
                "userInfo"
            ]
            assert (who["username"], who["groups"]) == ("alice", ["system:masters", "system:authenticated"])
            assert alice.get("/api/v1/secrets").status_code == 200
        mallorys = Certificate.issue("mallory", "system:masters")
        foreign.write_bytes(mallorys.key_pem + mallorys.pem)
        tls = server.tls()
        tls.load_cert_chain(foreign)
        with httpx2.Client(base_url=server.url, verify=tls) as mallory, pytest.raises(httpx2.TransportError):
            mallory.get("/api/v1/secrets")


@pytest.mark.privileged
def test_one_process_listens_in_several_namespaces(tmp_path: Path) -> None:
    name = f"npt-{secrets.token_hex(4)}"
    netns.create(name)
    try:
        netns.run_in(name, _loopback_up)
        with Apiserver(tmp_path, "--listen-netns", f"{name}=127.0.0.1:6443") as server:
            with server.client() as client:
                made = client.post(CONFIG, json={"metadata": {"name": "c"}}).json()
            found = netns.run_in(name, lambda: _ask("127.0.0.1", 6443, server.tls(), server.token, f"{CONFIG}/c"))
            assert found == made
    finally:
        netns.delete(name)


def _loopback_up() -> None:
    with Rtnl() as rtnl:
        rtnl.apply([Change("lo", up=True)])


def _ask(host: str, port: int, tls: ssl.SSLContext, token: str, path: str) -> Any:
    url = f"https://{host}:{port}{path}"
    return httpx2.get(url, verify=tls, headers={"Authorization": f"Bearer {token}"}, timeout=10).json()

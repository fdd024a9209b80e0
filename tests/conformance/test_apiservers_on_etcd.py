"""Several real apiservers on one real etcd: nothing is stale, nothing is handed out twice, and etcd may go and come."""

import asyncio
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.apiserver_process import Apiserver
from tests.etcd_process import Etcd

CONFIG = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path / "etcd") as process:
        yield process


def apiserver(folder: Path, etcd: Etcd, *flags: str, like: Apiserver | None = None) -> Apiserver:
    """One more; with the keys of another one, as the documentation says."""
    folder.mkdir()
    if like is not None:
        (folder / "data" / "pki").mkdir(parents=True)
        for name in ("sa.pem", "ca.pem", "ca.crt", "admin-token.csv"):
            shutil.copy(like.folder / "data" / "pki" / name, folder / "data" / "pki" / name)
    return Apiserver(folder, "--storage", "etcd", "--etcd-servers", etcd.url, *flags)


@pytest.fixture
def pair(tmp_path: Path, etcd: Etcd) -> Iterator[tuple[Apiserver, Apiserver]]:
    flags = ("--service-cluster-ip-range", "10.96.0.0/24", "--service-node-port-range", "30000-30063")
    with apiserver(tmp_path / "a", etcd, *flags) as a, apiserver(tmp_path / "b", etcd, *flags, like=a) as b:
        yield a, b


def test_what_one_acknowledged_the_other_serves_at_once(pair: tuple[Apiserver, Apiserver]) -> None:
    with pair[0].client() as one, pair[1].client() as other:
        for i in range(100):
            writer, reader = (one, other) if i % 2 else (other, one)
            made = writer.post(CONFIG, json={"metadata": {"name": f"c{i}"}, "data": {"n": "0"}})
            assert made.status_code == 201
            read = reader.get(f"{CONFIG}/c{i}")
            assert read.json() == made.json()
            listed = reader.get(CONFIG).json()
            assert f"c{i}" in {item["metadata"]["name"] for item in listed["items"]}
            assert int(listed["metadata"]["resourceVersion"]) >= int(made.json()["metadata"]["resourceVersion"])
            changed = reader.put(f"{CONFIG}/c{i}", json={**made.json(), "data": {"n": "1"}})
            assert changed.status_code == 200
            stale = writer.put(f"{CONFIG}/c{i}", json=made.json())
            assert (stale.status_code, stale.json()["reason"]) == (409, "Conflict")
            patched = writer.patch(
                f"{CONFIG}/c{i}", json={"data": {"n": "2"}}, headers={"Content-Type": "application/merge-patch+json"}
            )
            assert patched.json()["data"] == {"n": "2"}
            assert reader.delete(f"{CONFIG}/c{i}").status_code == 200
            assert writer.get(f"{CONFIG}/c{i}").status_code == 404


def test_watches_see_what_both_write_in_one_order(pair: tuple[Apiserver, Apiserver]) -> None:
    count = 150
    seen: list[list[tuple[str, str]]] = [[], []]
    opened = threading.Barrier(3)

    def follow(index: int) -> None:
        with pair[index].client() as client:
            rev = client.get(CONFIG).json()["metadata"]["resourceVersion"]
            opened.wait(10)
            with client.stream("GET", f"{CONFIG}?watch=1&resourceVersion={rev}") as answer:
                for line in itertools.islice(answer.iter_lines(), 2 * count):
                    metadata = json.loads(line)["object"]["metadata"]
                    seen[index].append((metadata["resourceVersion"], metadata["name"]))

    def write(index: int) -> None:
        with pair[index].client() as client:
            for i in range(count):
                assert client.post(CONFIG, json={"metadata": {"name": f"w{index}-{i}"}}).status_code == 201

    watchers = [threading.Thread(target=follow, args=(index,)) for index in (0, 1)]
    for thread in watchers:
        thread.start()
    opened.wait(10)
    writers = [threading.Thread(target=write, args=(index,)) for index in (0, 1)]
    for thread in writers:
        thread.start()
    for thread in (*writers, *watchers):
        thread.join(60)
    assert seen[0] == seen[1]
    assert [int(rev) for rev, _ in seen[0]] == sorted({int(rev) for rev, _ in seen[0]})
    assert len({name for _, name in seen[0]}) == 2 * count


async def _until_full(server: Apiserver, tag: str, made: list[dict[str, Any]]) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(base_url=server.url, verify=server.tls(), headers=headers, timeout=30) as client:

        async def create(i: int) -> None:
            spec = {"type": "NodePort", "ports": [{"port": 80}]}
            answer = await client.post(SERVICES, json={"metadata": {"name": f"{tag}{i}"}, "spec": spec})
            if answer.status_code == 201:
                made.append(answer.json())
            else:
                assert "allocate" in answer.json()["message"], answer.json()

        for first in range(0, 60, 6):
            await asyncio.gather(*(create(i) for i in range(first, first + 6)))


def test_addresses_and_ports_are_handed_out_once(pair: tuple[Apiserver, Apiserver]) -> None:
    """Both give out from one small range until nothing is left; then some are given back, and found again."""
    made: list[dict[str, Any]] = []

    async def both() -> None:
        await asyncio.gather(_until_full(pair[0], "a", made), _until_full(pair[1], "b", made))

    asyncio.run(both())
    ports = [service["spec"]["ports"][0]["nodePort"] for service in made]
    addresses = [service["spec"]["clusterIP"] for service in made]
    assert len(set(ports)) == len(ports) == 64, "every port was found, none twice"
    assert len(set(addresses)) == len(addresses)
    with pair[0].client() as one, pair[1].client() as other:
        taken = made[0]["spec"]
        for client in (one, other):
            again = {"metadata": {"name": "again"}, "spec": {"clusterIP": taken["clusterIP"], "ports": [{"port": 1}]}}
            refused = client.post(SERVICES, json=again)
            assert (refused.status_code, "already allocated" in refused.text) == (422, True)
        assert one.delete(f"{SERVICES}/{made[0]['metadata']['name']}").status_code == 200
        again["spec"] = {**again["spec"], "type": "NodePort"}
        back = other.post(SERVICES, json=again)
        assert back.status_code == 201, back.text
        assert back.json()["spec"]["ports"][0]["nodePort"] == taken["ports"][0]["nodePort"]


def test_roles_and_namespaces_of_one_hold_for_the_other(pair: tuple[Apiserver, Apiserver]) -> None:
    with pair[0].client() as one, pair[1].client() as other:
        assert one.post("/api/v1/namespaces", json={"metadata": {"name": "x"}}).status_code == 201
        for i in range(50):
            made = other.post("/api/v1/namespaces/x/configmaps", json={"metadata": {"name": f"c{i}"}})
            assert made.status_code == 201
        assert other.delete("/api/v1/namespaces/x").status_code == 200
        late = one.post("/api/v1/namespaces/x/configmaps", json={"metadata": {"name": "late"}})
        assert late.status_code in (403, 404)
        _wait(lambda: one.get("/api/v1/namespaces/x").status_code == 404)
        assert other.get("/api/v1/namespaces/x/configmaps").json()["items"] == []
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        assert one.post(accounts, json={"metadata": {"name": "robot"}}).status_code == 201
        path = f"{accounts}/robot/token"
        token = one.post(path, json={"spec": {}}).json()["status"]["token"]
        with pair[1].client(token) as robot:
            assert robot.get(CONFIG).status_code == 403
            binding = {
                "metadata": {"name": "robots"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
            }
            assert one.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", json=binding).status_code == 201
            _wait(lambda: robot.get(CONFIG).status_code == 200)


def test_etcd_goes_and_comes(pair: tuple[Apiserver, Apiserver], etcd: Etcd) -> None:
    with pair[0].client() as one, pair[1].client() as other:
        before = one.post(CONFIG, json={"metadata": {"name": "before"}}).json()
        etcd.kill()
        assert one.get(f"{CONFIG}?resourceVersion=0").json()["items"], "memory still answers who asks for no more"
        refused = other.get(CONFIG)
        assert (refused.status_code, refused.json()["reason"]) == (503, "ServiceUnavailable")
        assert refused.headers["retry-after"] == "1"
        _wait(lambda: "[-]etcd failed" in one.get("/readyz?verbose").text)
        lost = one.post(CONFIG, json={"metadata": {"name": "lost"}})
        assert lost.status_code in (503, 504)
        etcd.start()
        _wait(lambda: one.get("/readyz").status_code == other.get("/readyz").status_code == 200)
        assert other.get(f"{CONFIG}/before").json() == before
        after = other.post(CONFIG, json={"metadata": {"name": "after"}})
        assert after.status_code == 201
        assert one.get(f"{CONFIG}/after").json() == after.json()
        url = f"{CONFIG}?watch=1&timeoutSeconds=1&resourceVersion={before['metadata']['resourceVersion']}"
        assert "after" in {json.loads(line)["object"]["metadata"]["name"] for line in one.get(url).iter_lines()}


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_another_finishes_what_the_leader_left(pair: tuple[Apiserver, Apiserver], end: str) -> None:
    """One empties namespaces and collects garbage for both; it is ended, or killed, and the other goes on."""
    leader, other = pair
    with other.client() as client:
        assert client.post("/api/v1/namespaces", json={"metadata": {"name": "x"}}).status_code == 201
        owner = client.post(CONFIG, json={"metadata": {"name": "owner"}}).json()["metadata"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
        owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}}
        assert client.post(CONFIG, json=owned).status_code == 201
        assert ("leading" in leader.log.read_text(), "leading" in other.log.read_text()) == (True, False)
        getattr(leader, end)()
        assert client.delete("/api/v1/namespaces/x").status_code == 200
        assert client.delete(f"{CONFIG}/owner").status_code == 200
        _wait(lambda: client.get("/api/v1/namespaces/x").status_code == 404)
        _wait(lambda: client.get(f"{CONFIG}/owned").status_code == 404)
        assert "leading" in other.log.read_text()


def test_a_stranger_is_refused(pair: tuple[Apiserver, Apiserver], etcd: Etcd, tmp_path: Path) -> None:
    stranger = apiserver(tmp_path / "stranger", etcd)
    with pytest.raises(AssertionError, match=r"is not the one of the cluster in etcd"):
        stranger.start()
    assert "hint: copy sa.pem" in stranger.log.read_text()


def test_the_kubernetes_service_leads_to_those_that_live(pair: tuple[Apiserver, Apiserver]) -> None:
    """On one address only one port can be told: the first by name; when it leaves, the other one's."""
    path = "/api/v1/namespaces/default/endpoints/kubernetes"
    leaver, stayer = sorted(pair, key=lambda server: f"127.0.0.1:{server.port}")
    with stayer.client() as client:

        def told() -> int:
            return int(client.get(path).json()["subsets"][0]["ports"][0]["port"])

        assert told() == leaver.port
        assert leaver.terminate() == 0
        _wait(lambda: told() == stayer.port)


def _wait(until: Any) -> None:
    """Ask again until it holds; the test's own time limit ends it."""
    pause = threading.Event()
    while not until():
        pause.wait(0.05)

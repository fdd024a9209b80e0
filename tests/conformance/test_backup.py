"""`netplane apiserver backup` and `restore`: between the kinds of store, while they are written, and killed midway."""

import asyncio
import gzip
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Put, Store
from netplane.store.sqlite import SqliteStore
from tests.apiserver_process import Apiserver
from tests.etcd_process import Etcd

CONFIG = "/api/v1/namespaces/default/configmaps"


def netplane(*args: str, ok: bool = True) -> str:
    """Run the command; its output, or (ok=False) its complaint."""
    command = [sys.executable, "-m", "netplane.cli", "apiserver", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout if ok else done.stderr


def keys(file: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    return {line["key"]: line["value"] if "value" in line else line["base64"] for line in lines if "key" in line}


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path / "etcd") as process:
        yield process


def test_from_sqlite_to_etcd_and_back(tmp_path: Path, etcd: Etcd) -> None:
    """The way to move a cluster; clients that resume are told to list again, and Services keep what they have."""
    where = ("--storage", "etcd", "--etcd-servers", etcd.url)
    files = [tmp_path / f"{i}.gz" for i in range(3)]
    (tmp_path / "a").mkdir()
    with Apiserver(tmp_path / "a") as server, server.client() as client:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        service = client.post("/api/v1/namespaces/default/services", json={"metadata": {"name": "s"}, "spec": spec})
        made = client.post(CONFIG, json={"metadata": {"name": "c"}, "data": {"a": "ü\u2028"}}).json()
        report = json.loads(netplane("backup", str(files[0]), "--data-dir", str(tmp_path / "a" / "data"), "-o", "json"))
        assert report["revision"] >= int(made["metadata"]["resourceVersion"])
        assert "is in use" in netplane(
            "restore", str(files[0]), "--data-dir", str(tmp_path / "a" / "data"), "--force", ok=False
        )
    data = ("--data-dir", str(tmp_path / "a" / "data"))
    told = netplane("restore", str(files[0]), *where)
    assert f"({report['objects']:,} keys of" in told
    netplane("backup", str(files[1]), *where)
    assert keys(files[1]) == keys(files[0])
    server.flags = where
    with server, server.client() as client:
        moved = client.get(f"{CONFIG}/c").json()
        rev = int(moved["metadata"].pop("resourceVersion"))
        assert rev > int(made["metadata"].pop("resourceVersion")) + 10**8
        assert moved == made
        old = client.get(f"{CONFIG}?watch=1&timeoutSeconds=1&resourceVersion={report['revision']}")
        assert json.loads(old.text)["object"]["code"] == 410
        again = client.post(
            "/api/v1/namespaces/default/services",
            json={"metadata": {"name": "t"}, "spec": {"clusterIP": service.json()["spec"]["clusterIP"], **spec}},
        )
        assert again.status_code == 422
        netplane("backup", str(files[2]), *where)
        assert "holds" in netplane("restore", str(files[0]), *where, ok=False)
    assert "--force replaces" in netplane("restore", str(files[2]), *data, ok=False)
    netplane("restore", str(files[2]), *data, "--force")
    server.flags = ()
    with server, server.client() as client:
        home = client.get(f"{CONFIG}/c").json()
        assert int(home["metadata"].pop("resourceVersion")) > rev
        assert home == made


def test_apiservers_on_etcd_go_over_to_what_is_restored(tmp_path: Path, etcd: Etcd) -> None:
    where = ("--storage", "etcd", "--etcd-servers", etcd.url)
    file = tmp_path / "backup.gz"
    (tmp_path / "a").mkdir()
    with Apiserver(tmp_path / "a", *where) as server, server.client() as client:
        before = client.post(CONFIG, json={"metadata": {"name": "before"}}).json()["metadata"]
        netplane("backup", str(file), *where)
        late = client.post(CONFIG, json={"metadata": {"name": "late"}}).json()["metadata"]
        ended = threading.Event()
        opened = threading.Event()

        def follow() -> None:
            with server.client() as own, own.stream("GET", f"{CONFIG}?watch=1") as answer:
                opened.set()
                for _ in answer.iter_lines():
                    pass
            ended.set()

        watcher = threading.Thread(target=follow)
        watcher.start()
        assert opened.wait(10)
        netplane("restore", str(file), *where, "--force")
        assert ended.wait(20), "the watch ends, so that its client lists again"
        watcher.join(10)
        while (listed := client.get(CONFIG)).status_code == 503:
            time.sleep(0.05)
        names = {item["metadata"]["name"]: item["metadata"] for item in listed.json()["items"]}
        assert "late" not in names
        assert names["before"]["uid"] == before["uid"]
        assert int(names["before"]["resourceVersion"]) > int(late["resourceVersion"])
        stale = client.get(f"{CONFIG}?watch=1&timeoutSeconds=1&resourceVersion={late['resourceVersion']}")
        assert json.loads(stale.text)["object"]["code"] == 410
        assert client.post(CONFIG, json={"metadata": {"name": "after"}}).status_code == 201


PAIRS = 300


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_a_backup_of_a_store_at_work_is_of_one_revision(tmp_path: Path, etcd: Etcd, kind: str) -> None:
    """Pairs change together, so a backup that holds two halves of different revisions shows."""

    async def run() -> None:
        store: Store
        if kind == "sqlite":
            where = ["--data-dir", str(tmp_path)]
            store = await SqliteStore.open(tmp_path / "state.db")
        else:
            where = ["--storage", "etcd", "--etcd-servers", etcd.url]
            store = await EtcdStore.open([etcd.url])
        done = False

        async def write(caller: int) -> None:
            for n in range(10**9):
                if done:
                    return
                i = (n * 16 + caller) % PAIRS
                value = json.dumps(n).encode()
                await store.txn([], [Put(f"/registry/a/{i}", value), Put(f"/registry/z/{i}", value)])

        writers = [asyncio.create_task(write(caller)) for caller in range(16)]
        revisions = []
        for i in range(4):
            file = tmp_path / f"{i}.gz"
            told = json.loads(await asyncio.to_thread(netplane, "backup", str(file), *where, "-o", "json"))
            revisions.append(told["revision"])
            held = keys(file)
            left = {key.rpartition("/")[2]: value for key, value in held.items() if "/a/" in key}
            assert left == {key.rpartition("/")[2]: value for key, value in held.items() if "/z/" in key}
        done = True
        await asyncio.gather(*writers)
        assert revisions == sorted(set(revisions))
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_killed_in_the_middle_a_restore_leaves_the_old_store_or_the_new(tmp_path: Path, etcd: Etcd, kind: str) -> None:
    where = ["--data-dir", str(tmp_path)] if kind == "sqlite" else ["--storage", "etcd", "--etcd-servers", etcd.url]
    files = {name: tmp_path / f"{name}.gz" for name in "ab"}
    for name, file in files.items():
        asyncio.run(_filled(tmp_path / f"{name}.db", name))
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.db").rename(tmp_path / name / "state.db")
        netplane("backup", str(file), "--data-dir", str(tmp_path / name))
    netplane("restore", str(files["a"]), *where)
    held = {name: keys(file) for name, file in files.items()}
    now, dice = "a", random.Random(7)
    begin = time.monotonic()
    netplane("restore", str(files["a"]), *where, "--force")
    whole_s = time.monotonic() - begin
    for i in range(7):
        other = "b" if now == "a" else "a"
        command = [sys.executable, "-m", "netplane.cli", "apiserver", "restore", str(files[other]), *where, "--force"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            time.sleep(whole_s * (0.5 + 0.6 * dice.random()))
            process.kill()
        file = tmp_path / f"after{i}.gz"
        netplane("backup", str(file), *where)
        found = keys(file)
        assert found in (held["a"], held["b"])
        now = "a" if found == held["a"] else "b"
    netplane("restore", str(files["b"]), *where, "--force")
    netplane("backup", str(tmp_path / "last.gz"), *where)
    assert keys(tmp_path / "last.gz") == held["b"]


async def _filled(path: Path, tag: str) -> None:
    store = await SqliteStore.open(path)
    value = json.dumps({"tag": tag, "pad": "x" * 200}).encode()
    await asyncio.gather(*(store.txn([], [Put(f"/registry/{tag}/{i}", value)]) for i in range(20_000)))
    await store.close()


def test_damaged_files_are_refused_before_anything_changes(tmp_path: Path) -> None:
    asyncio.run(_filled(tmp_path / "state.db", "a"))
    good = tmp_path / "good.gz"
    where = ("--data-dir", str(tmp_path))
    netplane("backup", str(good), *where)
    raw, plain = good.read_bytes(), gzip.decompress(good.read_bytes())
    swapped = plain.replace(b'"/registry/a/7"', b'"/registry/a/_"')
    bad = {
        "cut": raw[: len(raw) // 2],
        "flipped": raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:],
        "swapped": gzip.compress(swapped),
        "shorter": gzip.compress(b"".join(plain.splitlines(keepends=True)[:-1])),
        "other": gzip.compress(b'{"hello": 1}\n'),
        "text": b"hello, world\n",
        "empty": b"",
    }
    for name, content in bad.items():
        file = tmp_path / name
        file.write_bytes(content)
        complaint = netplane("restore", str(file), *where, "--force", ok=False)
        assert f"{file} is no whole backup" in complaint
    newer = tmp_path / "newer"
    newer.write_bytes(gzip.compress(plain.replace(b'"version":1', b'"version":2')))
    assert "has format version 2; this program knows 1" in netplane("restore", str(newer), *where, "--force", ok=False)
    assert "does not exist" in netplane("restore", str(tmp_path / "nowhere"), *where, "--force", ok=False)
    netplane("backup", str(tmp_path / "still.gz"), *where)
    assert keys(tmp_path / "still.gz") == keys(good)


def test_what_is_asked_wrongly_is_told(tmp_path: Path) -> None:
    out = str(tmp_path / "b.gz")
    assert "--data-dir is missing" in netplane("backup", out, ok=False)
    nowhere = tmp_path / "misspelt" / "backup.gz"
    complaint = netplane("backup", str(nowhere), "--data-dir", str(tmp_path), ok=False)
    assert f"the folder {nowhere.parent} does not exist" in complaint
    assert not nowhere.parent.exists()
    assert "/dev/null is no ordinary file" in netplane("backup", "/dev/null", "--data-dir", str(tmp_path), ok=False)
    assert f"there is no store at {tmp_path}/state.db" in netplane("backup", out, "--data-dir", str(tmp_path), ok=False)
    assert "needs --etcd-servers" in netplane("backup", out, "--storage", "etcd", ok=False)
    assert "is not a URL" in netplane("backup", out, "--storage", "etcd", "--etcd-servers", "localhost", ok=False)
    assert "--etcd-servers is given" in netplane("backup", out, "--etcd-servers", "http://127.0.0.1:1", ok=False)
    assert not Path(out).exists()

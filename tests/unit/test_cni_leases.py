"""The lease store: transitions, exhaustion, cooldown, reboots, other processes, damaged files."""

import ast
import base64
import json
import re
import shutil
import sqlite3
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from cni import install, lease_schema
from cni.command import command, mark_orphans, read, table
from cni.errors import CniError, Code
from cni.leases import COOLDOWN_S, Leases
from cni.plan import conflist, ipam
from cni.plan.lease import Key, Lease
from netplane.errors import NetplaneError
from netplane.rtnl import Link, Veth

SMALL = ((ipam.Range.of(ip_network("10.1.0.0/29")),),)  # .2 to .6
DUAL = (*SMALL, (ipam.Range.of(ip_network("fd00::/64")),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Leases]:
    leases = Leases(tmp_path / "leases.db", "boot-1")
    yield leases
    leases.close()


def lease(container: str, now_s: float = 1000.0, network: str = "net") -> Lease:
    return Lease(Key(network, container, "eth0"), "reserved", f"veth-{container}", since_s=now_s)


def take(store: Leases, container: str, now_s: float = 1000.0) -> str:
    return str(store.reserve(lease(container, now_s), SMALL).addresses[0])


def test_a_lease_goes_from_reserved_to_active_to_gone(store: Leases) -> None:
    reserved = store.reserve(lease("a"), DUAL)
    assert [str(a) for a in reserved.addresses] == ["10.1.0.2", "fd00::2"]
    assert store.get(reserved.key) == reserved
    store.activate(reserved.key)
    (found,) = store.all()
    assert (found.state, found.link, found.addresses) == ("active", "veth-a", reserved.addresses)
    assert store.release(reserved.key, 1000.0)
    assert not store.release(reserved.key, 1000.0)
    assert store.all() == []


def test_one_attachment_has_one_lease_and_a_refusal_takes_no_address(store: Leases) -> None:
    take(store, "a")
    with pytest.raises(CniError, match="has eth0 in network net already") as caught:
        take(store, "a")
    assert caught.value.code == Code.ALREADY_ATTACHED
    assert take(store, "b") == "10.1.0.3"


def test_an_address_belongs_to_one_lease_whatever_its_network(store: Leases) -> None:
    take(store, "a")
    other = store.reserve(lease("b", network="other"), SMALL)
    assert str(other.addresses[0]) == "10.1.0.3"


def test_exhaustion_names_the_range_and_takes_nothing(store: Leases) -> None:
    for name in "abcde":
        take(store, name)
    with pytest.raises(CniError, match=r"10\.1\.0\.1-10\.1\.0\.6: all 5") as caught:
        store.reserve(lease("f"), DUAL)
    assert caught.value.code == Code.ADDRESSES_EXHAUSTED
    assert len(store.all()) == 5
    assert store.free(SMALL[0]) == 0
    store.release(Key("net", "c", "eth0"), 1000.0)
    assert store.free(SMALL[0]) == 1


def test_round_robin_then_the_coolest(store: Leases) -> None:
    """A freed address comes back last; while all free ones cool, the one that has cooled longest is given."""
    assert take(store, "a", 0.0) == "10.1.0.2"
    store.release(Key("net", "a", "eth0"), 1.0)
    assert [take(store, name, 2.0) for name in "bcde"] == [f"10.1.0.{i}" for i in (3, 4, 5, 6)]
    store.release(Key("net", "b", "eth0"), 3.0)
    store.release(Key("net", "c", "eth0"), 4.0)
    assert take(store, "f", 5.0) == "10.1.0.2"
    assert take(store, "g", 5.0) == "10.1.0.3"
    store.release(Key("net", "g", "eth0"), 6.0)
    assert take(store, "h", 7.0 + COOLDOWN_S) == "10.1.0.4"


def test_a_clock_that_jumped_back_cools_nothing_for_ever(store: Leases) -> None:
    for name in "abcde":
        take(store, name)
    for name in "abcde":
        store.release(Key("net", name, "eth0"), 9e9)
    assert take(store, "f", 1000.0) == "10.1.0.2"


def test_requested_addresses(store: Leases) -> None:
    want = [ip_address("10.1.0.5")]
    assert store.reserve(lease("a"), DUAL, want).addresses[0] == want[0]
    with pytest.raises(CniError, match="in use"):
        store.reserve(lease("b"), DUAL, want)
    assert take(store, "c") == "10.1.0.2"


def test_a_boot_voids_leases_and_a_restart_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "x" / "leases.db"
    first = Leases(path, "boot-1")
    assert first.fresh
    take(first, "a")
    first.close()
    again = Leases(path, "boot-1")
    assert (again.fresh, again.void, len(again.all())) == (False, 0, 1)
    again.close()
    booted = Leases(path, "boot-2")
    assert (booted.void, booted.all(), booted.free(SMALL[0])) == (1, [], 5)
    assert take(booted, "b") == "10.1.0.3", "the turn goes on"
    booted.close()


def test_two_processes_share_the_file(store: Leases) -> None:
    other = Leases(store.path, "boot-1")
    assert [take(store, "a"), take(other, "b"), take(store, "c")] == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    other.close()


def test_a_file_that_is_none_or_newer_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"this is not a database, not at all, whatever you say" * 50)
    with pytest.raises(CniError, match=r"the lease store .*bad\.db"):
        Leases(bad, "boot")
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(CniError, match="version 9"):
        Leases(newer, "boot")


def test_an_empty_file_is_a_fresh_store(tmp_path: Path) -> None:
    (tmp_path / "leases.db").touch()
    leases = Leases(tmp_path / "leases.db", "boot")
    assert leases.fresh
    leases.close()


def test_leases_are_listed(store: Leases) -> None:
    store.reserve(Lease(Key("net", "c" * 64, "eth0"), "reserved", "veth1", pod="ns/web"), DUAL)
    head, row = table([(row, row.state) for row in read(store.path, "")], 2000.0)
    assert head.split() == ["ADDRESSES", "STATE", "NETWORK", "POD", "CONTAINER", "INTERFACE", "LINK", "AGE"]
    assert row.split()[:7] == ["10.1.0.2,fd00::2", "reserved", "net", "ns/web", "c" * 13, "eth0", "veth1"]
    assert read(store.path, "other") == []
    listed = CliRunner().invoke(command, ["leases", "--state-dir", str(store.path.parent)])
    assert "ns/web" in listed.output
    with pytest.raises(NetplaneError, match="there is no lease store"):
        read(Path("/nowhere/leases.db"), "")


def test_orphans_of_both_kinds_are_shown() -> None:
    def link(name: str, alias: str = "") -> Link:
        return Link(name, Veth("eth0"), alias=alias)

    rows = [
        msgspec.structs.replace(lease(name), state=state, link=f"veth-{name}")
        for name, state in (("here", "active"), ("gone", "active"), ("soon", "reserved"))
    ]
    links = [
        link("veth-here", "np-1 net here eth0 10.1.0.2"),
        link("veth-lost", "np-1 net lost eth0 10.1.0.9"),
        link("veth-theirs", "np-2 net theirs eth0 10.1.0.8"),
        link("eth0"),
    ]
    found = mark_orphans(rows, links, "np-1")
    states = {row.key.container: state for row, state in found}
    assert states == {"here": "active", "gone": "orphan: no link", "soon": "reserved", "lost": "orphan: no lease"}
    assert "10.1.0.9" in table(found, 2000.0)[-1]
    assert len(mark_orphans([], links, "np-1", "other")) == 0


# Installing ----------------------------------------------------------------------------------------------------


def test_a_store_of_the_first_version_is_kept_and_completed(tmp_path: Path) -> None:
    """As version 1 wrote it: no host ports, and a view of the built-in addresses alone."""
    view = (
        "CREATE VIEW attachments AS SELECT network, container, ifname, state, link, netns, pod, since_s, id, '' AS ips"
    )
    row = "INSERT INTO leases VALUES (1, 'net', 'c1', 'eth0', 'active', 'veth1', '/x', '', 1.0)"
    with closing(sqlite3.connect(tmp_path / "leases.db")) as db:
        db.executescript(f"{lease_schema.UPGRADES[0]}; {view} FROM leases; INSERT INTO boot VALUES ('b'); {row};")
        db.executescript("INSERT INTO addresses VALUES ('10.0.0.2', 1, 0); PRAGMA user_version = 1;")
    for _ in range(2):
        with closing(Leases(tmp_path / "leases.db", "b")) as store:
            assert [str(a) for a in store.all()[0].addresses] == ["10.0.0.2"]
            assert store.ports() == []


def test_install_and_uninstall_leave_what_was(tmp_path: Path) -> None:
    bin_dir, conf_dir = tmp_path / "bin", tmp_path / "net.d"
    install.install_relay(bin_dir, Path("/run/x.sock"))
    assert {p.name for p in bin_dir.iterdir()} == {*install.CHAINED, "netplane", "loopback", ".netplane-relay"}
    assert (bin_dir / "netplane").stat().st_mode & 0o777 == 0o755
    assert (bin_dir / ".netplane-relay").read_text() == "socket /run/x.sock\n"
    assert install.install_conflist(conf_dir, b"{}")
    assert not install.install_conflist(conf_dir, b"{}"), "the same is not written again"
    assert [p.name for p in conf_dir.iterdir()] == [conflist.FILE]
    assert len(install.uninstall(bin_dir, conf_dir)) == 4 + len(install.CHAINED)
    assert [*bin_dir.iterdir(), *conf_dir.iterdir()] == []
    assert install.uninstall(bin_dir, conf_dir) == []


def test_anothers_loopback_stays(tmp_path: Path) -> None:
    (tmp_path / "loopback").write_text("another's")
    for _ in range(2):
        install.install_relay(tmp_path, Path("/run/x.sock"))
    install.uninstall(tmp_path, tmp_path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["another's"]


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    run = CliRunner().invoke
    flags = ["--bin-dir", str(tmp_path / "bin")]
    assert "installed" in run(command, ["install", *flags, "--socket", "/run/x.sock"]).output
    assert run(command, ["uninstall", *flags, "--conf-dir", str(tmp_path)]).output.count("removed") == 3 + len(
        install.CHAINED
    )
    standalone = ["--standalone", "--state-dir", str(tmp_path / "state")]
    assert "without an agent" in run(command, ["install", *flags, *standalone]).output
    assert "removed" in run(command, ["uninstall", *flags, "--conf-dir", str(tmp_path)]).output
    assert "nothing" in run(command, ["uninstall", *flags, "--conf-dir", str(tmp_path)]).output


def test_the_log_is_written_into_the_file_when_it_is_told_to(store: Leases, tmp_path: Path) -> None:
    """By nobody who waits for an address: some 400 transitions do not do it."""
    for i in range(200):
        take(store, f"c{i % 4}", 1000.0 + i)
        store.release(lease(f"c{i % 4}").key, 1000.0 + i)
    take(store, "a", 2000.0)
    for settled in (False, True):
        if settled:
            store.settle()
        alone = tmp_path / f"without-its-log-{settled}.db"
        shutil.copy(store.path, alone)
        with closing(sqlite3.connect(alone)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'leases'").fetchone()[0]
            assert (tables == 1 and db.execute("SELECT container FROM leases").fetchall() == [("a",)]) == settled


def test_the_python_relay_imports_only_what_starts_at_once() -> None:
    lines = install.python_relay().decode().splitlines()
    assert lines[0].startswith("#!/")
    assert lines[0].endswith(" -IS")
    packed = next(line for line in lines if line.startswith("source = ")).removeprefix("source = ")
    source = zlib.decompress(base64.b64decode(ast.literal_eval(packed))).decode()
    imports = re.findall(r"^(?:import|from) (\S+)", source, re.MULTILINE)
    assert set(imports) == {"sys", "posix", "_socket"}
    # And what unpacks it: built into the interpreter or frozen, all of them.
    assert "import _frozen_importlib_external, binascii, marshal, zlib" in lines


@pytest.mark.parametrize("other_version", [False, True], ids=["its own interpreter", "another one"])
def test_the_python_relay_runs_compiled_or_as_source(tmp_path: Path, *, other_version: bool) -> None:
    relay = tmp_path / "netplane"
    text = install.python_relay().decode()
    if other_version:
        text = text.replace("MAGIC_NUMBER ==", "MAGIC_NUMBER !=")
    relay.write_text(text)
    relay.chmod(0o755)
    done = subprocess.run([relay], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=True)
    assert json.loads(done.stdout)["supportedVersions"][-1] == "1.1.0"
    assert done.stderr == b""


def test_the_python_relay_is_source_where_compiling_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_INTERPRETERS", ("/bin/false",))
    text = install.python_relay().decode()
    assert text.startswith("#!/bin/false -IS\n")
    assert "def main() -> int:" in text.splitlines()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NetplaneError, match="cannot install the CNI plugin"):
        install.install_relay(tmp_path / "file", Path("/run/x.sock"))
    with pytest.raises(NetplaneError, match="cannot write the CNI configuration"):
        install.install_conflist(tmp_path / "file", b"{}")

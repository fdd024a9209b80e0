"""Flags, tokens, certificates, sockets and files: what a person may get wrong, and what a crash may leave."""

import datetime
import ipaddress
import socket
import ssl
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from netplane.apiserver.access import tokens
from netplane.apiserver.process import flags, kubeconfig, listeners, pki, server
from netplane.apiserver.process.command import command
from netplane.apiserver.process.files import write_atomic
from netplane.apiserver.process.lock import held
from netplane.apiserver.process.settings import Listener
from netplane.client import config
from netplane.errors import NetplaneError, UsageError
from tests.apiserver_app import settings

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NAMES = ["localhost", "kubernetes.default.svc", "127.0.0.1", "::1", "10.96.0.1"]


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--bind-address", "nowhere", "'nowhere' is not an IP address"),
        ("--secure-port", "many", "'many' is not a port"),
        ("--secure-port", "70000", "'70000' is not a port"),
        ("--service-cluster-ip-range", "10.96.0.0/33", "10.96.0.0/33"),
        ("--service-cluster-ip-range", "10.96.0.1/16", "has host bits set"),
        ("--service-cluster-ip-range", "10.96.0.0/31", "has only 2 addresses"),
        ("--service-cluster-ip-range", "10.96.0.0/16,10.97.0.0/16", "one network for each IP family"),
        ("--service-cluster-ip-range", "fd00::/63", "is too large"),
        ("--service-cluster-ip-range", "10.0.0.0/8", "is too large"),
        ("--service-node-port-range", "30000", "is not a range"),
        ("--service-node-port-range", "40000-30000", "must rise"),
        ("--listen-netns", "blue", "is not NETNS=ADDR:PORT"),
        ("--listen-netns", "blue=10.0.0.1:x", "'x' is not a port"),
        ("--advertise-address", "0.0.0.0", "is no address to connect to"),
        ("--tls-cert-file", "only-this.pem", "--tls-private-key-file is missing"),
        ("--token-auth-file", "/nowhere/tokens.csv", "/nowhere/tokens.csv"),
        ("--client-ca-file", "/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("--kubeconfig-out", "/nowhere/kubeconfig", "the folder /nowhere does not exist"),
        ("--kubeconfig-out", "/dev/null", "/dev/null is no ordinary file"),
        ("--audit-log-path", "/nowhere/audit.log", "the folder /nowhere does not exist"),
        ("--audit-log-path", "/dev/null", "/dev/null is no ordinary file"),
    ],
)
def test_a_bad_flag_is_named_before_anything_starts(tmp_path: Path, flag: str, value: str, says: str) -> None:
    data = tmp_path / "data"
    args = ["--data-dir", str(data), "--secure-port", "0", flag, value]
    with pytest.raises(NetplaneError) as caught:
        CliRunner().invoke(command, args, catch_exceptions=False)
    assert flag in str(caught.value) or "missing" in says
    assert says in str(caught.value)
    assert caught.value.hint
    assert not data.exists()


def test_every_flag_has_help() -> None:
    shown = CliRunner().invoke(command, ["--help"]).output
    for flag in ("--data-dir", "--listen-netns", "--token-auth-file", "--kubeconfig-out", "--advertise-address"):
        assert flag in shown


def test_listeners_of_namespaces() -> None:
    assert flags.netns_listener("blue=10.0.0.1:6443") == Listener(ipaddress.ip_address("10.0.0.1"), 6443, "blue")
    assert flags.netns_listener("/run/netns/a=[fd00::1]:1") == Listener(
        ipaddress.ip_address("fd00::1"), 1, "/run/netns/a"
    )


def test_the_advertised_address_is_one_to_connect_to() -> None:
    wildcard = (Listener(ipaddress.ip_address("0.0.0.0"), 6443),)
    assert not flags.advertised("", wildcard).is_unspecified
    assert flags.advertised("192.0.2.1", wildcard) == ipaddress.ip_address("192.0.2.1")


# Tokens ---------------------------------------------------------------------------------------------------------


def test_tokens_as_kube_apiserver_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('secret,jane,7,"people,system:masters"\n\nother,joe,8\n')
    users = tokens.load(path)
    assert users["secret"] == tokens.User("jane", "7", ("people", "system:masters", "system:authenticated"))
    assert users["other"].groups == ("system:authenticated",)
    assert tokens.first_master(users) == "secret"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n", "line 1: 2 columns"),
        ("t,jane,1\n,joe,2\n", "line 2: the token is empty"),
        ("t,,1\n", "line 1: the user is empty"),
        ("t,a,1\nt,b,2\n", "line 2: this token is there already"),
        ("\n", "there is no token in it"),
    ],
)
def test_a_bad_token_file_is_told_by_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        tokens.load(path)


def test_an_admin_token_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "pki" / "admin.csv"
    first = tokens.ensure_admin(path)
    assert tokens.ensure_admin(path) == first
    assert tokens.first_master(first) is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Certificates ---------------------------------------------------------------------------------------------------


def handshake(serving: pki.Serving, name: str) -> None:
    """TLS between two contexts in memory; raises when the client does not trust the server."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(serving.certfile, serving.keyfile)
    ours = ssl.create_default_context(cadata=serving.ca_pem.decode())
    ours.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(back, there, server_hostname=name)
    peer = theirs.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version()


def test_the_certificate_is_for_every_name(tmp_path: Path) -> None:
    serving = pki.ensure(tmp_path, NAMES, datetime.datetime.now(datetime.UTC))
    for name in NAMES:
        handshake(serving, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(serving, "10.96.0.2")
    for private in ("ca.pem", "apiserver.pem"):
        assert stat.S_IMODE((tmp_path / private).stat().st_mode) == 0o600


def test_certificates_stay_until_they_no_longer_fit(tmp_path: Path) -> None:
    def made(names: list[str], now: datetime.datetime) -> tuple[bytes, bytes]:
        serving = pki.ensure(tmp_path, names, now)
        return serving.ca_pem, serving.certfile.read_bytes()

    ca, first = made(NAMES, NOW)
    assert made(NAMES, NOW) == (ca, first)
    assert made(NAMES[:2], NOW) == (ca, first)
    _, wider = made([*NAMES, "192.0.2.7"], NOW)
    assert wider != first
    _, renewed = made(NAMES, NOW + datetime.timedelta(days=340))
    assert renewed != wider
    (tmp_path / "ca.pem").unlink()  # as if a backup had been restored in part
    other, again = made(NAMES, NOW)
    assert (other != ca, again != renewed) == (True, True)
    cert = x509.load_pem_x509_certificate(again)
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(other))


def test_a_given_pair_must_match(tmp_path: Path) -> None:
    one, other = pki.ensure(tmp_path / "1", NAMES, NOW), pki.ensure(tmp_path / "2", NAMES, NOW)
    assert pki.given(one.certfile, one.certfile).certfile == one.certfile
    with pytest.raises(UsageError, match="is not the key of"):
        pki.given(one.certfile, other.certfile)
    with pytest.raises(UsageError, match="--tls-cert-file"):
        pki.given(tmp_path / "missing.pem", one.certfile)
    (tmp_path / "bad.pem").write_text("no PEM")
    with pytest.raises(UsageError, match="--client-ca-file"):
        pki.check_ca(tmp_path / "bad.pem")


def test_what_is_written_into_the_data_folder_needs_no_folder_before(tmp_path: Path) -> None:
    data = tmp_path / "data"
    path = ["--kubeconfig-out", str(data / "kubeconfig"), "--audit-log-path", str(data / "audit.log")]
    with pytest.raises(UsageError, match="cannot listen on"):  # all flags are well
        CliRunner().invoke(
            command, ["--data-dir", str(data), *path, "--bind-address", "192.0.2.1"], catch_exceptions=False
        )


def test_the_certificate_covers_what_clients_use() -> None:
    given = settings()
    names = server.server_names(given)
    assert {"localhost", "kubernetes.default.svc", "10.96.0.1", "192.0.2.10", "127.0.0.1"} <= set(names)


# Files and sockets ----------------------------------------------------------------------------------------------


def test_the_kubeconfig_is_private_and_whole(tmp_path: Path) -> None:
    serving = pki.ensure(tmp_path / "pki", NAMES, NOW)
    path = tmp_path / "new" / "kubeconfig"
    kubeconfig.write(path, "https://127.0.0.1:6443", serving.ca_pem, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = config.load(str(path))
    assert (found.server, found.tls is not None) == ("https://127.0.0.1:6443", True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NetplaneError, match="cannot write"):
        write_atomic(tmp_path / "folder", b"new")
    assert path.read_bytes() == b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_serves_one_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with held(lock), pytest.raises(UsageError, match="in use by another apiserver"), held(lock):
        pass
    with held(lock):
        assert lock.exists()


def test_a_port_in_use_is_said_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = ipaddress.ip_address("127.0.0.1")
        with pytest.raises(UsageError, match=f"--secure-port: cannot listen on .*:{port}.*in use"):
            listeners.open_all((Listener(address, 0), Listener(address, port)))
    with pytest.raises(UsageError, match="cannot listen"):
        listeners.open_all((Listener(ipaddress.ip_address("192.0.2.1"), 0),))


@pytest.mark.parametrize(
    ("address", "url"),
    [("0.0.0.0", "https://127.0.0.1:1"), ("10.0.0.1", "https://10.0.0.1:1"), ("fd00::1", "https://[fd00::1]:1")],
)
def test_where_clients_find_it(address: str, url: str) -> None:
    assert server.client_url(Listener(ipaddress.ip_address(address), 1)) == url


def test_etcd_syncs_as_etcd_is_told(tmp_path: Path) -> None:
    etcd = ("--storage", "etcd", "--etcd-servers", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="--unsafe-no-fsync is for SQLite"):
        CliRunner().invoke(
            command, ["--data-dir", str(tmp_path / "data"), *etcd, "--unsafe-no-fsync"], catch_exceptions=False
        )

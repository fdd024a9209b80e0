"""Kubeconfigs, good and bad; credentials that rotate; exec plugins."""

import asyncio
import json
import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from netplane.client import config
from netplane.client.api import Api
from netplane.client.config import TokenFile
from netplane.client.errors import Unauthorized
from netplane.client.exec_auth import ExecAuth
from netplane.errors import UsageError

V1 = "client.authentication.k8s.io/v1"


def document(user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1/", **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }


def written(tmp_path: Path, content: object) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def sign(auth: httpx2.Auth | None, *codes: int) -> list[str]:
    """The Authorization headers of one exchange, when the server answers with `codes` in turn."""
    assert auth is not None

    async def main() -> list[str]:
        flow = auth.async_auth_flow(httpx2.Request("GET", "http://x/"))
        sent = [(await anext(flow)).headers.get("Authorization", "")]
        for code in codes:
            try:
                sent.append((await flow.asend(httpx2.Response(code))).headers.get("Authorization", ""))
            except StopAsyncIteration:
                break
        return sent

    return asyncio.run(main())


def test_a_token_a_namespace_and_a_server(tmp_path: Path) -> None:
    connection = config.load(written(tmp_path, document({"token": "secret"})))
    assert (connection.server, connection.namespace, connection.tls) == ("http://127.0.0.1:1", "shop", None)
    assert sign(connection.auth) == ["Bearer secret"]
    assert config.load(written(tmp_path, document()), server="http://other:2").server == "http://other:2"


def test_a_token_file_beside_the_kubeconfig_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    auth = config.load(written(tmp_path, document({"tokenFile": "token"}))).auth
    assert isinstance(auth, TokenFile)
    assert sign(auth) == ["Bearer one"]
    fresh = tmp_path / "token.new"
    fresh.write_text("two\n")
    fresh.rename(token)
    assert sign(auth) == ["Bearer two"]
    token.unlink()
    assert sign(auth) == ["Bearer two"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"current-context": ""}, "current-context is not set"),
        ({"current-context": "x"}, "contexts has no 'x'"),
        ({"clusters": []}, "context 'main': context.cluster: clusters has no 'c'"),
        ({"users": None}, "context.user: users has no 'u'"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "cluster 'c' has no server"),
        ({"clusters": [{"name": "c", "cluster": {"server": "1.2.3.4"}}]}, "cluster.server is '1.2.3.4'"),
        ({"clusters": [{"name": "c", "cluster": {"server": "http://h:1x"}}]}, "cluster.server is 'http://h:1x'"),
        ({"clusters": [{"name": "c", "cluster": {"server": 7}}]}, r"Expected `str`, got `int` - at `\$.server`"),
        ({"users": [{"name": "u", "user": {"tokenFile": "none"}}]}, r"user.tokenFile .*none does not exist"),
        ({"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]}, "missing required field `apiVersion`"),
        (
            {"users": [{"name": "u", "user": {"exec": {"command": "x", "apiVersion": "v9"}}}]},
            "user.exec: apiVersion 'v9' is not supported",
        ),
    ],
)
def test_mistakes_are_told_with_file_context_and_field(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = written(tmp_path, {**document(), **change})
    with pytest.raises(UsageError, match=expected) as error:
        config.load(path)
    assert path in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize("content", ["", "- a", "a: [", "\x00"])
def test_what_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="kubeconfig"):
        config.load(written(tmp_path, content))


def test_a_missing_file_and_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="No such file"):
        config.load(str(tmp_path / "none"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match="no apiserver given"):
        config.load()


def test_bad_certificates_name_their_fields(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("garbage")
    bad = document(server="https://127.0.0.1:1")
    bad["clusters"][0]["cluster"]["certificate-authority"] = "ca.pem"
    with pytest.raises(UsageError, match=r"certificate-authority ca\.pem"):
        config.load(written(tmp_path, bad))
    with pytest.raises(UsageError, match="certificate without a key"):
        config.load(written(tmp_path, document({"client-certificate-data": "eA=="}, server="https://127.0.0.1:1")))


def test_insecure_skips_verification(tmp_path: Path) -> None:
    cluster: dict[str, Any] = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    connection = config.load(written(tmp_path, document(**cluster)))
    assert connection.tls is not None
    assert connection.tls.verify_mode == ssl.CERT_NONE


def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(config, "SERVICE_ACCOUNT_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="in-cluster"):
        config.load()


PLUGIN = """#!{python}
import json, os, pathlib, sys
runs = pathlib.Path(sys.argv[1])
count = int(runs.read_text() or 0) + 1 if runs.exists() else 1
runs.write_text(str(count))
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
pathlib.Path(sys.argv[1] + ".info").write_text(json.dumps([info, os.environ.get("EXTRA")]))
status = {{"token": f"token-{{count}}"}}
if os.environ.get("EXPIRES"):
    status["expirationTimestamp"] = os.environ["EXPIRES"]
print(json.dumps({{"apiVersion": "{version}", "kind": "ExecCredential", "status": status}}))
"""


def exec_auth(tmp_path: Path, *, expires: str = "", version: str = V1, **spec: Any) -> httpx2.Auth:
    plugin = tmp_path / "plugin"
    plugin.write_text(PLUGIN.format(python=sys.executable, version=version))
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    exec_spec = {
        "apiVersion": V1,
        "command": "./plugin",
        "args": [str(tmp_path / "runs")],
        "env": [{"name": "EXTRA", "value": "yes"}, {"name": "EXPIRES", "value": expires}],
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        **spec,
    }
    auth = config.load(written(tmp_path, document({"exec": exec_spec}))).auth
    assert isinstance(auth, ExecAuth)
    return auth


def test_an_exec_plugin_is_asked_once_and_again_after_401(tmp_path: Path) -> None:
    auth = exec_auth(tmp_path)
    assert sign(auth) == sign(auth) == ["Bearer token-1"]
    assert sign(auth, 401, 401) == ["Bearer token-1", "Bearer token-2"]
    assert sign(auth, 200) == ["Bearer token-2"]
    info, extra = json.loads((tmp_path / "runs.info").read_text())
    assert info["apiVersion"] == V1
    assert info["spec"] == {"interactive": False, "cluster": {"server": "http://127.0.0.1:1/"}}
    assert extra == "yes"


def test_an_expired_credential_is_renewed(tmp_path: Path) -> None:
    auth = exec_auth(tmp_path, expires="2020-01-01T00:00:00Z")
    assert [sign(auth), sign(auth)] == [["Bearer token-1"], ["Bearer token-2"]]


def test_many_requests_at_once_run_the_plugin_once(tmp_path: Path) -> None:
    auth = exec_auth(tmp_path)

    async def main() -> list[str]:
        async def one() -> str:
            return (await anext(auth.async_auth_flow(httpx2.Request("GET", "http://x/")))).headers["Authorization"]

        return await asyncio.gather(*(one() for _ in range(10)))

    assert set(asyncio.run(main())) == {"Bearer token-1"}


@pytest.mark.parametrize(
    ("spec", "version", "expected"),
    [
        ({"command": "./absent"}, V1, "absent cannot be run: No such file"),
        ({"command": "false"}, V1, "false exited with 1"),
        ({"command": "true"}, V1, "true printed no ExecCredential"),
        ({}, f"{V1}beta1", "answered with apiVersion"),
    ],
)
def test_a_failing_plugin_is_told_with_its_install_hint(
    tmp_path: Path, spec: dict[str, Any], version: str, expected: str
) -> None:
    auth = exec_auth(tmp_path, version=version, installHint="install the plugin", **spec)
    with pytest.raises(UsageError, match=expected) as error:
        sign(auth)
    assert error.value.hint == "install the plugin"


def test_a_request_without_credentials_is_unauthorized(tmp_path: Path) -> None:
    connection = config.load(written(tmp_path, document({"exec": {"command": "false", "apiVersion": V1}})))

    async def main() -> None:
        async with Api(connection) as api:
            with pytest.raises(Unauthorized, match=r"no credentials: .*false exited with 1"):
                await api.request("GET", "/version")

    asyncio.run(main())


def test_a_plugin_that_needs_a_terminal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="interactiveMode Always"):
        exec_auth(tmp_path, interactiveMode="Always")
    assert not (tmp_path / "runs").exists()

"""Where the apiserver is and who we are: from a kubeconfig, or from inside a pod.

Parsing and the common credentials are lightkube's; exec plugins are `exec_auth`'s. Every mistake in a file is told
with the file, the context and the field. Source: "Organizing Cluster Access Using kubeconfig Files".
"""

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import lightkube.core.exceptions
import msgspec
import yaml
from lightkube.config import client_adapter as adapter
from lightkube.config import kubeconfig
from lightkube.config.models import Cluster, Context, User

from netplane.client.exec_auth import ExecAuth, ExecSpec
from netplane.errors import UsageError, reason

SERVICE_ACCOUNT_DIR = kubeconfig.SERVICE_ACCOUNT


@dataclass(frozen=True)
class Connection:
    """All that `Api` needs to talk to one apiserver.

    `server` is a URL without a trailing slash; `tls` is None for http. `namespace` is the context's, `tls_server_name`
    the name its certificate is checked against when that is not the URL's host. `proxy` is a URL, or "". `ca_pem`:
    the certificates that the file says to trust, "" when it leaves that to the system.
    """

    server: str
    tls: ssl.SSLContext | None = None
    auth: httpx2.Auth | None = None
    namespace: str = "default"
    tls_server_name: str = ""
    proxy: str = ""
    source: str = ""
    ca_pem: str = ""


def load(kubeconfig_file: str | None = None, *, context: str = "", server: str = "") -> Connection:
    """The connection that a file describes, else $KUBECONFIG's, else the pod's own service account's.

    Args:
        kubeconfig_file: a path; None or "" means look at $KUBECONFIG, then at the pod's service account.
        context: a context of the file; "" means its current-context.
        server: replaces the file's server URL, as kubectl's --server does.
    """
    path = kubeconfig_file or os.environ.get("KUBECONFIG", "")
    if path:
        return _from_file(Path(path).expanduser(), context, server)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _in_cluster(server)
    if server:
        return Connection(server.rstrip("/"), ssl.create_default_context() if server.startswith("https") else None)
    raise UsageError(
        "no apiserver given: neither --kubeconfig nor $KUBECONFIG is set, and this is not inside a pod",
        hint="pass --kubeconfig FILE (`netplane apiserver --kubeconfig-out FILE` writes one)",
    )


def _in_cluster(server: str) -> Connection:
    try:
        config = kubeconfig.KubeConfig.from_service_account(SERVICE_ACCOUNT_DIR).get()
    except lightkube.core.exceptions.ConfigError as error:
        raise UsageError(
            f"in-cluster configuration: {error}",
            hint="mount the service account token (automountServiceAccountToken), or pass --kubeconfig",
        ) from error
    assert config is not None, "a service account's configuration always has a current context"
    return _connect(config, {}, {}, server, "in-cluster")


def _from_file(path: Path, context: str, server: str) -> Connection:
    document = _read(path)
    name = context or document.get("current-context") or ""
    if not name:
        raise UsageError(f"{path}: current-context is not set", hint=f"pass a context, one of: {_names(document)}")
    where = f"{path}: context {name!r}"
    chosen = _entry(document, "contexts", "context", name, where)
    cluster = _entry(document, "clusters", "cluster", chosen.get("cluster"), f"{where}: context.cluster")
    user = _entry(document, "users", "user", chosen["user"], f"{where}: context.user") if chosen.get("user") else {}
    try:
        config = kubeconfig.SingleConfig(
            context_name=name,
            context=msgspec.convert(chosen, Context),
            cluster=msgspec.convert(cluster, Cluster),
            user=msgspec.convert(user, User),
            fname=path.absolute(),
        )
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}", hint="correct that field") from error
    if not server and not cluster.get("server"):
        raise UsageError(f"{where}: cluster {chosen['cluster']!r} has no server", hint="set cluster.server to a URL")
    return _connect(config, cluster, user, server, where)


def _connect(
    config: kubeconfig.SingleConfig, cluster: dict[str, Any], user: dict[str, Any], server: str, where: str
) -> Connection:
    url = (server or config.cluster.server).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{where}: cluster.server is {url!r}", hint="it must begin with https:// or http://")
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise UsageError(
            f"{where}: cluster.server is {url!r}: {error}", hint="give one like https://10.0.0.1:6443"
        ) from error
    tls = _tls(config, where) if url.startswith("https") else None
    return Connection(
        server=url,
        tls=tls,
        auth=_auth(config, cluster, user, tls, where),
        namespace=config.namespace,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        source=where,
        ca_pem=_ca_pem(config) if tls is not None and not config.cluster.insecure else "",
    )


def _ca_pem(config: kubeconfig.SingleConfig) -> str:
    """What `_tls` has read already, as text."""
    if config.cluster.certificate_auth_data:
        return base64.b64decode(config.cluster.certificate_auth_data).decode("ascii", "replace")
    if config.cluster.certificate_auth:
        return Path(config.abs_file(config.cluster.certificate_auth)).read_text(encoding="ascii", errors="replace")
    return ""


def _tls(config: kubeconfig.SingleConfig, where: str) -> ssl.SSLContext:
    """Trust and client certificate. Data fields win over file fields, as in kubectl."""
    cluster, user = config.cluster, config.user or User()
    if bool(user.client_cert or user.client_cert_data) != bool(user.client_key or user.client_key_data):
        raise UsageError(
            f"{where}: user has a client certificate without a key, or a key without a certificate",
            hint="set both client-certificate(-data) and client-key(-data)",
        )
    if cluster.certificate_auth_data:
        cluster = msgspec.structs.replace(cluster, certificate_auth=None)
    if cluster.insecure and not (cluster.certificate_auth or cluster.certificate_auth_data):
        # verify_cluster would take the system's store to pieces for this; only the client certificate matters.
        context = httpx2.create_ssl_context(verify=False)
        pair = adapter.user_cert(user, config.abs_file)
        if pair:
            context.load_cert_chain(*pair)
        return context
    try:
        trusted: ssl.SSLContext = adapter.verify_cluster(cluster, user, config.abs_file, trust_env=False)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, bad base64 a ValueError
        raise UsageError(f"{where}: {_blame(config)}: {error}", hint="check that it holds readable PEM") from error
    return trusted


def _blame(config: kubeconfig.SingleConfig) -> str:
    """The fields a TLS failure can come from, with the files they name."""
    values = {
        "certificate-authority": config.cluster.certificate_auth,
        "certificate-authority-data": config.cluster.certificate_auth_data and "(inline)",
        "client-certificate": config.user and config.user.client_cert,
        "client-certificate-data": config.user and config.user.client_cert_data and "(inline)",
        "client-key": config.user and config.user.client_key,
        "client-key-data": config.user and config.user.client_key_data and "(inline)",
    }
    return ", ".join(f"{field} {value}" for field, value in values.items() if value)


def _auth(
    config: kubeconfig.SingleConfig,
    cluster: dict[str, Any],
    user: dict[str, Any],
    tls: ssl.SSLContext | None,
    where: str,
) -> httpx2.Auth | None:
    parsed = config.user
    if parsed is None:
        return None
    if user.get("exec"):
        return ExecAuth(_exec_spec(user["exec"], where), cluster, config.fname, tls, where)
    if parsed.token_file:
        token_file = Path(config.abs_file(parsed.token_file))
        if not token_file.is_file():
            raise UsageError(f"{where}: user.tokenFile {token_file} does not exist", hint="write the token there")
        return TokenFile(token_file)
    if parsed.auth_provider:
        raise UsageError(f"{where}: user.auth-provider was removed from Kubernetes", hint="use user.exec instead")
    return adapter.user_auth(parsed)


class TokenFile(adapter.BearerTokenFileAuth):
    """A bearer token that someone rotates on disk: read again when the file changed, and after a 401."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._read_at: tuple[int, int] = (0, 0)

    def auth_flow(self, request: httpx2.Request) -> Any:
        """Sign one request; a stat per request is 1 µs, a refused request a round trip."""
        try:
            stat = self._path.stat()
            now = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            now = self._read_at  # between unlink and rename: the old token is still good
        if now != self._read_at:
            self._read_at, self._last_bearer = now, None
        yield from super().auth_flow(request)


def _exec_spec(raw: object, where: str) -> ExecSpec:
    try:
        return msgspec.convert(raw, ExecSpec)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: user.exec: {error}", hint="correct that field") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="pass a readable kubeconfig with --kubeconfig") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: not YAML: {reason(error)}", hint="check the file's indentation near there"
        ) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: not a kubeconfig: the file is empty or no mapping", hint="pass another file")
    return document


def _entry(document: dict[str, Any], section: str, inner: str, name: object, where: str) -> dict[str, Any]:
    """`section[?name==name].inner`, or an error that lists the names there are."""
    for item in document.get(section) or []:
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(inner) or {}
            if isinstance(found, dict):
                return found
            raise UsageError(f"{where}: {section}[{name}].{inner} is no mapping", hint="correct that field")
    raise UsageError(f"{where}: {section} has no {name!r}", hint=f"it has: {_names(document, section)}")


def _names(document: dict[str, Any], section: str = "contexts") -> str:
    items = document.get(section) or []
    return ", ".join(str(item.get("name")) for item in items if isinstance(item, dict)) or "none"

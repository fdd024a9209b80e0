"""Credentials from a program, as cloud providers do it: run it, keep what it prints until it expires.

Source: "client-go credential plugins", client.authentication.k8s.io/v1 and v1beta1. The program gets
KUBERNETES_EXEC_INFO, never a terminal, and runs once however many requests wait for it.
"""

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from netplane.errors import UsageError

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
PLUGIN_TIMEOUT_S = 60
UNAUTHORIZED = 401


class EnvVar(msgspec.Struct, frozen=True):
    """One variable that the program gets beside our own."""

    name: str
    value: str


class ExecSpec(msgspec.Struct, frozen=True, rename="camel"):
    """user.exec of a kubeconfig."""

    command: str
    api_version: str
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class ExecStatus(msgspec.Struct, frozen=True, rename="camel"):
    """status of an ExecCredential: a token, a certificate with its key (PEM), or both."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class ExecCredential(msgspec.Struct, frozen=True, rename="camel"):
    """What the program prints."""

    api_version: str = ""
    status: ExecStatus | None = None


class ExecAuth(httpx2.Auth):
    """Signs requests with what the program says; asks it again after expiry and after a 401.

    A certificate is loaded into `tls`: it counts from the next connection on.
    """

    def __init__(
        self,
        spec: ExecSpec,
        cluster: dict[str, Any],
        kubeconfig: Path | None,
        tls: ssl.SSLContext | None,
        where: str,
    ) -> None:
        self._spec = spec
        self._tls = tls
        self._where = f"{where}: user.exec"
        self._lock = asyncio.Lock()
        self._status: ExecStatus | None = None
        self._check()
        self._command = _resolve(spec.command, kubeconfig)
        self._environment = _environment(spec, cluster)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One request, and one more with fresh credentials if the first was refused with 401."""
        status = await self._current(refused=None)
        _sign(request, status)
        response = yield request
        if response.status_code == UNAUTHORIZED:
            _sign(request, await self._current(refused=status))
            yield request

    def _check(self) -> None:
        if self._spec.api_version not in VERSIONS:
            raise UsageError(
                f"{self._where}: apiVersion {self._spec.api_version!r} is not supported",
                hint=f"use one of: {', '.join(VERSIONS)}",
            )
        if self._spec.interactive_mode == "Always":
            raise UsageError(
                f"{self._where}: interactiveMode Always needs a terminal, and this program has none",
                hint="use a plugin that works with interactiveMode Never or IfAvailable",
            )

    async def _current(self, refused: ExecStatus | None) -> ExecStatus:
        async with self._lock:
            status = self._status
            if status is None or status is refused or _expired(status):
                status = await self._ask()
                self._load_certificate(status)
                self._status = status
            return status

    async def _ask(self) -> ExecStatus:
        output = await self._run()
        try:
            credential = msgspec.json.decode(output, type=ExecCredential)
        except msgspec.DecodeError as error:
            raise self._error(f"printed no ExecCredential: {error}") from error
        if credential.api_version != self._spec.api_version:
            raise self._error(f"answered with apiVersion {credential.api_version!r}, not {self._spec.api_version!r}")
        if credential.status is None or not (credential.status.token or credential.status.client_certificate_data):
            raise self._error("printed neither a token nor a client certificate")
        return credential.status

    async def _run(self) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *(self._spec.args or []),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
            )
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from error
        try:
            out, err = await asyncio.wait_for(process.communicate(), PLUGIN_TIMEOUT_S)
        except TimeoutError as error:
            raise self._error(f"did not answer within {PLUGIN_TIMEOUT_S} s") from error
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise self._error(f"exited with {process.returncode}: {err.decode(errors='replace').strip()[-500:]}")
        return out

    def _load_certificate(self, status: ExecStatus) -> None:
        if not status.client_certificate_data or self._tls is None:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # mode 0600, gone when loaded
            pem.write(status.client_certificate_data + "\n" + status.client_key_data)
            pem.flush()
            try:
                self._tls.load_cert_chain(pem.name)
            except ssl.SSLError as error:
                raise self._error(f"printed an unusable client certificate: {error}") from error

    def _error(self, what: str) -> UsageError:
        hint = self._spec.install_hint or "run the command by hand to see what it says"
        return UsageError(f"{self._where}: {self._spec.command} {what}", hint=hint)


def _sign(request: httpx2.Request, status: ExecStatus) -> None:
    if status.token:
        request.headers["Authorization"] = f"Bearer {status.token}"


def _expired(status: ExecStatus) -> bool:
    return status.expiration_timestamp is not None and datetime.now(UTC) >= status.expiration_timestamp


def _resolve(command: str, kubeconfig: Path | None) -> str:
    """A command with a slash in it is relative to the kubeconfig's folder, one without comes from PATH."""
    if "/" in command and kubeconfig is not None:
        return str(kubeconfig.parent / command)
    return command


def _environment(spec: ExecSpec, cluster: dict[str, Any]) -> dict[str, str]:
    request: dict[str, Any] = {"interactive": False}
    if spec.provide_cluster_info:
        request["cluster"] = _cluster_info(cluster)
    info = {"apiVersion": spec.api_version, "kind": "ExecCredential", "spec": request}
    environment = dict(os.environ)
    environment.update((variable.name, variable.value) for variable in spec.env or [])
    environment["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(info).decode()
    return environment


def _cluster_info(cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster as ExecCredential.spec.cluster has it: files read in, the plugin's own extension as config."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info: dict[str, Any] = {name: cluster[name] for name in names if cluster.get(name)}
    if "certificate-authority-data" not in info and cluster.get("certificate-authority"):
        data = Path(cluster["certificate-authority"]).read_bytes()
        info["certificate-authority-data"] = base64.b64encode(data).decode()
    for extension in cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info

"""A real apiserver process for tests: started on a free port, asked over TLS, ended or killed by its own pid."""

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import yaml

from netplane.client import config
from tests.server_process import ServerProcess

KUBECTLS = ("kubectl", "kubectl-1.36")
"""Debian 13's, which is 1.32, and the newest."""


class Apiserver(ServerProcess):
    """One process at a time on one data folder; `restart` after `kill` finds everything again, on the same port."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__(folder)
        self.kubeconfig = folder / "kubeconfig"
        self.flags = flags
        self.port = 0
        self.kubectl_name = KUBECTLS[0]

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [
            sys.executable, "-m", "netplane.cli", "apiserver", "--data-dir", str(self.folder / "data"),
            "--secure-port", str(self.port), "--kubeconfig-out", str(self.kubeconfig), *self.flags,
        ]  # fmt: skip
        said = self.log.stat().st_size if self.log.exists() else 0
        self.launch(command)
        self.until(lambda: b"listening" in self.log.read_bytes()[said:])
        document = yaml.safe_load(self.kubeconfig.read_text())
        self.url: str = document["clusters"][0]["cluster"]["server"]
        self.token: str = document["users"][0]["user"]["token"]
        self.port = int(self.url.rpartition(":")[2])
        self.until(self._ready)

    def _ready(self) -> bool:
        try:
            with self.client() as client:
                assert client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False
        return True

    def tls(self) -> ssl.SSLContext:
        """What trusts this server, and nothing else."""
        found = config.load(str(self.kubeconfig)).tls
        assert found is not None
        return found

    def client(self, token: str | None = None, **options: Any) -> httpx2.Client:
        """A client with the administrator's token, another one, or (empty) none."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.url, verify=self.tls(), headers=headers, timeout=30, **options)

    def kubectl(self, *args: str, stdin: str | None = None, ok: bool = True) -> str:
        """Run kubectl as it is; its output. It must succeed, or (ok=False) fail, then its errors are returned."""
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}
        done = subprocess.run(
            [program(self.kubectl_name), *args],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is ok, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout if ok else done.stderr

    def kubectl_json(self, *args: str) -> Any:
        """The object that kubectl prints with -o json."""
        return json.loads(self.kubectl(*args, "-o", "json"))


def program(name: str = "kubectl") -> str:
    """A client that `./run test` unpacked beside the interpreter. The tests need it: none is skipped."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{path} is missing: `./run test` unpacks it"
    return str(path)

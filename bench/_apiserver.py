"""A real apiserver process to load: its CPU time and memory, and the objects that are sent to it."""

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from bench._wire import Target

START_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """The process, on a free port and an empty folder; `flags` are more of its flags."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._folder = tempfile.TemporaryDirectory(prefix="netplane-bench-")
        self.folder = Path(self._folder.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> float:
        """Start it, on what is in the folder; seconds until it listens."""
        begin = time.monotonic()
        log = self.folder / "log"
        kubeconfig = self.folder / "kubeconfig"
        command = [
            sys.executable, "-m", "netplane.cli", "apiserver", "--data-dir", str(self.folder / "data"),
            "--secure-port", "0", "--kubeconfig-out", str(kubeconfig), *self._flags,
        ]  # fmt: skip
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        while b"listening" not in log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > begin + START_S:
                raise SystemExit(f"the apiserver did not start:\n{log.read_text()}")
            time.sleep(0.01)
        took = time.monotonic() - begin
        self.target = target_of(yaml.safe_load(kubeconfig.read_text()))
        return took

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def rss_mib(self) -> int:
        """Memory it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def target_of(kubeconfig: Any) -> Target:
    """The server of a kubeconfig. Its certificate is not checked: that is no part of what is measured."""
    url = urlsplit(kubeconfig["clusters"][0]["cluster"]["server"])
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    return Target(url.hostname or "", url.port or 443, kubeconfig["users"][0]["user"]["token"], tls)


def service(namespace: str, name: str) -> bytes:
    """A Service with two ports."""
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "https", "port": 443, "targetPort": 8443},
    ]
    spec = {"selector": {"app": name}, "ports": ports}
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name, "bench": "1"}}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}).encode()


def endpoint_slice(namespace: str, name: str, of: str) -> bytes:
    """An EndpointSlice with ten endpoints."""
    endpoints = [
        {
            "addresses": [f"10.{random.randrange(200)}.{random.randrange(256)}.{1 + i}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{i % 5}",
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"pod-{i}"},
        }
        for i in range(10)
    ]
    labels = {"kubernetes.io/service-name": of, "bench": "1"}
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }
    return json.dumps(made).encode()


def config_map(namespace: str, name: str, size: int = 200) -> bytes:
    """A ConfigMap of `size` bytes."""
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v" * size}}
    ).encode()

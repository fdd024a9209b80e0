"""A real apiserver process to load: its CPU time and memory, and the objects that are sent to it."""

import json
import random
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from bench._wire import Target
from tests.apiserver_process import Apiserver


class Server(Apiserver):
    """The process, on a free port and an empty folder that goes with it."""

    def __init__(self, *flags: str) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="netplane-bench-")
        super().__init__(Path(self._temporary.name), *flags)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._temporary.cleanup()

    @property
    def target(self) -> Target:
        """Where it listens. Its certificate is not checked: that is no part of what is measured."""
        url = urlsplit(self.url)
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        return Target(url.hostname or "", url.port or 443, self.token, tls)


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

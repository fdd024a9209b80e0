"""The administrator's kubeconfig: written atomically, readable by its owner alone."""

import base64
from pathlib import Path
from typing import Any

import yaml

from netplane.apiserver.process.files import write_atomic


def render(server: str, ca_pem: bytes, token: str | None, name: str = "netplane") -> str:
    """A kubeconfig with one cluster, one user and one context, all called `name`."""
    cluster: dict[str, Any] = {"server": server}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": f"{name}-admin", "user": {"token": token} if token else {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


def write(path: Path, server: str, ca_pem: bytes, token: str | None) -> None:
    """Write it with mode 0600."""
    write_atomic(path, render(server, ca_pem, token).encode())

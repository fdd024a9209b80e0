"""Volumes that nothing mounts any more, and files that hide a token (pure)."""

from typing import Any

from netplane.api.fields import go_quote
from netplane.api.pod_refs import projected

Json = dict[str, Any]

_GONE = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN = {"storageos": "storageOS"}
_ITEMS = (("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI"))


def warnings(given: list[Json], path: str) -> list[str]:
    """The volumes of a pod, at `path`."""
    found = [
        f"{path}[{i}].{_SHOWN.get(kind, kind)}: {why}"
        for i, one in enumerate(given)
        for kind, why in _GONE.items()
        if one.get(kind) is not None
    ]
    tokens = {
        source["serviceAccountToken"].get("path") or ""
        for one in given
        for source in projected(one)
        if source.get("serviceAccountToken") is not None
    }
    return found + [
        text
        for i, one in enumerate(given)
        for source in projected(one)
        for text in _hidden(source, tokens, f"{path}[{i}].projected.sources")
    ]


def _hidden(source: Json, tokens: set[str], path: str) -> list[str]:
    same = "has duplicated path with ServiceAccountToken"
    found = [
        f"{path}.{shown}[{j}]: {same} {go_quote(item.get('path') or '')}"
        for kind, shown in _ITEMS
        for j, item in enumerate((source.get(kind) or {}).get("items") or ())
        if (item.get("path") or "") in tokens
    ]
    bundle = source.get("clusterTrustBundle")
    if bundle is not None and (bundle.get("path") or "") in tokens:
        found.append(f"{path}.ClusterTrustBundle: {same} {go_quote(bundle.get('path') or '')}")
    return found

"""Discovery: which groups, versions and resources there are, the old way and aggregated. Built from the registry."""

import base64
import hashlib
from functools import cache
from typing import Any

import orjson

from netplane.api.kinds import KINDS, Kind
from netplane.apiserver.describe import tagged
from netplane.apiserver.describe.tagged import Document
from netplane.apiserver.verbs import handlers
from netplane.apiserver.wire import negotiate
from netplane.apiserver.wire.reply import Reply, of_json

Json = dict[str, Any]

AGGREGATED = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_RESPONSE_KIND = {
    "binding": ("", "", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_CONNECT = {"attach": "Attach", "exec": "Exec", "portforward": "PortForward", "proxy": "Proxy"}


# As kube-apiserver ranks them; clients that look for a kind's name take the first group that has it.
_RANKED = (
    "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
    "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "admissionregistration.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io",
    "resource.k8s.io",
)  # fmt: skip


@cache
def groups() -> list[str]:
    """The named groups, in the order that kube-apiserver gives them; any others after those."""
    served = dict.fromkeys(kind.group for kind in KINDS if kind.group)
    return sorted(served, key=lambda group: _RANKED.index(group) if group in _RANKED else len(_RANKED))


def versions(group: str) -> list[str]:
    """The versions of a group, the preferred one first."""
    return list(dict.fromkeys(kind.version for kind in KINDS if kind.group == group))


def _of(group: str, version: str) -> list[Kind]:
    return sorted((k for k in KINDS if (k.group, k.version) == (group, version)), key=lambda kind: kind.plural)


def api_versions(address: str) -> Json:
    """The document at /api."""
    server = {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [server]}


def group_document(group: str) -> Json:
    """One group, without kind and apiVersion."""
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions(group)]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def group_list() -> Json:
    """The document at /apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group_document(group) for group in groups()]}


def api_group(group: str) -> Json:
    """The document at /apis/GROUP."""
    return {"kind": "APIGroup", "apiVersion": "v1", **group_document(group)}


def resource_list(group: str, version: str) -> Json:
    """The document at /api/v1 and /apis/GROUP/VERSION."""
    resources = [entry for kind in _of(group, version) for entry in _resource_entries(kind)]
    group_version = f"{group}/{version}" if group else version
    head: Json = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": group_version, "resources": resources}


def _resource_entries(kind: Kind) -> list[Json]:
    own: Json = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        own["shortNames"] = list(kind.short_names)
    if kind.categories:
        own["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        own["storageVersionHash"] = storage_hash(kind)
    return [own, *(_subresource_entry(kind, name) for name in _below(kind))]


def _below(kind: Kind) -> list[str]:
    """All subresources."""
    return sorted((*kind.subresources, *kind.connects))


def _subresource_entry(kind: Kind, name: str) -> Json:
    group, version, response = response_kind(kind, name)
    entry: Json = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if group:
        entry |= {"group": group, "version": version}
    return {**entry, "kind": response, "verbs": list(handlers.subresource_verbs(kind.plural, name))}


def response_kind(kind: Kind, subresource: str) -> tuple[str, str, str]:
    """What a subresource speaks of: (group, version, kind); no group and version where they are the object's own."""
    if subresource in kind.connects and subresource != "log":
        return "", "", f"{kind.kind}{_CONNECT[subresource]}Options"
    group, version, response = _RESPONSE_KIND.get(subresource, ("", "", kind.kind))
    return group, version, response


def storage_hash(kind: Kind) -> str:
    """How kube-apiserver derives it: the first 8 bytes of SHA-256 of the stored group/version/kind, in base64."""
    group = kind.group if kind.stored_in is None else kind.stored_in
    digest = hashlib.sha256(f"{group}/{kind.version}/{kind.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _aggregated_group(group: str) -> Json:
    listed = []
    for version in versions(group):
        resources = [_aggregated_resource(kind) for kind in _of(group, version)]
        listed.append({"version": version, "resources": resources, "freshness": "Current"})
    return {"metadata": {"name": group} if group else {}, "versions": listed}


def _aggregated_resource(kind: Kind) -> Json:
    entry: Json = {
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},  # the group's own
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if below := _below(kind):
        entry["subresources"] = [_aggregated_subresource(kind, name) for name in below]
    return entry


def _aggregated_subresource(kind: Kind, name: str) -> Json:
    group, version, response = response_kind(kind, name)
    return {
        "subresource": name,
        "responseKind": {"group": group, "version": version, "kind": response},
        "verbs": list(handlers.subresource_verbs(kind.plural, name)),
    }


@cache
def _aggregated(core: bool) -> Document:
    wanted = [""] if core else groups()
    body = orjson.dumps(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": [_aggregated_group(group) for group in wanted],
        }
    )
    return tagged.document(body)


def wants_aggregated(accept: str) -> bool:
    """Whether the client prefers the aggregated form, in the version that is served."""
    for media in accept.split(","):
        base, parameters = negotiate.split(media)
        if base == negotiate.JSON and parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") == "v2":
            return True
        if base == negotiate.JSON and "as" not in parameters:
            return False
    return False


def root_document(accept: str, if_none_match: str, plain: Json, *, core: bool) -> Reply:
    """/api or /apis, in the form the client wants; 304 when it has it."""
    if not wants_aggregated(accept):
        return of_json(plain)._replace(headers=(tagged.VARY,))
    return tagged.answer(_aggregated(core), if_none_match, AGGREGATED, (b"cache-control", b"public"))

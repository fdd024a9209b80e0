"""The bootstrap roles and bindings in the store, kept complete; and the rules that gathering roles show.

What is missing from a role or a binding is added, what users added stays, and whoever wants to keep their own says so:
annotation rbac.authorization.kubernetes.io/autoupdate: "false". Source: the RBAC page of the Kubernetes documentation.
"""

import contextlib
from typing import Any

from netplane.api import bootstrap_roles, errors, kinds, rbac
from netplane.api.kinds import Kind
from netplane.api.managed import entries as managed
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit

Json = dict[str, Any]

MANAGER = "kube-apiserver"
GATHERER = "clusterrole-aggregation-controller"


async def reconcile(cluster: Cluster) -> None:
    """Make or complete all of them."""
    for kind, wanted, field in (
        (kinds.CLUSTER_ROLE, bootstrap_roles.cluster_roles(), "rules"),
        (kinds.CLUSTER_ROLE_BINDING, bootstrap_roles.cluster_role_bindings(), "subjects"),
        (kinds.ROLE, bootstrap_roles.roles(), "rules"),
        (kinds.ROLE_BINDING, bootstrap_roles.role_bindings(), "subjects"),
    ):
        for one in wanted:
            await _ensure(cluster, kind, one, field)
    await gather(cluster)


async def _ensure(cluster: Cluster, kind: Kind, want: Json, field: str) -> None:
    name, namespace = want["metadata"]["name"], want["metadata"].get("namespace", "")
    kv = await cluster.store.get(cl.key(kind, namespace, name))
    if kv is None:
        obj = {"kind": kind.kind, "apiVersion": kind.api_version, **want}
        try:
            await commit.create(cluster, kind, namespace, obj, own=True, manager=MANAGER)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return
    if _completed(cluster.decoded(kv), want, field) is not None:

        def complete(have: Json) -> Json:
            return _completed(have, want, field) or have

        await commit.change(cluster, kind, namespace, name, complete, scope="all")


def _completed(have: Json, want: Json, field: str) -> Json | None:
    """`have` with what it lacks of `want`; None when there is nothing to do."""
    if (have["metadata"].get("annotations") or {}).get(bootstrap_roles.AUTO_UPDATE) == "false":
        return None
    changed = False
    if want.get("aggregationRule"):  # its rules are gathered, not given
        if not have.get("aggregationRule"):
            have["aggregationRule"], changed = want["aggregationRule"], True
    elif missing := [one for one in want.get(field) or () if one not in (have.get(field) or ())]:
        have[field], changed = [*(have.get(field) or ()), *missing], True
    labels = {**want["metadata"]["labels"], **(have["metadata"].get("labels") or {})}
    if labels != have["metadata"].get("labels"):
        have["metadata"]["labels"], changed = labels, True
    return have if changed else None


async def gather(cluster: Cluster) -> None:
    """Write into every role with an aggregationRule what it gathers now, for people to read: decisions gather anew."""
    found = await cluster.store.range(cl.prefix(kinds.CLUSTER_ROLE))
    roles = [cluster.decoded(kv) for kv in found.kvs]
    for role in roles:
        if not role.get("aggregationRule"):
            continue
        rules = rbac.aggregated(role, roles)
        if rules != (role.get("rules") or []):
            with contextlib.suppress(errors.StatusError):  # changed or deleted meanwhile: the next time
                await _write(cluster, role["metadata"]["name"], rules)


async def _write(cluster: Cluster, name: str, rules: list[Json]) -> None:
    """As Kubernetes' controller does it: what it gathered is its own."""
    writer = managed.Writer(GATHERER, cl.stamp(), "")

    def alter(role: Json) -> Json:
        made = managed.apply(kinds.CLUSTER_ROLE, role, {"metadata": {"name": name}, "rules": rules}, writer, force=True)
        return {**made.obj, "metadata": {**made.obj["metadata"], "managedFields": made.entries}}

    await commit.change(cluster, kinds.CLUSTER_ROLE, "", name, alter, scope="all")

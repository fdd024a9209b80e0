"""Nobody gives away more than they have: what counts as held, and what is said of the rest."""

import re
from typing import Any

import pytest

from netplane.api import kinds
from netplane.api.errors import StatusError
from netplane.api.kinds import Kind
from netplane.api.rbac import Policy
from netplane.apiserver.access import escalation
from netplane.apiserver.access.tokens import User
from netplane.apiserver.wire.target import Target
from tests.apiserver_app import READER, Server, run

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def asked(name: str, rules: Any = (), ref: Any = None) -> tuple[Kind, Target, dict[str, Any]]:
    """A role, or a binding to `ref`, that is to be made in namespace default."""
    kind = kinds.ROLE if ref is None else kinds.ROLE_BINDING
    target = Target("create", kind.group, "v1", kind.plural, "default")
    content = {"rules": list(rules)} if ref is None else {"roleRef": ref}
    return kind, target, {"metadata": {"name": name}, **content}


HELD = [
    {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "services/status"]},
    {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a", "b"]},
    {"verbs": ["get"], "nonResourceURLs": ["/healthz*"]},
]
NOT_HELD = 'user "me" (groups=["g" "h"]) is attempting to grant RBAC permissions not currently held:\n'


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "services/status"]}], ""),
        ([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["b"]}], ""),
        ([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/healthz/x", "/healthz*"]}], ""),
        ([{"verbs": ["get", "watch", "delete"], "apiGroups": [""], "resources": ["pods"]}],
         '{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}'),
        ([{"verbs": ["get"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"]}],
         '{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}\n'
         '{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}\n'
         '{APIGroups:["apps"], Resources:["pods/log"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"]}],
         '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a", "c"]}],
         '{APIGroups:["apps"], Resources:["deployments"], ResourceNames:["c"], Verbs:["get"]}'),
        ([{"verbs": ["get", "post"], "nonResourceURLs": ["/healthz", "/x"]}],
         '{NonResourceURLs:["/healthz"], Verbs:["post"]}\n{NonResourceURLs:["/x"], Verbs:["get"]}\n'
         '{NonResourceURLs:["/x"], Verbs:["post"]}'),
    ],
)  # fmt: skip
def test_what_is_not_held_is_named(rules: Any, missing: str) -> None:
    role = {"metadata": {"name": "r"}, "rules": HELD}
    policy = Policy((), [role], (), [{"roleRef": {"kind": "ClusterRole", "name": "r"},
                                      "subjects": [{"kind": "User", "name": "me"}]}])  # fmt: skip
    kind, target, obj = asked("x", rules)
    if not missing:
        escalation.check(policy, User("me", "", ("g", "h")), kind, target, obj, None)
        return
    with pytest.raises(StatusError) as caught:
        escalation.check(policy, User("me", "", ("g", "h")), kind, target, obj, None)
    assert caught.value.message == f'roles.rbac.authorization.k8s.io "x" is forbidden: {NOT_HELD}{missing}'


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ({"kind": "Role", "name": "none"}, 'rolebindings.rbac.authorization.k8s.io "none" not found'),
        ({"kind": "Role", "name": ""}, "Name parameter required."),
        ({"kind": "Thing", "name": "x"}, 'unsupported role reference kind: "Thing"'),
    ],
)
def test_a_binding_to_no_role_is_refused_to_who_may_not_bind(ref: Any, message: str) -> None:
    kind, target, obj = asked("x", ref=ref)
    with pytest.raises(StatusError, match=re.escape(message)):
        escalation.check(Policy(), User("me"), kind, target, obj, None)


def test_who_may_not_give_a_role_may_not_lead_its_binding_to_others() -> None:
    async def test(server: Server) -> None:
        where = f"{RBAC}/namespaces/default"
        writer = {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"]}
        await server.create(f"{where}/roles", {"metadata": {"name": "writer"}, "rules": [writer]})
        reader = [{"kind": "User", "name": "reader"}]
        for name, role, subjects in (("a", {"kind": "Role", "name": "writer"}, reader),
                                     ("b", {"kind": "ClusterRole", "name": "cluster-admin"}, [])):  # fmt: skip
            await server.create(
                f"{where}/rolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}
            )
        said = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
                "subjects": reader}  # fmt: skip
        for way, query, body in (("apply-patch+yaml", "?fieldManager=x&force=true", said),
                                 ("merge-patch+json", "", {"subjects": reader})):  # fmt: skip
            refused = await server("PATCH", f"{where}/rolebindings/b{query}", body,
                                   token=READER, content_type=f"application/{way}")  # fmt: skip
            assert (refused.status, "not currently held" in refused.json["message"]) == (403, True)
        kept = await server("PATCH", f"{where}/rolebindings/b", {"metadata": {"finalizers": ["a.b/c"]}}, token=READER,
                            content_type="application/merge-patch+json")  # fmt: skip
        assert kept.status == 200  # what garbage collection does is no gift

    run(test)


def test_only_who_may_everything_lets_a_role_gather() -> None:
    async def test(server: Server) -> None:
        rule = {"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}
        await server.create(f"{RBAC}/clusterroles", {"metadata": {"name": "maker"}, "rules": [rule]})
        subjects = [{"kind": "Group", "name": "people"}]
        ref = {"kind": "ClusterRole", "name": "maker"}
        binding = {"metadata": {"name": "maker"}, "roleRef": ref, "subjects": subjects}
        await server.create(f"{RBAC}/clusterrolebindings", binding)
        role = {"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
        refused = await server("POST", f"{RBAC}/clusterroles", role, token=READER)
        assert refused.status == 403
        assert "must have cluster-admin privileges to use the aggregationRule" in refused.json["message"]
        assert (await server("POST", f"{RBAC}/clusterroles", role)).status == 201

    run(test)

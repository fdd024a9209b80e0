"""Rules, bindings, who may give what away, and what the apiserver makes of them."""

import asyncio
from typing import Any

import pytest

from netplane.api import bootstrap_roles, role_table
from netplane.api.rbac import Ask, Policy, aggregated, allows
from netplane.apiserver.access import bootstrap_rules
from tests.apiserver_app import READER, Server, serving

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


def run(test: Any) -> None:
    async def whole() -> None:
        async with serving() as server:
            await test(server)

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("rule", "ask", "yes"),
    [
        (PODS, Ask("get", "", "pods", "", "default", "p"), True),
        (PODS, Ask("delete", "", "pods"), False),
        (PODS, Ask("get", "apps", "pods"), False),
        (PODS, Ask("get", "", "pods", "status"), False),
        ({**PODS, "resources": ["*/status"]}, Ask("get", "", "pods", "status"), True),
        ({**PODS, "resources": ["*"]}, Ask("get", "", "pods", "status"), True),
        ({**PODS, "verbs": ["*"]}, Ask("anything", "", "pods"), True),
        ({**PODS, "resourceNames": ["a"]}, Ask("get", "", "pods", "", "", "a"), True),
        ({**PODS, "resourceNames": ["a"]}, Ask("list", "", "pods"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/x/*"]}, Ask("get", path="/x/y"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/x/*"]}, Ask("get", path="/y"), False),
        (PODS, Ask("get", path="/pods"), False),
    ],
)
def test_what_a_rule_says(rule: dict[str, Any], ask: Ask, yes: bool) -> None:
    assert allows(rule, ask) is yes


def test_where_a_binding_holds() -> None:
    role = {"metadata": {"name": "r", "namespace": "a"}, "rules": [PODS]}
    wide = {"metadata": {"name": "w"}, "rules": [PODS]}
    to = [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "x"}]
    bindings = [
        {"metadata": {"namespace": "a"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": to},
        {"metadata": {"namespace": "b"}, "roleRef": {"kind": "ClusterRole", "name": "w"}, "subjects": to},
        {"metadata": {"namespace": "c"}, "roleRef": {"kind": "Role", "name": "missing"}, "subjects": to},
    ]
    policy = Policy([role], [wide], bindings, [])
    for user in ("u", "system:serviceaccount:x:s"):
        found = [policy.allows(user, (), Ask("get", "", "pods", "", where)) for where in ("a", "b", "c", "")]
        assert found == [True, True, False, False]
    everywhere = Policy([], [wide], [], [{"roleRef": {"name": "w"}, "subjects": [{"kind": "Group", "name": "g"}]}])
    assert everywhere.allows("any", ("g",), Ask("list", "", "pods"))
    assert not everywhere.allows("any", ("h",), Ask("list", "", "pods"))


def test_a_binding_works_with_the_next_request_and_so_does_its_end() -> None:
    async def test(server: Server) -> None:
        body = {"metadata": {"name": "c"}}
        assert (await server("POST", MAPS, body, token=READER)).status == 403
        reference = {"kind": "ClusterRole", "name": "edit"}
        subjects = [{"kind": "User", "name": "reader"}]
        where = f"{RBAC}/namespaces/default/rolebindings"
        await server.create(where, {"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects})
        assert (await server("POST", MAPS, body, token=READER)).status == 201
        assert (await server("POST", "/api/v1/namespaces/kube-public/configmaps", body, token=READER)).status == 403
        await server("DELETE", f"{where}/b")
        assert (await server("DELETE", f"{MAPS}/c", token=READER)).status == 403

    run(test)


def test_nobody_gives_away_more_than_they_have() -> None:
    async def test(server: Server) -> None:
        await server.create(
            f"{RBAC}/namespaces/default/rolebindings",
            {
                "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "admin"},
                "subjects": [{"kind": "User", "name": "reader"}],
            },
        )
        roles = f"{RBAC}/namespaces/default/roles"
        fine = await server("POST", roles, {"metadata": {"name": "fine"}, "rules": [PODS]}, token=READER)
        assert fine.status == 201, fine.body
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        refused = await server("POST", roles, {"metadata": {"name": "all"}, "rules": [everything]}, token=READER)
        assert refused.status == 403
        assert "attempting to grant RBAC permissions not currently held" in refused.json["message"]
        grown = await server("PATCH", f"{roles}/fine", {"rules": [everything]}, token=READER,
                             content_type="application/merge-patch+json")  # fmt: skip
        assert grown.status == 403
        bound = await server(
            "POST",
            f"{RBAC}/namespaces/default/rolebindings",
            {
                "metadata": {"name": "mine"},
                "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "User", "name": "reader"}],
            },
            token=READER,
        )
        assert bound.status == 403

    run(test)


def test_reviews_of_others() -> None:
    async def test(server: Server) -> None:
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        wish = {"user": "x", "groups": ["people"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
        status = (await server("POST", path, {"spec": wish})).json["status"]
        why = 'RBAC: allowed by ClusterRoleBinding "people" of ClusterRole "view" to Group "people"'
        assert status == {"allowed": True, "reason": why}
        assert (await server("POST", path, {"spec": {**wish, "groups": []}})).json["status"] == {"allowed": False}
        assert (await server("POST", path, {"spec": wish}, token=READER)).status == 403
        tokens = "/apis/authentication.k8s.io/v1/tokenreviews"
        found = (await server("POST", tokens, {"spec": {"token": READER}})).json["status"]
        assert (found["authenticated"], found["user"]["username"]) == (True, "reader")
        unknown = {"user": {}, "error": "invalid bearer token"}
        assert (await server("POST", tokens, {"spec": {"token": "x"}})).json["status"] == unknown

    run(test)


@pytest.mark.parametrize(
    ("user", "groups", "ask", "yes"),
    [
        ("system:kube-proxy", [], {"verb": "watch", "group": "discovery.k8s.io", "resource": "endpointslices"}, True),
        ("system:kube-proxy", [], {"verb": "list", "resource": "secrets"}, False),
        ("system:node:n", ["system:nodes"], {"verb": "patch", "resource": "pods", "subresource": "status"}, True),
        ("a", ["netplane:agents"], {"verb": "watch", "resource": "nodes"}, True),
        ("a", ["netplane:agents"], {"verb": "create", "resource": "pods"}, False),
        ("system:kube-scheduler", [], {"verb": "create", "resource": "pods", "subresource": "binding"}, True),
        ("system:serviceaccount:kube-system:job-controller", [], {"verb": "create", "resource": "pods"}, True),
        ("system:serviceaccount:kube-system:job-controller", [], {"verb": "create", "resource": "secrets"}, False),
    ],
)
def test_what_the_cluster_starts_with(user: str, groups: list[str], ask: dict[str, str], yes: bool) -> None:
    async def test(server: Server) -> None:
        spec = {"user": user, "groups": groups, "resourceAttributes": ask}
        answer = await server("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        assert answer.json["status"]["allowed"] is yes

    run(test)


def test_a_table_of_roles_is_read() -> None:
    table = """
one
  READ patch | core apps | pods
      deployments | web
  get | /healthz /livez
two
  EVENTS
"""
    assert role_table.read(table) == {
        "one": [
            {"verbs": ["get", "list", "patch", "watch"], "apiGroups": ["", "apps"],
             "resources": ["pods", "deployments"], "resourceNames": ["web"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez"]},
        ],
        "two": [{"verbs": ["create", "patch", "update"], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]}],
    }  # fmt: skip


def test_bootstrap_has_kubernetes_roles_and_bindings() -> None:
    made = {one["metadata"]["name"]: one for one in bootstrap_roles.cluster_roles()}
    bound = {one["metadata"]["name"]: one for one in bootstrap_roles.cluster_role_bindings()}
    assert made["system:basic-user"]["rules"] == [
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
         "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
    ]  # fmt: skip
    assert {name for name in bound if name not in made} == set()
    assert "subjects" not in bound["system:node"]
    assert bound["system:controller:job-controller"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system"}
    ]
    local = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in bootstrap_roles.roles()}
    for one in bootstrap_roles.role_bindings():
        assert (one["metadata"]["namespace"], one["roleRef"]["name"]) in local


def test_what_is_gathered_keeps_its_order() -> None:
    roles = bootstrap_roles.cluster_roles()
    named = {one["metadata"]["name"]: one for one in roles}
    parts = [named[f"system:aggregate-to-{name}"]["rules"] for name in ("edit", "view", "admin")]
    assert aggregated(named["admin"], roles) == [rule for part in parts for rule in part]


def test_roles_gather_the_rules_of_those_labelled_for_them() -> None:
    async def test(server: Server) -> None:
        for name, inside in (("view", "pods/log"), ("edit", "pods/exec"), ("admin", "rolebindings")):
            role = (await server("GET", f"{RBAC}/clusterroles/{name}")).json
            assert role["aggregationRule"]["clusterRoleSelectors"] == [
                {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}}
            ]
            assert any(inside in rule["resources"] for rule in role["rules"])
            assert role["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
        path = "/api/v1/namespaces/default/secrets"
        assert (await server("GET", path, token=READER)).status == 403
        label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        rule = {"verbs": ["list"], "apiGroups": [""], "resources": ["secrets"]}
        await server.create(f"{RBAC}/clusterroles", {"metadata": {"name": "more", "labels": label}, "rules": [rule]})
        assert (await server("GET", path, token=READER)).status == 200  # at once
        await bootstrap_rules.gather(server.cluster)
        view = (await server("GET", f"{RBAC}/clusterroles/view")).json
        assert rule in view["rules"]
        owner = view["metadata"]["managedFields"][0]
        assert (owner["manager"], owner["operation"], owner["fieldsV1"]) == (
            "clusterrole-aggregation-controller", "Apply", {"f:rules": {}}
        )  # fmt: skip
        assert rule in (await server("GET", f"{RBAC}/clusterroles/admin")).json["rules"]
        await server("DELETE", f"{RBAC}/clusterroles/more")
        assert (await server("GET", path, token=READER)).status == 403

    run(test)


def test_bootstrap_roles_are_completed_unless_their_owner_says_no() -> None:
    async def test(server: Server) -> None:
        mine = {"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}
        role = f"{RBAC}/clusterroles/system:node-proxier"
        full = (await server("GET", role)).json["rules"]
        await server.patch(role, {"rules": [mine]})
        await bootstrap_rules.reconcile(server.cluster)
        assert (await server("GET", role)).json["rules"] == [mine, *full]
        kept = {"rules": [mine], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}
        rev = (await server.patch(role, kept)).json["metadata"]["resourceVersion"]
        await bootstrap_rules.reconcile(server.cluster)
        found = (await server("GET", role)).json
        assert (found["rules"], found["metadata"]["resourceVersion"]) == ([mine], rev)
        await server("DELETE", role)
        await bootstrap_rules.reconcile(server.cluster)
        assert (await server("GET", role)).json["rules"] == full

    run(test)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.resourceAttributes"),
        ({"resourceAttributes": {}, "nonResourceAttributes": {}}, "spec.nonResourceAttributes"),
    ],
)
def test_a_review_asks_one_question(spec: dict[str, Any], field: str) -> None:
    async def test(server: Server) -> None:
        for plural in ("selfsubjectaccessreviews", "subjectaccessreviews"):
            refused = await server("POST", f"/apis/authorization.k8s.io/v1/{plural}", {"spec": {"user": "x", **spec}
                                   if plural == "subjectaccessreviews" else spec})  # fmt: skip
            assert (refused.status, refused.json["details"]["causes"][0]["field"]) == (422, field)

    run(test)


def test_anonymous_sees_health_and_version_alone() -> None:
    async def test(server: Server) -> None:
        for path in ("/livez", "/readyz", "/healthz", "/version"):
            assert (await server("GET", path, token="")).status == 200
        for path in ("/", "/api", "/apis", "/metrics", "/openapi/v3", "/livez/ping", MAPS):
            refused = await server("GET", path, token="")
            assert (refused.status, refused.json["reason"]) == (403, "Forbidden"), path
        server.cluster.settings = server.cluster.settings._replace(anonymous=False)
        for path in ("/livez", MAPS):
            refused = await server("GET", path, token="")
            assert (refused.status, refused.json["message"]) == (401, "Unauthorized")

    run(test)

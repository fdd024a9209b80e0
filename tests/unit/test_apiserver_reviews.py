"""Reviews: what may be asked, how it is answered, what is said of a token. Expectations: Kubernetes 1.36."""

import asyncio
from typing import Any

import pytest

from netplane.api.validation import reviews
from tests.apiserver_app import READER, Server, run, serving, settings

Z, N = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
LOCAL = f"{Z}/namespaces/default/localsubjectaccessreviews"
PODS = {"verb": "get", "resource": "pods", "namespace": "default"}
HEAD = '.authorization.k8s.io "" is invalid: '
NEEDS = "must be specified when `operator` is 'In' or 'NotIn'"
_SELECTOR = "spec.resourceAttributes.fieldSelector"


def test_refusals() -> None:
    both = {"resourceAttributes": PODS, "nonResourceAttributes": {"path": "/x"}}
    shown = '{"Path":"/x","Verb":""}'
    either = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    somebody = 'spec.user: Invalid value: "": at least one of user or group must be specified'
    why = "cannot be specified in combination with resourceAttributes"
    combined = f"spec.nonResourceAttributes: Invalid value: {shown}: {why}"
    table: list[tuple[str, Any, str]] = [
        (f"{Z}/selfsubjectaccessreviews", {"spec": {}}, f"spec.resourceAttributes: Invalid value: null: {either}"),
        (f"{Z}/selfsubjectaccessreviews", {"spec": both}, combined),
        (f"{Z}/subjectaccessreviews", {"spec": {"resourceAttributes": PODS}}, somebody),
        (f"{Z}/subjectaccessreviews", {"spec": both}, f"[{combined}, {somebody}]"),
        (LOCAL, {"spec": {"user": "x", "nonResourceAttributes": {}}}, "spec.nonResourceAttributes: Invalid value: "
         '{"Path":"","Verb":""}: disallowed on this kind of request'),
        (LOCAL, {"spec": {"user": "x", "resourceAttributes": {**PODS, "namespace": "other"}}},
         'spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace'),
    ]  # fmt: skip

    async def test(server: Server) -> None:
        for path, body, message in table:
            refused = await server("POST", path, body)
            assert (refused.status, refused.json["message"]) == (422, HEAD + message)
            assert "kind" not in refused.json["details"]
        named = {"metadata": {"name": "x"}, "spec": {"resourceAttributes": PODS}}
        refused = await server("POST", f"{Z}/selfsubjectaccessreviews?fieldManager=me", named)
        assert refused.json["message"].startswith(f'{HEAD}metadata: Invalid value: {{"name":"x","managedFields":[{{')
        assert refused.json["message"].endswith("]}: must be empty")
        for path in (f"{Z}/localsubjectaccessreviews", f"{Z}/subjectaccessreviews/x"):
            assert (await server("POST", path, {"spec": {}})).status == 404
        for extra, told in (({"a": "b"}, "string into Go struct field SubjectAccessReviewSpec.spec.extra of type "
                             "v1.ExtraValue"), ([], "of type map[string]v1.ExtraValue")):  # fmt: skip
            mistyped = await server("POST", f"{Z}/subjectaccessreviews", {"spec": {"user": "x", "extra": extra}})
            assert (mistyped.status, told in mistyped.json["message"]) == (400, True)
        unknown = await server("POST", f"{Z}/subjectaccessreviews", {"spec": {"resourceAttributes": PODS, "x": 1}})
        assert (unknown.status, unknown.headers["warning"]) == (422, '299 - "unknown field \\"spec.x\\""')

    run(test)


@pytest.mark.parametrize(
    ("selectors", "problems", "unread"),
    [
        ({"fieldSelector": {"rawSelector": "a=b"}}, [], ""),
        ({"fieldSelector": {}}, [f"{_SELECTOR}.requirements: Required value: when {_SELECTOR} is specified, "
                                 "requirements or rawSelector is required"], ""),
        ({"fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}},
         [f'{_SELECTOR}.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements'], ""),
        ({"fieldSelector": {"requirements": [{}]}},
         [f"{_SELECTOR}.requirements[0].key: Required value: must be specified"], f"{_SELECTOR} ignored"),
        ({"fieldSelector": {"requirements": [{"key": "a", "operator": "In"}]}},
         [f"{_SELECTOR}.requirements[0].values: Required value: {NEEDS}"], f"{_SELECTOR} ignored"),
        ({"fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}}, [],
         f"{_SELECTOR} ignored"),
        ({"fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]},
                                             {"key": "a", "operator": "Gt", "values": ["b"]}]}}, [],
         f"{_SELECTOR} partially ignored"),
        ({"labelSelector": {"rawSelector": "a in (b"}}, [], "spec.resourceAttributes.labelSelector ignored"),
        ({"labelSelector": {"requirements": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}, [],
         "spec.resourceAttributes.labelSelector ignored"),
    ],
)  # fmt: skip
def test_selectors(selectors: dict[str, Any], problems: list[str], unread: str) -> None:
    asked = {**PODS, **selectors}
    assert [str(one) for one in reviews.about_me({"resourceAttributes": asked})] == problems
    assert reviews.unread(asked) == (f"{unread} due to parse error" if unread else "")


def test_what_i_may() -> None:
    async def test(server: Server) -> None:
        path = f"{Z}/selfsubjectrulesreviews"
        answer = (await server("POST", path, {"spec": {"namespace": "default"}})).json
        assert (answer["metadata"], answer["spec"]) == ({}, {})
        status = answer["status"]
        assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in status["resourceRules"]
        assert {"verbs": ["*"], "nonResourceURLs": ["*"]} in status["nonResourceRules"]
        assert len(status["nonResourceRules"]) == 3  # cluster-admin, discovery, public-info-viewer: each once
        nowhere = await server("POST", path, {"spec": {}})
        assert (nowhere.status, nowhere.json["message"]) == (400, "no namespace on request")
        gone = {"kind": "ClusterRole", "name": "gone", "apiGroup": "rbac.authorization.k8s.io"}
        people = [{"kind": "Group", "name": "people", "apiGroup": "rbac.authorization.k8s.io"}]
        binding = {"metadata": {"name": "dangling"}, "roleRef": gone, "subjects": people}
        await server.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        missing = 'clusterrole.rbac.authorization.k8s.io "gone" not found'
        status = (await server("POST", path, {"spec": {"namespace": "x"}}, token=READER)).json["status"]
        assert (status["incomplete"], status["evaluationError"]) == (False, missing)
        refused = await server("GET", "/api/v1/nodes", token=READER)
        assert refused.json["message"] == (
            'nodes is forbidden: User "reader" cannot list resource "nodes" in API group "" at the cluster scope: '
            f"RBAC: {missing}"
        )
        asked = {
            "spec": {"user": "x", "groups": ["people"], "resourceAttributes": {"verb": "list", "resource": "nodes"}}
        }
        status = (await server("POST", f"{Z}/subjectaccessreviews", asked)).json["status"]
        assert status == {"allowed": False, "reason": f"RBAC: {missing}"}

    run(test)


def test_who_i_am_and_whose_a_token_is() -> None:
    async def test(server: Server) -> None:
        me = (await server("POST", f"{N}/selfsubjectreviews", {"metadata": {"name": "x"}}, token=READER)).json
        assert list(me) == ["kind", "apiVersion", "metadata", "status"]
        assert list(me["metadata"]) == ["creationTimestamp"]

        async def review(**spec: Any) -> Any:
            return (await server("POST", f"{N}/tokenreviews", {"spec": spec})).json

        issuer = server.cluster.issuer.name
        reader = (await review(token=READER))["status"]
        assert (reader["authenticated"], reader["audiences"]) == (True, [issuer])
        assert (await review(token=READER, audiences=["x"]))["status"] == {"user": {}, "error": "invalid bearer token"}
        assert (await review(token=""))["message"] == "token is required for TokenReview in authentication"
        nobody = (await review(token=" x"))["status"]
        assert nobody["user"] == {"username": "system:anonymous", "groups": ["system:unauthenticated"]}

    run(test)


@pytest.mark.parametrize("verb", ["OPTIONS", "TRACE"])
def test_a_method_that_is_no_verb_is_named_by_none(verb: str) -> None:
    async def test(server: Server) -> None:
        refused = await server(verb, "/api/v1/namespaces/default/secrets", token=READER)
        assert refused.json["message"] == (
            'secrets is forbidden: User "reader" cannot  resource "secrets" in API group "" in the namespace "default"'
        )

    run(test)


@pytest.mark.parametrize(("anonymous", "told"), [(True, "system:anonymous"), (False, None)])
def test_no_token_is_nobodys_where_nobody_is_let_in_without(anonymous: bool, told: str | None) -> None:
    async def test() -> None:
        async with serving(settings()._replace(anonymous=anonymous)) as server:
            status = (await server("POST", f"{N}/tokenreviews", {"spec": {"token": " ", "audiences": ["a"]}})).json[
                "status"
            ]
            assert (status.get("authenticated", False), status["user"].get("username")) == (anonymous, told)
            assert status.get("audiences") == (["a"] if anonymous else None)

    asyncio.run(asyncio.wait_for(test(), 20))

"""Bindings and evictions: what is refused, in the words of 1.36, and what a binding leaves in the pod."""

from typing import Any

import pytest

from tests.apiserver_app import Server, pod, run

NAMESPACE = "/api/v1/namespaces/default"
PODS = f"{NAMESPACE}/pods"
NODE = {"kind": "Node", "name": "n"}
CONFLICT = 'Operation cannot be fulfilled on pods/binding "p": pod p '
KEY = "StorageError: invalid object, Code: 4, Key: /registry/pods/default/p, ResourceVersion: 0, AdditionalErrorMsg: "


def binding(target: Any = NODE, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "target": target}


def test_bindings_are_made_under_both_paths_and_leave_their_marks() -> None:
    async def body(ask: Server) -> None:
        await ask.create(PODS, pod("p"))
        given = binding(annotations={"a": "b"}, labels={"c": "d"})
        assert (await ask("POST", f"{NAMESPACE}/bindings", given)).status == 201
        bound = (await ask("GET", f"{PODS}/p")).json
        assert (bound["metadata"]["annotations"], bound["metadata"]["labels"]) == ({"a": "b"}, {"c": "d"})
        told = bound["status"]["conditions"][0]
        assert (bound["spec"]["nodeName"], told["type"], told["status"]) == ("n", "PodScheduled", "True")
        assert (told["lastProbeTime"], "message" in told) == (None, False)

    run(body)


@pytest.mark.parametrize(
    ("spec", "given", "code", "words"),
    [
        ({}, binding(name="q"), 400, "name in URL does not match name in Binding object"),
        ({}, {"target": NODE}, 400, "name in URL does not match name in Binding object"),
        (
            *({}, binding(namespace="zz"), 400),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ({}, binding({"kind": "Node"}), 500, "target.name: Required value"),
        (
            *({}, binding({"kind": "Pod"}), 500),
            '[target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required value]',
        ),
        ({"nodeName": "m"}, binding(), 409, CONFLICT + 'is already assigned to node "m"'),
        ({"schedulingGates": [{"name": "g"}]}, binding(), 409, CONFLICT + "has non-empty .spec.schedulingGates"),
        (
            *({}, binding(uid="u"), 409),
            f'Operation cannot be fulfilled on pods "p": {KEY}Precondition failed: UID in precondition: u, UID in',
        ),
    ],
)
def test_bindings_that_are_wrong(spec: dict[str, Any], given: dict[str, Any], code: int, words: str) -> None:
    async def body(ask: Server) -> None:
        await ask.create(PODS, pod("p", **spec))
        answer = await ask("POST", f"{PODS}/p/binding", given)
        assert (answer.status, answer.json["message"][: len(words)]) == (code, words)

    run(body)


_UNREADABLE = "ignoreStoreReadErrorWithClusterBreakingPotential"


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, 400, "name in URL does not match name in Eviction object"),
        (
            *({"metadata": {"name": "p"}, "deleteOptions": {_UNREADABLE: True}}, 422),
            f'Eviction.policy "p" is invalid: deleteOptions.{_UNREADABLE}: Invalid value: true: can not be set for',
        ),
        ({"metadata": {"name": "p"}, "apiVersion": "policy/v1beta1", "kind": "Eviction"}, 201, ""),
    ],
)
def test_evictions_that_are_odd(given: dict[str, Any], code: int, words: str) -> None:
    async def body(ask: Server) -> None:
        await ask.create(PODS, pod("p"))
        answer = await ask("POST", f"{PODS}/p/eviction?dryRun=All", given)
        assert (answer.status, (answer.json.get("message") or "")[: len(words)]) == (code, words)
        assert (await ask("GET", f"{PODS}/p")).status == 200

    run(body)


def test_a_field_that_a_binding_does_not_have_is_told_of() -> None:
    async def body(ask: Server) -> None:
        await ask.create(PODS, pod("p"))
        answer = await ask("POST", f"{PODS}/p/binding?fieldValidation=Warn", {**binding(), "bogus": 1})
        assert (answer.status, answer.headers["warning"]) == (201, '299 - "unknown field \\"bogus\\""')
        await ask.create(PODS, pod("q"))
        answer = await ask("POST", f"{PODS}/q/binding?fieldValidation=Warn", {**binding(name="q"), "a\r\nX-More: b": 1})
        assert (answer.status, answer.headers.get("warning")) == (201, None), "a name must not end its header"

    run(body)

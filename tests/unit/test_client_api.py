"""Requests, answers and refusals of the client, over HTTP with the fake apiserver."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from netplane.api import kinds, objects
from netplane.client import errors
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver


def scenario(body: Callable[[FakeApiserver, Api], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
            await body(fake, api)

    asyncio.run(main())


def lease(name: str = "n1", **spec: str) -> objects.Lease:
    meta = objects.ObjectMeta(name=name, namespace="kube-node-lease")
    return objects.Lease(metadata=meta, spec=objects.LeaseSpec(holder_identity=spec.get("holder", "me")))


def test_create_get_list_replace_and_delete() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        made = await api.create(lease())
        assert made.metadata.resource_version
        assert fake.store.get(kinds.LEASE, "kube-node-lease/n1")["kind"] == "Lease"
        got = await api.get(objects.Lease, "n1", "kube-node-lease")
        assert got == made
        page = await api.list(objects.Lease)
        assert (page.items, page.resource_version) == ([made], made.metadata.resource_version)
        assert await api.replace(got) == got
        await api.delete(objects.Lease, "n1", "kube-node-lease")
        assert (await api.list(objects.Lease, "kube-node-lease")).items == []

    scenario(body)


def test_a_patch_changes_only_what_it_names_and_status_is_a_thing_apart() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.NODE, [{"metadata": {"name": "n"}, "spec": {"other": 1}, "status": {"kept": True}}])
        await api.patch(objects.Node, "n", "", {"spec": {"podCIDR": "10.0.0.0/24"}, "status": {"kept": False}})
        await api.patch(objects.Node, "n", "", {"status": {"addresses": []}, "spec": None}, subresource="status")
        stored = fake.store.get(kinds.NODE, "n")
        assert stored["spec"] == {"other": 1, "podCIDR": "10.0.0.0/24"}
        assert stored["status"] == {"kept": True, "addresses": []}

    scenario(body)


def test_refusals_are_exceptions_that_say_what_was_asked() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        made = await api.create(lease())
        with pytest.raises(errors.AlreadyExists):
            await api.create(lease())
        await api.replace(lease(holder="other"))
        with pytest.raises(errors.Conflict) as conflict:
            await api.replace(made)
        assert conflict.value.code == 409
        with pytest.raises(errors.NotFound, match=r"GET /api/v1/nodes/none: .*not found"):
            await api.get(objects.Node, "none")

    scenario(body)


@pytest.mark.parametrize(("code", "cls"), [(401, errors.Unauthorized), (403, errors.Forbidden), (410, errors.Expired)])
def test_codes_have_exceptions(code: int, cls: type[errors.ApiError]) -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.fail(1, code)
        with pytest.raises(cls):
            await api.list(objects.Node)

    scenario(body)


def test_an_answer_that_is_no_status_still_tells_its_code() -> None:
    error = errors.from_answer(502, b"<html>Bad Gateway", asked="GET /x", retry_after="3")
    assert (error.code, error.retry_after_s) == (502, 3.0)
    assert "GET /x: HTTP 502: <html>Bad Gateway" in str(error)


def test_nobody_listening_is_unreachable_and_names_the_server() -> None:
    async def main() -> None:
        fake = FakeApiserver()
        await fake.start()
        await fake.stop()
        async with Api(Connection(fake.url)) as api:
            with pytest.raises(errors.Unreachable, match=fake.url):
                await api.get(objects.Node, "n")

    asyncio.run(main())


def test_bind_gives_a_pod_its_node_once() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.POD, [{"metadata": {"name": "p", "namespace": "d"}}])
        await api.bind("d", "p", "n1")
        assert (await api.get(objects.Pod, "p", "d")).spec.node_name == "n1"
        with pytest.raises(errors.Conflict):
            await api.bind("d", "p", "n2")

    scenario(body)


def test_a_pod_with_a_node_goes_only_with_grace_period_zero() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.POD, [{"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n"}}])
        await api.delete(objects.Pod, "p", "d")
        assert (await api.get(objects.Pod, "p", "d")).metadata.deletion_timestamp
        await api.delete(objects.Pod, "p", "d", grace_period_s=0)
        with pytest.raises(errors.NotFound):
            await api.get(objects.Pod, "p", "d")

    scenario(body)


def test_a_namespace_on_its_way_out_is_told_apart_from_a_missing_right() -> None:
    cause = {
        "reason": "NamespaceTerminating",
        "message": "namespace x is being terminated",
        "field": "metadata.namespace",
    }
    status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "m", "details": {"causes": [cause]}}
    assert type(errors.from_answer(403, json.dumps(status).encode(), asked="POST")) is errors.NamespaceTerminating
    plain = {**status, "details": {}}
    assert type(errors.from_answer(403, json.dumps(plain).encode(), asked="POST")) is errors.Forbidden


def test_the_fake_sends_what_is_there_as_events_to_who_asks() -> None:
    """As the clients of today's Kubernetes read their first list."""

    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.NODE, [{"metadata": {"name": name}} for name in ("a", "b")])
        asked = {"watch": "true", "sendInitialEvents": "true", "timeoutSeconds": "0.1"}
        async with api.stream(kinds.NODE.path(), asked, read_timeout_s=5) as chunks:
            lines = [json.loads(line) for line in b"".join([chunk async for chunk in chunks]).splitlines()]
        assert [line["type"] for line in lines] == ["ADDED", "ADDED", "BOOKMARK"]
        assert lines[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert lines[-1]["object"]["metadata"]["resourceVersion"] == str(fake.store.revision)

    scenario(body)


def test_the_bookmark_after_what_is_there_is_not_ahead_of_what_came_meanwhile() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.NODE, [{"metadata": {"name": "a"}}])
        began, fake.cut_bytes = fake.store.revision, 7
        asked = {"watch": "true", "sendInitialEvents": "true", "timeoutSeconds": "0.1"}
        async with api.stream(kinds.NODE.path(), asked, read_timeout_s=5) as chunks:
            raw = await anext(chunks)
            fake.store.put(kinds.NODE, {"metadata": {"name": "b"}})
            lines = [json.loads(line) for line in (raw + b"".join([chunk async for chunk in chunks])).splitlines()]
        told = [(line["type"], line["object"]["metadata"]["resourceVersion"]) for line in lines[1:]]
        assert told == [("BOOKMARK", str(began)), ("ADDED", str(fake.store.revision))]

    scenario(body)


def test_the_fake_tells_of_what_leaves_a_selector_as_it_was() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.NODE, [{"metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"}}])
        seen = fake.store.revision
        fake.store.put(kinds.NODE, {"metadata": {"name": "n", "labels": {"gone": ""}}})
        asked = {"watch": "true", "resourceVersion": str(seen), "labelSelector": "!gone", "timeoutSeconds": "0.1"}
        async with api.stream(kinds.NODE.path(), asked, read_timeout_s=5) as chunks:
            (event,) = [json.loads(line) for line in b"".join([chunk async for chunk in chunks]).splitlines()]
        assert (event["type"], event["object"]["spec"]) == ("DELETED", {"podCIDR": "10.0.0.0/24"})
        assert event["object"]["metadata"]["resourceVersion"] == str(fake.store.revision)

    scenario(body)

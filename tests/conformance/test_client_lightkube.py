"""lightkube, unmodified, synchronous and asynchronous: objects, patches, apply, watches, chunks."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import AsyncClient, Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Node, Service
from lightkube.types import PatchType

from tests.apiserver_process import Apiserver

NAMESPACE = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("lightkube")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Apiserver) -> Client:
    return Client(config=KubeConfig.from_file(str(server.kubeconfig)), field_manager="lightkube-test")


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    metadata = ObjectMeta(name=name, namespace=NAMESPACE, labels=labels)
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata, data=data)


def test_an_object_from_its_birth_to_its_end(client: Client) -> None:
    spec = ServiceSpec(selector={"a": "b"}, ports=[ServicePort(port=80, targetPort="web")])
    made = client.create(Service(metadata=ObjectMeta(name="web", namespace=NAMESPACE), spec=spec))
    assert made.spec is not None
    assert (made.spec.clusterIP or "").startswith("10.96.")
    made.spec.sessionAffinity = "ClientIP"
    assert client.replace(made).spec.sessionAffinityConfig.clientIP.timeoutSeconds == 10800  # type: ignore[union-attr] # set above
    with pytest.raises(ApiError) as stale:
        client.replace(made)
    assert stale.value.status.reason == "Conflict"
    client.delete(Service, "web")
    with pytest.raises(ApiError) as gone:
        client.get(Service, "web")
    assert (gone.value.status.code, gone.value.status.message) == (404, 'services "web" not found')


@pytest.mark.parametrize("way", [PatchType.STRATEGIC, PatchType.MERGE, PatchType.JSON])
def test_every_type_of_patch(client: Client, way: PatchType) -> None:
    client.create(config_map("patched", a="1", b="1"))
    change: Any = {"data": {"a": "2", "b": None}}
    if way is PatchType.JSON:
        change = [{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/b"}]
    assert client.patch(ConfigMap, "patched", change, patch_type=way).data == {"a": "2"}
    client.delete(ConfigMap, "patched")


def test_apply_and_its_conflicts(client: Client) -> None:
    client.apply(config_map("applied", a="1"))
    with pytest.raises(ApiError) as conflict:
        client.apply(config_map("applied", a="2"), field_manager="another")
    assert 'conflict with "lightkube-test"' in (conflict.value.status.message or "")
    forced = client.apply(config_map("applied", a="2"), field_manager="another", force=True)
    assert forced.data == {"a": "2"}


def test_lists_in_chunks_by_labels_and_fields(client: Client) -> None:
    for i in range(5):
        client.create(config_map(f"chunk-{i}", {"chunk": "even" if i % 2 == 0 else "odd"}))
    even = client.list(ConfigMap, chunk_size=2, labels={"chunk": "even"})
    assert [one.metadata.name for one in even] == ["chunk-0", "chunk-2", "chunk-4"]  # type: ignore[union-attr] # all have it
    one = client.list(ConfigMap, fields={"metadata.name": "chunk-1"}, namespace="*")
    assert [found.metadata.name for found in one] == ["chunk-1"]  # type: ignore[union-attr] # all have it
    client.delete(ConfigMap, "chunk-0")
    assert len(list(client.list(ConfigMap, labels={"chunk": ["even", "odd"]}))) == 4


def test_status_and_scale(client: Client) -> None:
    node = Node(metadata=ObjectMeta(name="n1"))
    client.create(node)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    patched: Any = client.patch(Node.Status, "n1", ready, patch_type=PatchType.STRATEGIC)
    assert patched.status.conditions[0].type == "Ready"
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment: Any = Deployment.from_dict({"metadata": {"name": "d", "namespace": NAMESPACE}, "spec": spec})
    client.create(deployment)
    scaled: Any = client.patch(Deployment.Scale, "d", {"spec": {"replicas": 3}}, patch_type=PatchType.MERGE)
    assert scaled.spec.replicas == 3


def test_its_watch(client: Client) -> None:
    client.create(config_map("watched", {"w": "1"}))
    events = client.watch(ConfigMap, labels={"w": "1"})
    assert next(events)[0] == "ADDED"
    client.patch(ConfigMap, "watched", {"data": {"a": "b"}})
    assert [(kind, obj.data) for kind, obj in [next(events)]] == [("MODIFIED", {"a": "b"})]
    client.delete(ConfigMap, "watched")
    assert next(events)[0] == "DELETED"


def test_asynchronously(server: Apiserver) -> None:
    async def story() -> list[str]:
        client = AsyncClient(config=KubeConfig.from_file(str(server.kubeconfig)))
        seen = []
        await client.create(config_map("async", {"async": "1"}))
        async for kind, obj in client.watch(ConfigMap, labels={"async": "1"}):
            seen.append(f"{kind} {(obj.data or {}).get('a', '')}")
            if kind == "ADDED":
                await client.patch(ConfigMap, "async", {"data": {"a": "b"}})
            elif kind == "MODIFIED":
                await client.delete(ConfigMap, "async")
            else:
                break
        assert [one async for one in client.list(ConfigMap, labels={"async": "1"})] == []
        await client.close()
        return seen

    assert asyncio.run(asyncio.wait_for(story(), 20)) == ["ADDED ", "MODIFIED b", "DELETED b"]


def test_waiting_for_a_condition(server: Apiserver) -> None:
    async def story() -> None:
        client = AsyncClient(config=KubeConfig.from_file(str(server.kubeconfig)))
        await client.create(Node(metadata=ObjectMeta(name="n2")))
        waiting = asyncio.ensure_future(client.wait(Node, "n2", for_conditions=["Ready"]))
        await asyncio.sleep(0.1)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(Node.Status, "n2", ready, patch_type=PatchType.STRATEGIC)
        found: Any = await waiting
        assert found.status.conditions[0].status == "True"
        await client.close()

    asyncio.run(asyncio.wait_for(story(), 20))

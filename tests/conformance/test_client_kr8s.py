"""kr8s, unmodified, synchronous and asynchronous."""

import asyncio
from collections.abc import Iterator
from typing import Any

import kr8s
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap
from kr8s.objects import ConfigMap, Deployment, Node, Pod, Service, new_class

from tests.apiserver_process import Apiserver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("kr8s")) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Apiserver) -> Any:
    return kr8s.api(kubeconfig=str(server.kubeconfig))


def config_map(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


def pod(name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_an_object_from_its_birth_to_its_end(api: Any) -> None:
    made = ConfigMap(config_map("c"), api=api)
    made.create()
    assert made.exists()
    made.patch({"data": {"a": "2"}})
    assert made.data.a == "2"
    made.label(tier="front")
    made.annotate({"note": "yes"})
    made.refresh()
    assert (made.labels["tier"], made.annotations["note"]) == ("front", "yes")
    made.patch([{"op": "remove", "path": "/metadata/labels/tier"}], type="json")
    assert "tier" not in made.labels
    made.delete()
    made.wait("delete", timeout=10)
    assert not made.exists()
    with pytest.raises(kr8s.NotFoundError):
        made.refresh()


def test_lists_by_selectors(api: Any) -> None:
    for i in range(3):
        ConfigMap(config_map(f"l-{i}", lists="yes", odd=str(i % 2)), api=api).create()
    found = api.get("configmaps", namespace="default", label_selector={"lists": "yes", "odd": "0"})
    assert [one.name for one in found] == ["l-0", "l-2"]
    assert [one.name for one in api.get("cm", namespace=kr8s.ALL, field_selector="metadata.name=l-1")] == ["l-1"]
    assert [one.name for one in api.get("configmaps", "l-2", namespace="default")] == ["l-2"]


def test_kinds_are_found_by_discovery(api: Any) -> None:
    kinds = {(one["kind"], one["version"]) for one in api.api_resources()}
    assert {("Service", "v1"), ("EndpointSlice", "discovery.k8s.io/v1"), ("Deployment", "apps/v1")} <= kinds
    slices = new_class(kind="EndpointSlice", version="discovery.k8s.io/v1", namespaced=True)
    body = {"metadata": {"name": "s", "namespace": "default"}, "addressType": "IPv4", "endpoints": []}
    slices(body, api=api).create()
    assert [one.name for one in api.get("endpointslices.discovery.k8s.io", namespace="default")][-1] == "s"
    assert api.whoami() == "admin"
    assert api.version()["minor"] == "36"


def test_pods_services_nodes_and_deployments(api: Any) -> None:
    Node({"metadata": {"name": "n1"}}, api=api).create()
    node = Node.get("n1", api=api)
    node.cordon()
    assert node.unschedulable
    node.uncordon()
    node.taint(key="a", value="b", effect="NoSchedule")
    assert [one["key"] for one in node.taints] == ["node.kubernetes.io/not-ready", "a"]
    front = Pod(pod("p"), api=api)
    front.create()
    front.patch({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, subresource="status")
    front.wait("condition=Ready", timeout=10)
    spec: dict[str, Any] = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    service = Service({"metadata": {"name": "s", "namespace": "default"}, "spec": spec}, api=api)
    service.create()
    assert service.spec.clusterIP.startswith("10.96.")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    body = {"metadata": {"name": "d", "namespace": "default"}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = Deployment({**body, "spec": spec}, api=api)
    deployment.create()
    deployment.patch({"spec": {"replicas": 3}}, subresource="scale")
    deployment.refresh()
    assert deployment.replicas == 3


def test_its_watch(api: Any) -> None:
    ConfigMap(config_map("w", watched="1"), api=api).create()
    events = api.watch("configmaps", namespace="default", label_selector="watched=1")
    seen = []
    for kind, obj in events:
        seen.append(kind)
        if kind == "ADDED":
            obj.patch({"data": {"b": "1"}})
        elif kind == "MODIFIED":
            obj.delete()
        else:
            break
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


def test_asynchronously(server: Apiserver) -> None:
    async def story() -> list[str]:
        api = await kr8s.asyncio.api(kubeconfig=str(server.kubeconfig))
        made = await AsyncConfigMap(config_map("async", way="async"), api=api)
        await made.create()
        seen = []
        async for kind, obj in api.watch("configmaps", namespace="default", label_selector="way=async"):
            seen.append(kind)
            if kind == "ADDED":
                await obj.patch({"data": {"b": "1"}})
            elif kind == "MODIFIED":
                await obj.delete()
            else:
                break
        assert [one async for one in api.get("configmaps", namespace="default", label_selector="way=async")] == []
        return seen

    assert asyncio.run(asyncio.wait_for(story(), 20)) == ["ADDED", "MODIFIED", "DELETED"]

"""The official Python client, unmodified: typed and dynamic, with its watches and its chunked lists."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import aio, client, config, dynamic, informer, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import FailToCreateError

from tests.apiserver_process import Apiserver

NAMESPACE = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("official")) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Apiserver) -> Iterator[Any]:
    made = config.new_client_from_config(str(server.kubeconfig))
    yield made
    made.close()


@pytest.fixture
def core(api: Any) -> Any:
    return client.CoreV1Api(api)


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Any:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def service(name: str) -> Any:
    port = client.V1ServicePort(name="http", port=80, target_port="web")
    spec = client.V1ServiceSpec(selector={"app": name}, ports=[port])
    return client.V1Service(metadata=client.V1ObjectMeta(name=name), spec=spec)


def test_an_object_from_its_birth_to_its_end(core: Any) -> None:
    made = core.create_namespaced_service(NAMESPACE, service("web"))
    assert made.spec.cluster_ip.startswith("10.96.")
    assert made.spec.ports[0].target_port == "web"
    seen = core.read_namespaced_service("web", NAMESPACE)
    seen.spec.session_affinity = "ClientIP"
    changed = core.replace_namespaced_service("web", NAMESPACE, seen)
    assert changed.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_service("web", NAMESPACE, seen)
    assert (stale.value.status, "the object has been modified" in stale.value.body) == (409, True)
    patched = core.patch_namespaced_service("web", NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
    assert patched.metadata.labels == {"a": "b"}
    assert core.delete_namespaced_service("web", NAMESPACE).metadata.name == "web"
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_service("web", NAMESPACE)
    assert gone.value.status == 404


@pytest.mark.parametrize(
    ("media", "change"),
    [
        ("application/merge-patch+json", {"data": {"a": "2", "b": None}}),
        ("application/strategic-merge-patch+json", {"data": {"a": "2", "b": None}}),
        (
            "application/json-patch+json",
            [{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/b"}],
        ),
    ],
)  # fmt: skip
def test_every_type_of_patch(core: Any, media: str, change: Any) -> None:
    core.create_namespaced_config_map(NAMESPACE, config_map("patched", a="1", b="1"))
    done = core.patch_namespaced_config_map("patched", NAMESPACE, change, _content_type=media)
    assert done.data == {"a": "2"}
    core.delete_namespaced_config_map("patched", NAMESPACE)


def test_lists_in_chunks_at_one_revision(core: Any) -> None:
    for i in range(7):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"chunk-{i}", {"chunk": "yes"}))
    names, token, revisions = [], None, set()
    while True:
        part = core.list_namespaced_config_map(NAMESPACE, label_selector="chunk=yes", limit=3, _continue=token)
        names += [one.metadata.name for one in part.items]
        revisions.add(part.metadata.resource_version)
        token = part.metadata._continue
        if not token:
            break
        core.create_namespaced_config_map(NAMESPACE, config_map(f"chunk-{9 - len(names)}x", {"chunk": "yes"}))
    assert names == [f"chunk-{i}" for i in range(7)]
    assert len(revisions) == 1
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="chunk=yes")
    assert core.list_namespaced_config_map(NAMESPACE, label_selector="chunk=yes").items == []


def test_its_watch_sees_each_change_once(core: Any) -> None:
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    seen: list[tuple[str, str]] = []
    stream = watch.Watch()

    def follow() -> None:
        events = stream.stream(
            core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=20, label_selector="w=1"
        )
        for event in events:
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                stream.stop()

    follower = threading.Thread(target=follow)
    follower.start()
    core.create_namespaced_config_map(NAMESPACE, config_map("watched", {"w": "1"}))
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "b"}})
    core.delete_namespaced_config_map("watched", NAMESPACE)
    follower.join(25)
    assert seen == [("ADDED", "watched"), ("MODIFIED", "watched"), ("DELETED", "watched")]


def test_a_watch_from_the_forgotten_past_says_so(core: Any) -> None:
    with pytest.raises(ApiException) as failure:
        core.list_namespaced_config_map(NAMESPACE, resource_version="9999999", resource_version_match="NotOlderThan")
    assert failure.value.status == 504


def test_status_scale_eviction_and_binding(core: Any, api: Any) -> None:
    apps = client.AppsV1Api(api)
    container = client.V1Container(name="c", image="i")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
    scaled = apps.patch_namespaced_deployment_scale("d", NAMESPACE, {"spec": {"replicas": 4}})
    assert scaled.spec.replicas == 4
    assert apps.patch_namespaced_deployment_status("d", NAMESPACE, {"status": {"replicas": 2}}).status.replicas == 2
    apps.delete_namespaced_deployment("d", NAMESPACE, propagation_policy="Background")
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=client.V1PodSpec(containers=[container]))
    core.create_namespaced_pod(NAMESPACE, pod)
    target = client.V1Binding(metadata=client.V1ObjectMeta(name="p"), target=client.V1ObjectReference(name="n"))
    core.create_namespaced_pod_binding("p", NAMESPACE, target, _preload_content=False)
    assert core.read_namespaced_pod("p", NAMESPACE).spec.node_name == "n"
    eviction = client.V1Eviction(
        metadata=client.V1ObjectMeta(name="p"), delete_options=client.V1DeleteOptions(grace_period_seconds=0)
    )
    core.create_namespaced_pod_eviction("p", NAMESPACE, eviction)
    assert "p" not in [one.metadata.name for one in core.list_namespaced_pod(NAMESPACE).items]


def test_the_reviews(api: Any) -> None:
    asked = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods", namespace=NAMESPACE)
        )
    )
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(asked).status.allowed
    who = client.AuthenticationV1Api(api).create_self_subject_review(client.V1SelfSubjectReview())
    assert "system:masters" in who.status.user_info.groups
    assert client.VersionApi(api).get_code().minor == "36"


def test_manifests_of_many_kinds(api: Any, core: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "all.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: m1}, data: {a: b}}\n"
        "- {apiVersion: v1, kind: ServiceAccount, metadata: {name: m1}}\n"
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: m1}\nstringData: {a: b}\n"
    )
    utils.create_from_yaml(api, str(manifest))
    assert core.read_namespaced_secret("m1", NAMESPACE).data == {"a": "Yg=="}
    with pytest.raises(FailToCreateError, match="already exists"):
        utils.create_from_yaml(api, str(manifest))


# Dynamic ----------------------------------------------------------------------------------------------------------


def test_the_dynamic_client_finds_kinds_by_discovery(api: Any) -> None:
    slices = dynamic.DynamicClient(api).resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    }
    made = slices.create(body=body, namespace=NAMESPACE)
    assert made.ports[0].protocol == "TCP"
    listed = slices.get(namespace=NAMESPACE, label_selector="kubernetes.io/service-name=web")
    assert [one.metadata.name for one in listed.items] == ["s"]
    slices.patch(
        body={"endpoints": [{"addresses": ["10.0.0.2"]}]}, name="s", namespace=NAMESPACE,
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert slices.get(name="s", namespace=NAMESPACE).endpoints[0].addresses == ["10.0.0.2"]
    assert slices.delete(name="s", namespace=NAMESPACE).status == "Success"


def test_the_dynamic_client_applies_on_the_server(api: Any) -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

    def said(value: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": value}}

    maps.server_side_apply(body=said("1"), name="applied", namespace=NAMESPACE, field_manager="one")
    with pytest.raises(dynamic.exceptions.ConflictError):
        maps.server_side_apply(body=said("2"), name="applied", namespace=NAMESPACE, field_manager="two")
    forced = maps.server_side_apply(
        body=said("2"), name="applied", namespace=NAMESPACE, field_manager="two", force_conflicts=True
    )
    assert forced.data.a == "2"
    assert {entry.manager for entry in forced.metadata.managedFields} == {"one", "two"} - {"one"}


def test_the_dynamic_client_watches(api: Any) -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    maps.create(body={"metadata": {"name": "dyn"}}, namespace=NAMESPACE)
    found = [
        (event["type"], event["object"].metadata.name)
        for event in maps.watch(namespace=NAMESPACE, name="dyn", timeout=1)
    ]
    assert found == [("ADDED", "dyn")]


# Its informer and its asynchronous half --------------------------------------------------------------------------


def test_its_informer_keeps_up(core: Any) -> None:
    core.create_namespaced_config_map(NAMESPACE, config_map("inf-0", {"inf": "1"}))
    told: list[tuple[str, str]] = []
    came = threading.Condition()

    def note(kind: str) -> Any:
        def handler(obj: Any) -> None:
            with came:
                told.append((kind, obj.metadata.name))
                came.notify_all()

        return handler

    def wait_for(what: tuple[str, str]) -> None:
        with came:
            assert came.wait_for(lambda: what in told, 20), told

    following = informer.SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="inf=1")
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        following.add_event_handler(kind, note(kind))
    following.start()
    wait_for(("ADDED", "inf-0"))
    core.create_namespaced_config_map(NAMESPACE, config_map("inf-1", {"inf": "1"}))
    wait_for(("ADDED", "inf-1"))
    core.patch_namespaced_config_map("inf-0", NAMESPACE, {"data": {"a": "b"}})
    wait_for(("MODIFIED", "inf-0"))
    core.delete_namespaced_config_map("inf-1", NAMESPACE)
    wait_for(("DELETED", "inf-1"))
    assert [one.metadata.name for one in following.cache.list()] == ["inf-0"]
    following.stop()
    assert len(told) == len(set(told)) == 4


def test_asynchronously(server: Apiserver) -> None:
    async def story() -> list[tuple[str, str]]:
        await aio.config.load_kube_config(str(server.kubeconfig))
        async with aio.client.ApiClient() as api:
            core = aio.client.CoreV1Api(api)
            start = (await core.list_namespaced_config_map(NAMESPACE)).metadata.resource_version
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aio"}}
            await core.create_namespaced_config_map(NAMESPACE, body)
            await core.patch_namespaced_config_map("aio", NAMESPACE, {"data": {"a": "b"}})
            await core.delete_namespaced_config_map("aio", NAMESPACE)
            seen = []
            async with aio.watch.Watch() as stream:
                events = stream.stream(core.list_namespaced_config_map, NAMESPACE, resource_version=start)
                async for event in events:
                    seen.append((event["type"], event["object"].metadata.name))
                    if event["type"] == "DELETED":
                        return seen
            return seen

    assert asyncio.run(story()) == [("ADDED", "aio"), ("MODIFIED", "aio"), ("DELETED", "aio")]

"""Defaults: own tables, and the recorded ones where they are at hand."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from netplane.api import defaults, images, kinds
from netplane.api.kinds import Kind

Json = dict[str, Any]
FACTS = Path(__file__).parents[2] / "../shared/facts"
BY_KIND = {kind.kind: kind for kind in kinds.KINDS}


def defaulted(kind: Kind, obj: Json) -> Json:
    obj = copy.deepcopy(obj)
    defaults.apply(kind, obj)
    return obj


SERVICES: list[tuple[str, Json, Json]] = [
    (
        "a port",
        {"ports": [{"port": 80}]},
        {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
    ),
    (
        "named target and protocol stay",
        {"ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]},
        {"ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]},
    ),
    ("zero target is absent", {"ports": [{"port": 1, "targetPort": 0}]}, {"ports": [{"port": 1, "targetPort": 1}]}),
    ("node port", {"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}),
    ("external IPs", {"externalIPs": ["1.2.3.4"]}, {"externalTrafficPolicy": "Cluster"}),
    ("local stays", {"type": "NodePort", "externalTrafficPolicy": "Local"}, {"externalTrafficPolicy": "Local"}),
    ("balancer", {"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True, "externalTrafficPolicy": "Cluster"}),
    (
        "no node ports stays",
        {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
        {"allocateLoadBalancerNodePorts": False},
    ),
    ("affinity", {"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
    (
        "affinity's time stays",
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
        {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
    ),
    ("internal policy stays", {"internalTrafficPolicy": "Local"}, {"internalTrafficPolicy": "Local"}),
]


@pytest.mark.parametrize(("spec", "expected"), [row[1:] for row in SERVICES], ids=[row[0] for row in SERVICES])
def test_services(spec: Json, expected: Json) -> None:
    out = defaulted(kinds.SERVICE, {"spec": spec})["spec"]
    for field, value in expected.items():
        if field == "ports":
            assert [{**have, **want} for have, want in zip(out["ports"], value, strict=True)] == out["ports"]
        else:
            assert out[field] == value


def test_what_a_service_does_not_get() -> None:
    external = defaulted(kinds.SERVICE, {"spec": {"type": "ExternalName"}})["spec"]
    assert set(external) == {"type", "sessionAffinity"}
    none = {"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}
    assert "sessionAffinityConfig" not in defaulted(kinds.SERVICE, {"spec": none})["spec"]


def test_ip_mode_of_a_balancer() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"hostname": "h"}]}}
    out = defaulted(kinds.SERVICE, {"spec": {"type": "LoadBalancer"}, "status": status})
    assert [one.get("ipMode") for one in out["status"]["loadBalancer"]["ingress"]] == ["VIP", "Proxy", None]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "IfNotPresent"),
        (f"nginx:latest@sha256:{'0' * 64}", "Always"),
        (f"nginx@sha256:{'0' * 64}", "IfNotPresent"),
        ("UPPER", "IfNotPresent"),
        ("UPPER/x", "Always"),
        ("index.docker.io/nginx", "Always"),
        ("localhost/a/b", "Always"),
        ("0" * 64, "IfNotPresent"),
        ("a b", "IfNotPresent"),
        ("a" * 300, "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert images.pull_policy(image) == policy


def test_resources_of_a_whole_pod() -> None:
    def made(own: Json, *each: Json) -> Json:
        containers = [{"name": f"c{i}", "image": "i", "resources": one} for i, one in enumerate(each)]
        out: Json = defaulted(kinds.POD, {"spec": {"containers": containers, "resources": own}})["spec"]["resources"]
        return out

    assert made({"limits": {"cpu": "1"}}, {}) == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    both = [{"requests": {"cpu": "200m"}}, {"requests": {"cpu": "1"}}]
    assert made({"limits": {"cpu": "2"}}, *both)["requests"] == {"cpu": "1200m"}
    pages = {"limits": {"hugepages-2Mi": "2Mi", "cpu": "1"}, "requests": {"hugepages-2Mi": "2Mi"}}
    assert made({"requests": {"cpu": "1"}}, pages, pages) == {
        "limits": {"hugepages-2Mi": "4Mi"},
        "requests": {"cpu": "1", "hugepages-2Mi": "4Mi"},
    }


def test_amounts_of_less_than_a_thousandth_are_rounded_up() -> None:
    resources = {"limits": {"cpu": "1n", "memory": "100u"}}
    spec = defaulted(kinds.POD, {"spec": {"containers": [{"name": "c", "resources": resources}]}})["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "1m", "memory": "1m"}


def test_the_former_name_of_an_account() -> None:
    both = {"serviceAccount": "a", "serviceAccountName": "a"}
    for given in ({"serviceAccount": "a"}, {"serviceAccountName": "a"}, {**both, "serviceAccount": "b"}):
        spec = defaulted(kinds.POD, {"spec": {"containers": [], **given}})["spec"]
        assert {field: spec[field] for field in both} == both


def test_pods() -> None:
    container = {
        "name": "c",
        "image": "i:1",
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0, "timeoutSeconds": 7},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
    }
    volumes = [{"name": "e"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}}]
    spec = {"containers": [container], "volumes": volumes, "hostNetwork": True, "terminationGracePeriodSeconds": 0}
    out = defaulted(kinds.POD, {"spec": spec})["spec"]
    probe = out["containers"][0]["livenessProbe"]
    assert probe["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert [probe[f] for f in ("periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold")] == [
        10,
        7,
        1,
        3,
    ]
    assert out["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert out["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert out["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert out["volumes"] == [
        {"name": "e", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
        {"name": "h", "hostPath": {"path": "/", "type": ""}},
    ]
    assert (out["terminationGracePeriodSeconds"], out["dnsPolicy"], out["enableServiceLinks"]) == (
        0,
        "ClusterFirst",
        True,
    )


def test_other_kinds() -> None:
    node = defaulted(kinds.NODE, {"status": {"capacity": {"cpu": "2"}}})
    assert node["status"]["allocatable"] == {"cpu": "2"}
    assert defaulted(kinds.NODE, {"spec": {"podCIDR": "10.0.0.0/24"}})["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    assert defaulted(kinds.NODE, {"spec": {"podCIDRs": ["10.0.0.0/24"]}})["spec"]["podCIDR"] == "10.0.0.0/24"
    pod = defaulted(kinds.POD, {"status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})
    assert pod["status"]["podIPs"] == [{"ip": "10.0.0.2"}]
    endpoints = defaulted(kinds.ENDPOINTS, {"subsets": [{"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}]}]})
    assert [port["protocol"] for port in endpoints["subsets"][0]["ports"]] == ["TCP", "UDP"]
    one_slice = defaulted(kinds.ENDPOINT_SLICE, {"endpoints": [{"addresses": ["1.2.3.4"]}], "ports": [{"port": 80}]})
    assert one_slice["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    assert one_slice["endpoints"][0]["conditions"] == {}
    assert defaulted(kinds.NAMESPACE, {"metadata": {"name": "a"}})["metadata"]["labels"] == {
        "kubernetes.io/metadata.name": "a"
    }
    assert defaulted(kinds.CONFIG_MAP, {"data": {"a": "b"}}) == {"data": {"a": "b"}}
    assert defaulted(kinds.LEASE, {})["spec"] == {}


def test_defaulting_twice_changes_nothing() -> None:
    for kind in kinds.KINDS:
        once = defaulted(kind, {"metadata": {"name": "x"}, "spec": {}} if kind is not kinds.ENDPOINT_SLICE else {})
        assert defaulted(kind, once) == once


def pod_paths() -> list[tuple[str, str]]:
    """(path, default) of the recorded table of pods, for plain containers."""
    file = FACTS / "tables/pkg_apis_core_v1_defaults.json"
    table = json.loads(file.read_text())["defaults_test.go:testPodDefaults#1"] if file.exists() else {}
    skip = ("InitContainers", "EphemeralContainers", "_comment", "_line", "Resources.Requests")
    return [(path, value) for path, value in table.items() if not any(one in path for one in skip)]


SPELLING = {
    "ISCSIInterface": "iscsiInterface", "RBDPool": "pool", "RadosUser": "user", "FSType": "fsType",
    "ISCSI": "iscsi", "RBD": "rbd", "GRPC": "grpc", "HTTPGet": "httpGet", "DNSPolicy": "dnsPolicy",
    "APIVersion": "apiVersion",
}  # fmt: skip


def json_path(go_path: str) -> list[str]:
    steps = [step for step in go_path.split(".") if step and step not in ("VolumeSource", "ProbeHandler")]
    names = [re.sub(r"\[0\]$", "", step) for step in steps]
    spelt = [SPELLING.get(name, name[0].lower() + name[1:]) for name in names]
    return [name + ("[]" if step.endswith("[0]") else "") for name, step in zip(spelt, steps, strict=True)]


def build(path: list[str], leaf: Any) -> Any:
    """The smallest object in which `path` has a parent."""
    if not path:
        return leaf
    name, rest = path[0], build(path[1:], leaf)
    return {name.removesuffix("[]"): [rest] if name.endswith("[]") else rest}


def read(obj: Any, path: list[str]) -> Any:
    for name in path:
        obj = obj[name.removesuffix("[]")]
        obj = obj[0] if name.endswith("[]") else obj
    return obj


@pytest.mark.parametrize(("go_path", "value"), pod_paths())
def test_recorded_pod_defaults(go_path: str, value: str) -> None:
    path = json_path(go_path)
    pod = build(path[:-1], {})
    assert read(defaulted(kinds.POD, pod), path) == json.loads(value)


def recorded() -> list[Json]:
    file = FACTS / "api_golden.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    return [row for row in rows if row["method"] == "POST" and row["status"] == 201 and plain(row)]


def plain(row: Json) -> bool:
    """A row that creates an object and whose answer is one of ours."""
    body = row["body"]
    known = isinstance(body, dict) and body.get("kind", "Namespace") in BY_KIND
    return known and not re.search("/binding|/eviction|^/apis/auth", row["path"])


# What is allocated, or added by admission, not by defaults.
NOT_DEFAULTS = {
    "spec": {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "tolerations", "priority", "preemptionPolicy",
             "finalizers", "healthCheckNodePort", "bogus"},
    "status": {"phase", "qosClass"},
}  # fmt: skip


def comparable(obj: Json) -> Json:
    out = copy.deepcopy({key: value for key, value in obj.items() if key not in ("metadata", "apiVersion", "kind")})
    for part, fields in NOT_DEFAULTS.items():
        for field in fields:
            (out.get(part) or {}).pop(field, None)
    for port in (out.get("spec") or {}).get("ports", ()):
        port.pop("nodePort", None)
    return out


@pytest.mark.parametrize("row", recorded(), ids=lambda row: row["name"])
def test_recorded_answers(row: Json) -> None:
    kind = BY_KIND[row["body"].get("kind", "Namespace")]
    assert comparable(defaulted(kind, row["body"])) == comparable(row["response"])

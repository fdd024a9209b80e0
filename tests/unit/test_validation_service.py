"""Services that are refused, and in which words; all that is wrong at once."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from netplane.api import defaults, errors, kinds, services, validation
from netplane.api.kinds import Kind

Json = dict[str, Any]
GOLDEN = Path(__file__).parents[2] / "../shared/facts/api_golden.json"
BY_KIND = {kind.kind: kind for kind in kinds.KINDS}
HTTP = [{"port": 80}]


def service(spec: Json | None = None, **metadata: Any) -> Json:
    """A Service as it reaches validation."""
    meta = {"name": "s", "namespace": "n", **metadata}
    obj = {"metadata": meta, "spec": copy.deepcopy({"ports": HTTP, **(spec or {})})}
    services.normalize(obj["spec"], None)
    defaults.apply(kinds.SERVICE, obj)
    return obj


def problems(obj: Json, old: Json | None = None, part: str = "") -> list[str]:
    return [str(error) for error in validation.validate(kinds.SERVICE, obj, old, part)]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"clusterIP": "None", "ports": []},
        {"type": "ExternalName", "externalName": "x.example.", "ports": []},
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": [" 10.0.0.0/8"]},
        {
            "ports": [
                {"name": "a", "port": 1, "appProtocol": "example.com/x"},
                {"name": "b", "port": 1, "protocol": "UDP"},
            ]
        },
        {"externalIPs": ["8.8.8.8", "2001:db8::1"]},
        {"sessionAffinity": "ClientIP", "trafficDistribution": "PreferSameNode"},
        {"type": "LoadBalancer", "loadBalancerClass": "example.com/x"},
        {"clusterIP": "fd00::1"},
        {"ports": [{"port": 80, "targetPort": "http"}]},
    ],
)
def test_good_services(spec: Json) -> None:
    assert problems(service(spec)) == []


LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
REFUSED: list[tuple[Json, list[str]]] = [
    ({"ports": []}, ["spec.ports: Required value"]),
    (
        {"ports": [{"port": 80}, {"port": 81}]},
        ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    ),
    (
        {"ports": [{"name": "a", "port": 0}, {"name": "a", "port": 70000, "protocol": "X"}]},
        [
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            'spec.ports[1].name: Duplicate value: "a"',
            "spec.ports[1].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            'spec.ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
            "spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    ),
    (
        {"ports": [{"port": 80, "targetPort": "no_no-longer-than-that"}]},
        [
            'spec.ports[0].targetPort: Invalid value: "no_no-longer-than-that": must be no more than 15 characters',
            'spec.ports[0].targetPort: Invalid value: "no_no-longer-than-that": must contain only alpha-numeric '
            "characters (a-z, 0-9), and hyphens (-)",
        ],
    ),
    (
        {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]},
        [
            'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,'
            '"NodePort":0}'
        ],
    ),
    (
        {"type": "NodePort", "ports": [{"name": n, "port": p, "nodePort": 30001} for n, p in (("a", 1), ("b", 2))]},
        ["spec.ports[1].nodePort: Duplicate value: 30001"],
    ),
    (
        {"ports": [{"port": 80, "nodePort": 30001}]},
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    (
        {"type": "Nope"},
        [
            'spec.type: Unsupported value: "Nope": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"',
        ],
    ),
    ({"sessionAffinity": "X"}, ['spec.sessionAffinity: Unsupported value: "X": supported values: "ClientIP", "None"']),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
        [
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less "
            "than 86400"
        ],
    ),
    (
        {"type": "NodePort", "clusterIP": "None"},
        ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    ),
    (
        {"type": "ExternalName", "clusterIP": "10.0.0.1", "ports": []},
        [
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.externalName: Required value",
        ],
    ),
    ({"type": "LoadBalancer", "ports": [{"port": 10250}]}, []),
    (
        {"externalIPs": ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.5", "x"]},
        [
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
            'spec.externalIPs[1]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
            'spec.externalIPs[2]: Invalid value: "169.254.1.1": may not be in the link-local range '
            "(169.254.0.0/16, fe80::/10)",
            'spec.externalIPs[3]: Invalid value: "224.0.0.5": may not be in the link-local multicast range '
            "(224.0.0.0/24, ff02::/10)",
            'spec.externalIPs[4]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ],
    ),
    (
        {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]},
        [
            'spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: '
            "may specify no more than one IP for each IP family",
        ],
    ),
    (
        {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]},
        ['spec.clusterIPs: Invalid value: ["10.0.0.2"]: first value must match `clusterIP`'],
    ),
    (
        {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv6", "IPv6", "X"]},
        [
            'spec.ipFamilies[1]: Duplicate value: "IPv6"',
            'spec.ipFamilies[2]: Unsupported value: "X": supported values: "IPv4", "IPv6"',
            'spec.clusterIPs[0]: Invalid value: "10.0.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`',
        ],
    ),
    (
        {"externalTrafficPolicy": "Local", "healthCheckNodePort": 30001},
        [
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
            "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and "
            "`externalTrafficPolicy` is 'Local'",
        ],
    ),
    (
        {"type": "NodePort", "externalTrafficPolicy": "X", "internalTrafficPolicy": "Y", "trafficDistribution": "Z"},
        [
            'spec.externalTrafficPolicy: Unsupported value: "X": supported values: "Cluster", "Local"',
            'spec.internalTrafficPolicy: Unsupported value: "Y": supported values: "Cluster", "Local"',
            'spec.trafficDistribution: Unsupported value: "Z": supported values: "PreferClose", "PreferSameZone", '
            '"PreferSameNode"',
        ],
    ),
    (
        {
            "loadBalancerSourceRanges": ["10.0.0.0/8", "x"],
            "loadBalancerClass": "a",
            "allocateLoadBalancerNodePorts": True,
        },
        [
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            'spec.LoadBalancerSourceRanges[1]: Invalid value: "x": must be a valid CIDR value, '
            "(e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), REFUSED)
def test_refused_services(spec: Json, expected: list[str]) -> None:
    assert problems(service(spec)) == expected


def test_names() -> None:
    assert problems(service(name="1a")) == []
    assert problems(service(name="A1")) == [f'metadata.name: Invalid value: "A1": {LABEL}']
    assert problems(service(name="a.b")) == ['metadata.name: Invalid value: "a.b": must not contain dots']
    assert problems(service(name="", generateName="A_b-")) == [
        f'metadata.generateName: Invalid value: "A_b-": {LABEL}',
        "metadata.name: Required value: name or generateName is required",
    ]
    assert problems(service(name="a" * 64)) == [
        f'metadata.name: Invalid value: "{"a" * 64}": must be no more than 63 characters'
    ]


def test_status() -> None:
    old = service({"type": "LoadBalancer"})
    obj = copy.deepcopy(old)
    obj["status"] = {
        "loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"ip": "x", "ipMode": "Z"}, {"hostname": "1.1.1.1"}]}
    }
    path = "status.loadBalancer.ingress"
    assert problems(obj, old, "status") == [
        f"{path}[0].ipMode: Required value: must be specified when `ip` is set",
        f'{path}[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        f'{path}[1].ipMode: Unsupported value: "Z": supported values: "Proxy", "VIP"',
        f'{path}[2].hostname: Invalid value: "1.1.1.1": must be a DNS name, not an IP address',
    ]
    obj["spec"].update(type="ClusterIP", allocateLoadBalancerNodePorts=None, externalTrafficPolicy="")
    assert problems(obj, old, "status") == [f"{path}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]


def test_updates() -> None:
    old = service({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    assert problems(copy.deepcopy(old), old) == []
    new = service({"clusterIP": "10.0.0.2", "ipFamilies": ["IPv6"]})
    assert problems(new, old)[:2] == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set',
        'spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set',
    ]
    balanced = service({"type": "LoadBalancer", "loadBalancerClass": "a"})
    other = service({"type": "LoadBalancer", "loadBalancerClass": "b"})
    assert problems(other, balanced) == ['spec.loadBalancerClass: Invalid value: "b": may not change once set']
    renamed = service(name="t")
    assert set(problems(renamed, service())) == {'metadata.name: Invalid value: "t": field is immutable'}


def test_an_invalid_object_is_a_status_with_all_causes() -> None:
    found = validation.validate(kinds.SERVICE, service({"ports": [{"port": 80}, {"port": 81}]}), None)
    status = errors.invalid("", "Service", "s", found).status()
    assert status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Service "s" is invalid: [spec.ports[0].name: Required value, spec.ports[1].name: Required value]',
        "reason": "Invalid",
        "details": {
            "name": "s",
            "kind": "Service",
            "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": f"spec.ports[{i}].name"}
                for i in (0, 1)
            ],
        },
        "code": 422,
    }


def golden() -> list[Json]:
    rows = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else []
    return [row for row in rows if row["method"] == "POST" and row["status"] in (201, 422) and ours(row)]


def ours(row: Json) -> bool:
    """Rows that create an object; not those whose outcome is the allocator's."""
    body = row["body"]
    known = isinstance(body, dict) and body.get("kind", "Namespace") in BY_KIND and "/pb/" not in row["path"]
    allocated = ("nodePort: Invalid", "failed to allocate")
    return known and "/apis/auth" not in row["path"] and not any(a in json.dumps(row["response"]) for a in allocated)


@pytest.mark.parametrize("row", golden(), ids=lambda row: row["name"])
def test_recorded_answers(row: Json) -> None:
    kind: Kind = BY_KIND[row["body"].get("kind", "Namespace")]
    obj = copy.deepcopy(row["body"])
    if kind.namespaced:
        obj["metadata"]["namespace"] = row["path"].split("/")[row["path"].split("/").index("namespaces") + 1]
    obj["metadata"].setdefault("name", row["response"].get("metadata", {}).get("name", ""))
    if kind is kinds.SERVICE:
        services.normalize(obj["spec"], None)
    defaults.apply(kind, obj)
    found = validation.validate(kind, obj, None)
    if row["status"] == 201:
        assert found == []
    else:
        assert errors.invalid(kind.group, kind.kind, obj["metadata"]["name"], found).status() == row["response"]

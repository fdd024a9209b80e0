"""NetworkPolicy, Ingress, IngressClass, ServiceCIDR, IPAddress, nodes and accounts: what is refused, in which words."""

from typing import Any

import pytest

from netplane.api import kinds
from netplane.api.kinds import Kind
from tests.field_errors import problems

Json = dict[str, Any]


def policy(*peers: Json, ports: list[Json] | None = None, **spec: Any) -> Json:
    return {"spec": {"podSelector": {}, "ingress": [{"from": list(peers), "ports": ports or []}], **spec}}


def block(cidr: str, *parts: str) -> Json:
    return {"ipBlock": {"cidr": cidr, "except": list(parts)}}


PEER, PORT = "spec.ingress[0].from[0]", "spec.ingress[0].ports[0]"
POLICIES: list[tuple[Json, list[str]]] = [
    (policy(block("10.0.0.0/8", "10.1.0.0/16"), {"podSelector": {}, "namespaceSelector": {}}), []),
    (policy({}), [f"{PEER}: Required value: must specify a peer"]),
    (policy({"ipBlock": {"cidr": ""}}), [f"{PEER}.ipBlock.cidr: Required value"]),
    (
        policy({"podSelector": {}, **block("10.0.0.1/8")}),
        [f'{PEER}.ipBlock.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length',
         f"{PEER}: Forbidden: may not specify both ipBlock and another peer"],
    ),
    (
        policy(block("10.0.0.0/8", "11.0.0.0/16", "10.0.0.0/8", "x", "fd00::/64")),
        [f'{PEER}.ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
         f'{PEER}.ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`',
         f'{PEER}.ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
         "2001:db8::/64)",
         f'{PEER}.ipBlock.except[3]: Invalid value: "fd00::/64": must be a strict subset of `cidr`'],
    ),
    (
        policy(block("010.0.0.0/8"), block("::ffff:10.0.0.0/104")),
        [f'{PEER}.ipBlock.cidr: Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length',
         'spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "::ffff:10.0.0.0/104": must not have an IPv4-mapped '
         "IPv6 address"],
    ),
    (policy(ports=[{"port": 80, "endPort": 90}, {"port": "http", "protocol": "UDP"}]), []),
    (
        policy(ports=[{"port": 80, "endPort": 70_000}]),
        [f"{PORT}.endPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    ),
    (
        policy(ports=[{"port": 80, "endPort": 79, "protocol": "ICMP"}]),
        [f'{PORT}.protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"',
         f"{PORT}.endPort: Invalid value: 80: must be greater than or equal to `port`"],
    ),
    (
        policy(ports=[{"port": "http", "endPort": 90}, {"endPort": 90}]),
        [f"{PORT}.endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
         "spec.ingress[0].ports[1].endPort: Invalid value: 90: may not be specified when `port` is not specified"],
    ),
    (
        policy(policyTypes=["Both"]),
        ['spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"'],
    ),
    (
        policy(policyTypes=["Ingress"] * 3),
        ['spec.policyTypes: Invalid value: ["Ingress","Ingress","Ingress"]: may not specify more than two policyTypes'],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), POLICIES)
def test_policies(obj: Json, expected: list[str]) -> None:
    assert problems(kinds.NETWORK_POLICY, obj) == expected


def test_networks_that_were_wrong_before_may_stay() -> None:
    old = policy(block("10.0.0.1/8"))
    assert problems(kinds.NETWORK_POLICY, policy(block("10.0.0.1/8"), {"podSelector": {}}), old) == []
    assert problems(kinds.NETWORK_POLICY, policy(block("10.0.0.2/8")), old) == [
        f'{PEER}.ipBlock.cidr: Invalid value: "10.0.0.2/8": must not have bits set beyond the prefix length'
    ]


def ingress(backend: Json, **path: Any) -> Json:
    one = {"path": "/", "pathType": "Prefix", "backend": backend, **path}
    return {"spec": {"rules": [{"http": {"paths": [one]}}]}}


SERVICE = {"service": {"name": "s", "port": {"number": 80}}}
AT = "spec.rules[0].http.paths[0]"
INGRESSES: list[tuple[Json, list[str]]] = [
    (ingress(SERVICE), []),
    (ingress(SERVICE, pathType="ImplementationSpecific", path=""), []),
    (ingress({"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "b"}}), []),
    ({"spec": {}}, ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
    (ingress({}, pathType=None), [f"{AT}.pathType: Required value: pathType must be specified"]),
    (ingress({}), [f'{AT}.backend: Invalid value: "": resource or service backend is required']),
    (
        ingress({**SERVICE, "resource": {"kind": "a", "name": "b"}}),
        [f'{AT}.backend: Invalid value: "": cannot set both resource and service backends'],
    ),
    (
        {"spec": {"defaultBackend": {"resource": {"kind": "a/b", "name": ""}}}},
        ['spec.defaultBackend.resource.kind: Invalid value: "a/b": may not contain \'/\'',
         "spec.defaultBackend.resource.name: Required value"],
    ),
    (
        ingress({"service": {"name": "", "port": {}}}, pathType="Regex"),
        [f'{AT}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"',
         f"{AT}.backend.service.name: Required value",
         f"{AT}.backend: Required value: port name or number is required"],
    ),
    (
        {"spec": {"defaultBackend": SERVICE, "rules": [{"host": "10.0.0.1"}], "ingressClassName": "a"},
         "metadata": {"annotations": {"kubernetes.io/ingress.class": "b"}}},
        ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
         'annotations.kubernetes.io/ingress.class: Invalid value: "b": must match `ingressClassName` when both are '
         "specified"],
    ),
    (
        {**ingress(SERVICE),
         "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "x", "hostname": "::"}]}}},
        ['status.loadBalancer.ingress[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or '
         "2001:db8::ffff)"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), INGRESSES)
def test_ingresses(obj: Json, expected: list[str]) -> None:
    found = problems(kinds.INGRESS, obj)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def of_class(**spec: Any) -> Json:
    return {"spec": {"controller": "example.com/c", **spec}}


def parameters(**given: Any) -> Json:
    return of_class(parameters={"kind": "k", "name": "n", **given})


PARAMETERS = "spec.parameters"
OTHERS: list[tuple[Kind, Json, list[str]]] = [
    (kinds.INGRESS_CLASS, of_class(), []),
    (kinds.INGRESS_CLASS, {"spec": {}}, ["spec.controller: Required value"]),
    (
        kinds.INGRESS_CLASS,
        of_class(controller="c"),
        ['spec.controller: Invalid value: "c": must be a domain-prefixed path (such as "acme.io/foo")'],
    ),
    (
        kinds.INGRESS_CLASS,
        of_class(controller="a/" + "c" * 250),
        ["spec.controller: Too long: may not be more than 250 bytes"],
    ),
    (kinds.INGRESS_CLASS, parameters(scope="Namespace", namespace="n"), []),
    (
        kinds.INGRESS_CLASS,
        parameters(scope="Namespace"),
        [f"{PARAMETERS}.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    ),
    (
        kinds.INGRESS_CLASS,
        parameters(kind="", name=".", scope="Cluster", namespace="n"),
        [f"{PARAMETERS}.kind: Required value", f"{PARAMETERS}.name: Invalid value: \".\": may not be '.'",
         f"{PARAMETERS}.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
    ),
    (kinds.SERVICE_CIDR, {"spec": {"cidrs": ["10.0.0.0/16", "fd00::/108"]}}, []),
    (kinds.SERVICE_CIDR, {"spec": {"cidrs": []}}, ["spec.cidrs: Required value: at least one CIDR required"]),
    (
        kinds.SERVICE_CIDR,
        {"spec": {"cidrs": ["10.0.0.0/16", "10.1.0.0/16"]}},
        ['spec.cidrs: Invalid value: ["10.0.0.0/16","10.1.0.0/16"]: may specify no more than one IP for each IP '
         "family, i.e 192.168.0.0/24 and 2001:db8::/64"],
    ),
    (
        kinds.SERVICE_CIDR,
        {"spec": {"cidrs": ["a", "b", "c"]}},
        ['spec.cidrs: Invalid value: {"CIDRs":["a","b","c"]}: may only hold up to 2 values'],
    ),
    (
        kinds.SERVICE_CIDR,
        {"spec": {"cidrs": ["fd00:0::/64"]}},
        ['spec.cidrs[0]: Invalid value: "fd00:0::/64": must be in canonical form ("fd00::/64")'],
    ),
    (
        kinds.IP_ADDRESS,
        {"metadata": {"name": "FD00::1"}, "spec": {"parentRef": {"group": "A", "resource": "a/b", "namespace": "%"}}},
        ['metadata.name: Invalid value: "FD00::1": must be in canonical form ("fd00::1")'],
    ),
    (
        kinds.NODE,
        {"spec": {"taints": [{"key": "a", "value": "-", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute"}]}},
        ['metadata.taints[0].value: Invalid value: "-": a valid label must be an empty string or consist of '
         "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
         "'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?"
         "[A-Za-z0-9])?')",
         'metadata.taints[1]: Duplicate value: {"Key":"a","Value":"","Effect":"NoExecute","TimeAdded":null}: taints '
         "must be unique by key and effect pair"],
    ),
    (
        kinds.NODE,
        {"status": {"capacity": {"cpu": "-1", "example.com/gpu": "1.5"}}},
        ['status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
         'status.capacity.example.com/gpu: Invalid value: "1500m": must be an integer'],
    ),
    (kinds.SECRET, {"type": "kubernetes.io/basic-auth", "data": {"password": ""}}, []),
    (
        kinds.SECRET,
        {"type": "kubernetes.io/basic-auth"},
        ["data[username]: Required value", "data[password]: Required value"],
    ),
    (kinds.SECRET, {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}},
     ["data[ssh-privatekey]: Required value"]),
    (kinds.SECRET, {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30="}}, []),
    (
        kinds.NAMESPACE,
        {"spec": {"finalizers": ["kubernetes", "example.com/f", "x"]}},
        ['spec.finalizers: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified'],
    ),
    (
        kinds.CONTROLLER_REVISION,
        {"revision": -1, "data": [1]},
        ["revision: Invalid value: -1: must be greater than or equal to 0",
         "data: Required value: data must be a valid JSON object"],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "hostname": ""}]},
        ['endpoints[0].hostname: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric '
         "characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
         "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"],
    ),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": True},
            {"apiVersion": "v1", "kind": "Event", "name": "b", "uid": "2"}]}},
        ['metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"b","uid":"2"}: '
         "/v1, Kind=Event is disallowed from being an owner"],
    ),
    (
        kinds.CLUSTER_ROLE,
        {"rules": None, "aggregationRule": {}},
        ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
         "aggregationRule is non-nil"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "expected"), OTHERS)
def test_other_kinds(kind: Kind, obj: Json, expected: list[str]) -> None:
    found = problems(kind, obj)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def cidrs(*given: str) -> Json:
    return {"spec": {"cidrs": list(given)}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (cidrs("10.0.0.0/16"), cidrs("10.0.0.0/16", "fd00::/108"), []),
        (
            cidrs("10.0.0.0/16"),
            cidrs("10.1.0.0/16"),
            ['spec.cidrs[0]: Invalid value: "10.1.0.0/16": field is immutable'],
        ),
        (
            cidrs("10.0.0.0/16", "fd00::/108"),
            cidrs("10.0.0.0/16"),
            ['spec.cidrs: Invalid value: ["10.0.0.0/16"]: field is immutable'],
        ),
    ],
)
def test_a_second_family_may_come_later(old: Json, new: Json, expected: list[str]) -> None:
    assert problems(kinds.SERVICE_CIDR, new, old) == expected


def test_an_address_stays_with_who_has_it() -> None:
    old: Json = {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}
    shown = '{"Group":"","Resource":"services","Namespace":"","Name":"t"}'
    new: Json = {"spec": {"parentRef": {"resource": "services", "name": "t"}}}
    assert problems(kinds.IP_ADDRESS, new, old) == [f"spec.parentRef: Invalid value: {shown}: field is immutable"]
    assert problems(kinds.IP_ADDRESS, {"spec": {}}, old) == [
        "spec.parentRef: Required value",
        "spec.parentRef: Invalid value: null: field is immutable",
    ]


@pytest.mark.parametrize(
    ("host", "wrong"), [("*.a.b", ""), ("a.*.b", "wildcard"), ("*", "wildcard"), ("A", "1123 sub")]
)
def test_hosts_of_rules(host: str, wrong: str) -> None:
    found = problems(kinds.INGRESS, {"spec": {"rules": [{"host": host}]}})
    assert [wrong in one and one.startswith("spec.rules[0].host") for one in found] == [True] * bool(wrong)


def test_a_namespace_is_active_until_it_goes() -> None:
    old, new = {"status": {"phase": "Active"}}, {"status": {"phase": "Terminating"}}
    assert problems(kinds.NAMESPACE, new, old, "status") == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]


def test_a_binding_keeps_its_role() -> None:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}
    subject = {"kind": "User", "name": "", "apiGroup": "rbac.authorization.k8s.io"}
    assert problems(kinds.ROLE_BINDING, {"roleRef": {**ref, "name": "b"}, "subjects": [subject]}, {"roleRef": ref}) == [
        "subjects[0].name: Required value",
        'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change '
        "roleRef",
    ]

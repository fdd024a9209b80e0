"""Which objects earn a warning, and in which words."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from netplane.api import kinds, warnings
from netplane.api.kinds import Kind
from tests.certificates import Certificate

Json = dict[str, Any]


def told(kind: Kind, obj: Json, *, created: bool = True, status: bool = False, respecified: bool = False) -> list[str]:
    obj = {**obj, "metadata": {"name": "x", **obj.get("metadata", {})}}
    return warnings.of(kind, obj, created=created, status=status, respecified=respecified)


def pod(**spec: Any) -> Json:
    return {"spec": spec}


def container(**fields: Any) -> Json:
    return pod(containers=[{"name": "c", **fields}])


def annotated(*keys: str) -> Json:
    return {"metadata": {"annotations": dict.fromkeys(keys, "")}}


REQUIRED, PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
OS = 'deprecated since v1.14; use "kubernetes.io/os" instead'
NULL = "a null labelSelector results in matching no pod"
HIDES = "hides previous definition of {}, which may be dropped when using apply"
SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
TERM = {"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}
PODS: list[tuple[Json, list[str]]] = [
    (container(), []),
    (
        {"metadata": {"name": "a.b"}},
        ["metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is "
         "recommended: [must not contain dots]"],
    ),
    (pod(nodeSelector={"beta.kubernetes.io/os": "linux"}), [f"spec.nodeSelector[beta.kubernetes.io/os]: {OS}"]),
    (
        pod(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [TERM]}, PREFERRED: [{"preference": TERM}]}}),
        [f"spec.affinity.nodeAffinity.{where}.matchExpressions[0].key: beta.kubernetes.io/os is {OS}"
         for where in (f"{REQUIRED}.nodeSelectorTerms[0]", f"{PREFERRED}[0].preference")],
    ),
    (
        pod(topologySpreadConstraints=[{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]),
        ["spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since "
         'v1.17; use "topology.kubernetes.io/zone" instead',
         f"spec.topologySpreadConstraints[0].labelSelector: {NULL}"],
    ),
    (
        pod(affinity={"podAffinity": {REQUIRED: [{"topologyKey": "a"}]},
                      "podAntiAffinity": {PREFERRED: [{"podAffinityTerm": {"labelSelector": {}}}, {}]}}),
        [f"spec.affinity.podAffinity.{REQUIRED}[0].labelSelector: {NULL}",
         f"spec.affinity.podAntiAffinity.{PREFERRED}[1].podAffinityTerm.labelSelector: {NULL}"],
    ),
    (
        annotated("scheduler.alpha.kubernetes.io/critical-pod", "seccomp.security.alpha.kubernetes.io/pod"),
        ["metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "
         '"priorityClassName" field instead',
         f"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: {SECCOMP}"],
    ),
    (
        {**annotated("container.seccomp.security.alpha.kubernetes.io/c"), **container()},
        [f"metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: {SECCOMP}"],
    ),
    (
        pod(volumes=[{"gitRepo": {}}, {"storageos": {}}, {"emptyDir": {}}]),
        ["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
         "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+"],
    ),
    (
        pod(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {},
                                                {"secret": {"name": "s", "items": [{"path": "token/x/"}]}}]}}]),
        ['volume "v" (Projected) has no sources provided',
         'volume "v" (Projected): overlapping paths: "token/x" (Secret "s") with "token" (ServiceAccountToken)'],
    ),
    (
        pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}]}},
                     {"name": "w", "downwardAPI": {"items": [{"path": "a"}, {"path": "ab"}, {"path": "a"}]}}]),
        ['volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"',
         'volume "w" (DownwardAPI): overlapping paths: "a" with "a"'],
    ),
    (
        container(ports=[{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
        ['spec.containers[0].ports[1]: duplicate port name "a" with spec.containers[0].ports[0], services and probes '
         "that select ports by name will use spec.containers[0].ports[0]"],
    ),
    (
        pod(dnsConfig={"nameservers": ["2001:DB8::1"]}),
        ['spec.dnsConfig.nameservers[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format '
         '("2001:db8::1")'],
    ),
    (
        pod(hostAliases=[{"ip": "::1"}, {"ip": "::1"}], imagePullSecrets=[{"name": ""}, {"name": ""}]),
        ['spec.hostAliases[1].ip: duplicate ip "::1"', 'spec.imagePullSecrets[1].name: duplicate name ""',
         *(f'spec.imagePullSecrets[{i}].name: invalid empty name ""' for i in range(2))],
    ),
    (
        {"spec": {**container(resources={"limits": {"memory": "1500m", "cpu": "1500m"}})["spec"],
                  "overhead": {"memory": "0.5"}}},
        ['spec.overhead[memory]: fractional byte value "500m" is invalid, must be an integer',
         'spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer'],
    ),
    (
        container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "$(A)"}]),
        [f'spec.containers[0].env[2]: {HIDES.format(chr(34) + "A" + chr(34))}'],
    ),
    (
        container(ports=[{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"},
                         {"containerPort": 80, "protocol": "TCP"},
                         {"containerPort": 80, "protocol": "TCP", "hostPort": 1}]),
        ["spec.containers[0].ports[2]: duplicate port definition with spec.containers[0].ports[0]",
         "spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[0]",
         "spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[2]"],
    ),
    (
        container(ports=[{"containerPort": 80, "protocol": "TCP", "hostPort": 1, "hostIP": "10.0.0.1"},
                         {"containerPort": 80, "protocol": "TCP", "hostPort": 1}]),
        ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
    ),
    (
        container(ports=[{"containerPort": 80, "protocol": "TCP", "hostIP": "10.0.0.1"}]),
        ["spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP "
         "HostIP:10.0.0.1}"],
    ),
    (
        pod(terminationGracePeriodSeconds=-1),
        ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), PODS)
def test_pods(obj: Json, expected: list[str]) -> None:
    assert told(kinds.POD, obj) == expected
    assert told(kinds.POD, obj, created=False) == []


def test_templates_are_told_of_when_they_change() -> None:
    template = pod(terminationGracePeriodSeconds=-1) | annotated("container.apparmor.security.beta.kubernetes.io/c")
    template["spec"]["containers"] = [{"name": "c"}]
    texts = [
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "
        '"appArmorProfile" field instead',
        "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
    ]
    obj = {"metadata": {"name": "a.b"}, "spec": {"template": template}}
    name = (
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label "
        "is recommended: [must not contain dots]"
    )
    assert told(kinds.DEPLOYMENT, obj) == [name, *(f"spec.template.{text}" for text in texts)]
    assert told(kinds.DEPLOYMENT, obj, created=False) == []
    assert told(kinds.DEPLOYMENT, obj, created=False, respecified=True) == [f"spec.template.{text}" for text in texts]
    cron = {"spec": {"jobTemplate": {"spec": {"template": template}}}}
    assert told(kinds.CRON_JOB, cron) == [f"spec.jobTemplate.spec.template.{text}" for text in texts]
    old = {"spec": {"revisionHistoryLimit": -1}}
    assert told(kinds.STATEFUL_SET, old) == [
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
    ]


FORM = 'IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")'
AMBIGUOUS = 'CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)'
BLOCK = {"ipBlock": {"cidr": "10.0.0.1/8", "except": ["FD00::/64"]}}
OTHERS: list[tuple[Kind, Json, list[str]]] = [
    (kinds.SERVICE, {"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "sessionAffinity": "None"}}, []),
    (
        kinds.SERVICE,
        {"spec": {"type": "LoadBalancer", "clusterIPs": ["FD00::1"], "externalIPs": ["FD00::1"],
                  "loadBalancerIP": "FD00::1", "loadBalancerSourceRanges": [" 10.0.0.1/8"]}},
        [f"spec.clusterIPs[0]: {FORM}", f"spec.externalIPs[0]: {FORM}", f"spec.loadBalancerIP: {FORM}",
         f"spec.loadBalancerSourceRanges[0]: {AMBIGUOUS}",
         "spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    ),
    (
        kinds.SERVICE,
        {"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP",
                  "externalName": "a.b"}},
        ["spec.SessionAffinity is ignored for headless services",
         'spec.externalName is ignored when spec.type is not "ExternalName"'],
    ),
    (
        kinds.INGRESS,
        annotated("kubernetes.io/ingress.class"),
        ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
    ),
    (
        kinds.NETWORK_POLICY,
        {"spec": {"egress": [{"to": [BLOCK]}]}},
        [f"spec.egress[0].to[0].ipBlock.cidr: {AMBIGUOUS}",
         'spec.egress[0].to[0].ipBlock.except[0]: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format '
         '("fd00::/64")'],
    ),
    (kinds.ENDPOINTS, {"subsets": [{"addresses": [{"ip": "FD00::1"}]}]}, [f"subsets[0].addresses[0].ip: {FORM}"]),
    (kinds.INGRESS, {**annotated("kubernetes.io/ingress.class"), "spec": {"ingressClassName": "nginx"}}, []),
    (kinds.ENDPOINT_SLICE, {"addressType": "FQDN"}, ["spec.addressType: FQDN endpoints are deprecated"]),
    (kinds.ENDPOINT_SLICE, {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}, []),
    (
        kinds.SERVICE_ACCOUNT,
        annotated("kubernetes.io/enforce-mountable-secrets"),
        ["metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate "
         "namespaces to isolate access to mounted secrets"],
    ),
    (kinds.CONFIG_MAP, {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "expected"), OTHERS)
def test_other_kinds(kind: Kind, obj: Json, expected: list[str]) -> None:
    assert told(kind, obj) == expected


def test_a_status_is_told_of_its_addresses_only() -> None:
    balanced = {
        "status": {"loadBalancer": {"ingress": [{"ip": "FD00::1"}]}},
        **annotated("kubernetes.io/ingress.class"),
    }
    assert told(kinds.INGRESS, balanced, status=True) == [f"status.loadBalancer.ingress[0]: {FORM}"]
    here = {"status": {"podIPs": [{"ip": "FD00::1"}]}, **pod(terminationGracePeriodSeconds=-1)}
    assert told(kinds.POD, here, status=True) == [f"status.podIPs[0].ip: {FORM}"]


def pem(kind: str, inside: str = "AAAA") -> str:
    return f"-----BEGIN {kind}-----\n{inside}\n-----END {kind}-----\n"


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("x", "y", "tls: failed to find any PEM data in certificate input"),
        (pem("RSA PRIVATE KEY"), "y", "tls: failed to find certificate PEM data in certificate input, but did find a "
         "private key; PEM inputs may have been switched"),
        (pem("A") + pem("B"), "y", 'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping '
         "PEM blocks of the following types: [A B]"),
        (pem("CERTIFICATE"), "y", "tls: failed to find any PEM data in key input"),
        (pem("CERTIFICATE"), pem("CERTIFICATE"),
         "tls: found a certificate rather than a key in the PEM for the private key"),
        (pem("CERTIFICATE"), pem("A"), 'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input '
         "after skipping PEM blocks of the following types: [A]"),
        (pem("CERTIFICATE"), pem("PRIVATE KEY"), "x509: malformed certificate"),
        (pem("A", "-----BEGIN B-----"), "y", "tls: failed to find any PEM data in certificate input"),
        (f"-----BEGIN A-----\n{pem('CERTIFICATE')}", "y", "tls: failed to find any PEM data in key input"),
        # Nothing but beginnings, as many as a Secret can hold: each is looked at once.
        ("-----BEGIN A-----\n" * 58_000, "y", "tls: failed to find any PEM data in certificate input"),
    ],
)  # fmt: skip
def test_a_certificate_and_a_key_that_are_no_pair(certificate: str, key: str, why: str) -> None:
    data = {"tls.crt": certificate, "tls.key": key}
    secret = {"type": "kubernetes.io/tls", "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}
    assert told(kinds.SECRET, secret) == [why]
    assert told(kinds.SECRET, {**secret, "type": "Opaque"}) == []


def pair(certificate: Certificate, key: Certificate, unknown: str = "") -> list[str]:
    """What is said of a pair. The key's algorithm, ECDSA, is one that nobody knows in the part that is `unknown`."""
    parts = {
        "tls.crt": ("CERTIFICATE", certificate.certificate.public_bytes(serialization.Encoding.DER)),
        "tls.key": ("PRIVATE KEY", key.key.private_bytes(*PKCS8)),
    }
    data = {}
    for name, (kind, der) in parts.items():
        inside = der.replace(ECDSA, ECDSA[:-1] + b"\x7f") if name == unknown else der
        data[name] = base64.b64encode(pem(kind, base64.encodebytes(inside).decode().strip()).encode()).decode()
    return told(kinds.SECRET, {"type": "kubernetes.io/tls", "data": data})


PKCS8 = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
ECDSA = bytes.fromhex("06072a8648ce3d0201")


def test_a_certificate_and_its_key_are_a_pair() -> None:
    one, other = Certificate.issue("a"), Certificate.issue("b")
    assert pair(one, one) == []
    assert pair(one, other) == ["tls: private key does not match public key"]
    assert pair(one, one, unknown="tls.crt") == ["tls: unknown public key algorithm"]
    assert pair(one, one, unknown="tls.key") == ["tls: failed to parse private key"]


def test_workloads_that_ask_for_more_than_is_wise() -> None:
    many = {"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001}
    (told_of,) = told(kinds.JOB, {"spec": many})
    assert told_of.startswith("spec: In Indexed Jobs with a number of completions higher than 10^5")
    assert told(kinds.DAEMON_SET, {"metadata": {"name": "a.b"}, "spec": {}}) == []
    zoned = told(kinds.CRON_JOB, {"spec": {"schedule": "TZ=UTC * * * * *"}}, created=False)
    assert [one[:46] for one in zoned] == ["cannot use TZ or CRON_TZ in spec.spec.schedule"]


def overlaps(*paths: str) -> list[str]:
    """Which files of a volume are told to be in the way of which."""
    found = told(kinds.POD, pod(volumes=[{"name": "v", "downwardAPI": {"items": [{"path": one} for one in paths]}}]))
    return [one.removeprefix('volume "v" (DownwardAPI): overlapping paths: ') for one in found]


def test_files_are_in_the_way_of_those_above_and_below_them() -> None:
    assert overlaps("a/b/c", "a!", "x", "a/", "a/b", "a/b/c", "ab") == [
        '"a" with "a/b/c"', '"a/b" with "a/b/c"', '"a/b" with "a"',
        '"a/b/c" with "a/b/c"', '"a/b/c" with "a"', '"a/b/c" with "a/b"',
    ]  # fmt: skip


def test_as_many_files_as_a_pod_can_have_are_compared_in_one_pass() -> None:
    many = [f"d/{i}" for i in range(50_000)]
    assert overlaps(*many, "d/7/x") == ['"d/7/x" with "d/7"']
    assert overlaps(*many, "d") == [f'"d" with "d/{i}"' for i in range(100)]


def test_as_many_ports_as_a_pod_can_have_are_compared_in_one_pass() -> None:
    port, at = {"containerPort": 80, "protocol": "TCP"}, "spec.containers[0].ports"
    others = [{**port, "hostPort": 1 + i % 2, "hostIP": f"10.{i}"} for i in range(50_000)]
    assert told(kinds.POD, container(ports=[*others, {**port, "hostPort": 3}])) == []
    ambiguous = f"{at}[50000]: dangerously ambiguous port definition with {at}[{{}}]"
    told_of = told(kinds.POD, container(ports=[*others, {**port, "hostPort": 2}]))
    assert told_of == [ambiguous.format(1 + 2 * i) for i in range(100)]
    assert len(told(kinds.POD, container(ports=[port] * 50_000))) == 100

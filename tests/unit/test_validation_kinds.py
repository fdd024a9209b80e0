"""The other kinds: what is refused and in which words."""

import pytest

from netplane.api import kinds
from netplane.api.kinds import Kind
from tests.field_errors import Json, container, pod, problems

DNS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

TABLE: list[tuple[Kind, Json, list[str]]] = [
    # metadata
    (kinds.CONFIG_MAP, {}, []),
    (kinds.CONFIG_MAP, {"metadata": {"name": "a.b"}}, []),
    (kinds.NAMESPACE, {"metadata": {"name": "a.b"}}, ['metadata.name: Invalid value: "a.b": must not contain dots']),
    (kinds.NAMESPACE, {"metadata": {"name": "A"}}, [f'metadata.name: Invalid value: "A": {DNS_LABEL}']),
    (kinds.NODE, {"metadata": {"name": "A"}}, [f'metadata.name: Invalid value: "A": {SUBDOMAIN}']),
    (kinds.NODE, {"metadata": {"namespace": "n"}}, ["metadata.namespace: Forbidden: not allowed on this type"]),
    (kinds.CONFIG_MAP, {"metadata": {"namespace": ""}}, ["metadata.namespace: Required value"]),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"labels": {"a/": "-"}, "annotations": {"A B": ""}, "finalizers": ["!"]}},
        [
            'metadata.labels: Invalid value: "a/": name part must be non-empty',
            f'metadata.labels: Invalid value: "a/": {QUALIFIED}',
            'metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric '
            "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
            "'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            f'metadata.annotations: Invalid value: "A B": {QUALIFIED}',
            f'metadata.finalizers: Invalid value: "!": {QUALIFIED}',
            'metadata.finalizers[0]: Invalid value: "!": name is neither a standard finalizer name nor is it fully '
            "qualified",
        ],
    ),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"annotations": {"a": "x" * 262144}}},
        ["metadata.annotations: Too long: may not be more than 262144 bytes"],
    ),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": "u"}]}},
        ['metadata.ownerReferences.name: Invalid value: "": must not be empty'],
    ),
    # ConfigMap
    (
        kinds.CONFIG_MAP,
        {"data": {"a/b": "", "c": ""}, "binaryData": {"c": ""}},
        [
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' "
            "or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            'data[c]: Invalid value: "c": duplicate of key present in binaryData',
        ],
    ),
    (kinds.CONFIG_MAP, {"data": {"a": "x" * 1048577}}, ["[]: Too long: may not be more than 1048576 bytes"]),
    # Node
    (
        kinds.NODE,
        {"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"], "taints": [{"key": "a", "effect": "X"}]}},
        [
            'metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", '
            '"NoExecute"',
            'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each '
            "IP family",
        ],
    ),
    # Event, Lease
    (
        kinds.EVENT,
        {"involvedObject": {"namespace": "other"}},
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
    ),
    (kinds.EVENT, {"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}}, []),
    (
        kinds.LEASE,
        {"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}},
        [
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    # Endpoints, EndpointSlice
    (
        kinds.ENDPOINTS,
        {"subsets": [{}, {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 1}, {"port": 2, "name": "a"}]}]},
        [
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            'subsets[1].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range '
            "(127.0.0.0/8, ::1/128)",
            "subsets[1].ports[0].name: Required value",
        ],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"addressType": "IPv4", "endpoints": [{"addresses": []}, {"addresses": ["fd00::1"], "hostname": "A"}]},
        [
            "endpoints[0].addresses: Required value: must contain at least 1 address",
            'endpoints[1].addresses: Invalid value: "fd00::1": must be an IPv4 address',
            f'endpoints[1].hostname: Invalid value: "A": {DNS_LABEL}',
        ],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"addressType": "X", "ports": [{"port": 1}, {"port": 2}, {"name": "a", "protocol": "Y"}]},
        [
            'addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6"',
            'ports[1].name: Duplicate value: ""',
            'ports[2].protocol: Unsupported value: "Y": supported values: "SCTP", "TCP", "UDP"',
        ],
    ),
    (
        kinds.ENDPOINTS,
        {"subsets": [{"addresses": [{"ip": "10.0.0.01"}, {"ip": "x"}]}]},
        [
            'subsets[0].addresses[0].ip: Invalid value: "10.0.0.01": must not have leading 0s',
            'subsets[0].addresses[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or '
            "2001:db8::ffff)",
            'subsets[0].addresses[1].ip: Invalid value: "x": must be a valid IP address',
        ],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {
            "addressType": "IPv6",
            "ports": [{"name": "a", "protocol": ""}],
            "endpoints": [
                {"addresses": ["FD00::1"], "hints": {"forZones": [{"name": ""}], "forNodes": [{"name": ""}]}}
            ],
        },
        [
            'ports[0].protocol: Unsupported value: "": supported values: "SCTP", "TCP", "UDP"',
            'endpoints[0].addresses[0]: Invalid value: "FD00::1": must be in canonical form ("fd00::1")',
            f'endpoints[0].hints.forNodes[0].name: Invalid value: "": {SUBDOMAIN}',
        ],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}] * 1001},
        ["endpoints: Too many: 1001: must have at most 1000 items"],
    ),
    # Pod
    (kinds.POD, pod(), []),
    (kinds.POD, pod(containers=[]), ["spec.containers: Required value"]),
    (
        kinds.POD,
        pod(containers=[{"name": "c", "image": " i"}, {"name": "c"}, {}]),
        [
            "spec.containers[1].image: Required value",
            'spec.containers[1].name: Duplicate value: "c"',
            "spec.containers[2].name: Required value",
            "spec.containers[2].image: Required value",
            'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace',
        ],
    ),
    (
        kinds.POD,
        container(ports=[{"containerPort": 0}, {"containerPort": 70000, "name": "--", "hostIP": "x"}]),
        [
            "spec.containers[0].ports[0].containerPort: Required value",
            'spec.containers[0].ports[1].name: Invalid value: "--": must contain at least one letter (a-z)',
            'spec.containers[0].ports[1].name: Invalid value: "--": must not contain consecutive hyphens',
            'spec.containers[0].ports[1].name: Invalid value: "--": must not begin or end with a hyphen',
            "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    ),
    (
        kinds.POD,
        container(volumeMounts=[{"name": "v", "mountPath": "/a"}, {"name": "", "mountPath": "/a"}, {"name": "v"}]),
        [
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
            "spec.containers[0].volumeMounts[1].name: Required value",
            'spec.containers[0].volumeMounts[1].name: Not found: ""',
            'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
            'spec.containers[0].volumeMounts[2].name: Not found: "v"',
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
        ],
    ),
    (
        kinds.POD,
        pod(restartPolicy="X", nodeName="A", terminationGracePeriodSeconds=-1, activeDeadlineSeconds=0),
        [
            'spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never"',
            f'spec.nodeName: Invalid value: "A": {SUBDOMAIN}',
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ],
    ),
    (
        kinds.POD,
        {"spec": {**container(ports=[{"containerPort": 80, "hostPort": 81}])["spec"], "hostNetwork": True}},
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is "
            "true"
        ],
    ),
    (
        kinds.POD,
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}, *[{"name": "w"}] * 2]),
        [
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            'spec.volumes[2].name: Duplicate value: "w"',
        ],
    ),
]


@pytest.mark.parametrize(("kind", "obj", "expected"), TABLE)
def test_new_objects(kind: Kind, obj: Json, expected: list[str]) -> None:
    assert problems(kind, obj) == expected


POD_FIXED = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)
NODE_CHANGED = """@@ -42,7 +42,7 @@
  "NodeSelector": null,
  "ServiceAccountName": "",
  "AutomountServiceAccountToken": null,
- "NodeName": "n1",
+ "NodeName": "n2",
  "SecurityContext": {
   "HostNetwork": false,
   "HostPID": false,
"""
COMMAND_CHANGED = """@@ -5,7 +5,9 @@
   {
    "Name": "c",
    "Image": "i",
-   "Command": null,
+   "Command": [
+    "x"
+   ],
    "Args": null,
    "WorkingDir": "",
    "Ports": null,
"""
CHANGES: list[tuple[Kind, Json, Json, list[str]]] = [
    (kinds.POD, pod(), container(image="other"), []),
    (kinds.POD, pod(nodeName="n1"), pod(nodeName="n2"), [POD_FIXED + NODE_CHANGED]),
    (kinds.POD, pod(), container(command=["x"]), [POD_FIXED + COMMAND_CHANGED]),
    (kinds.POD, pod(), pod(tolerations=[{"key": "a", "operator": "Exists"}]), []),
    (
        kinds.POD,
        pod(tolerations=[{"key": "a"}]),
        pod(),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    ),
    (
        kinds.CONFIG_MAP,
        {"immutable": True, "data": {"a": "1"}},
        {"data": {"a": "2"}},
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ],
    ),
    (kinds.CONFIG_MAP, {"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "1"}}, []),
    (kinds.NODE, {}, {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "x"}}, []),
    (
        kinds.NODE,
        {"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "x"}},
        {"spec": {"podCIDRs": ["10.0.1.0/24"]}},
        [
            'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
            'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
        ],
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"addressType": "IPv4"},
        {"addressType": "IPv6"},
        ['addressType: Invalid value: "IPv6": field is immutable'],
    ),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b", "a/c"]}},
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
            'finalizers []string{"a/c"}'
        ],
    ),
    (
        kinds.CONFIG_MAP,
        {"metadata": {"uid": "1", "generation": 2}},
        {"metadata": {"uid": "2", "generation": 1}},
        [
            'metadata.uid: Invalid value: "2": field is immutable',
            "metadata.generation: Invalid value: 1: must not be decremented",
        ],
    ),
]


@pytest.mark.parametrize(("kind", "old", "new", "expected"), CHANGES)
def test_changes(kind: Kind, old: Json, new: Json, expected: list[str]) -> None:
    """Each told once: what is wrong with metadata is told several times."""
    assert list(dict.fromkeys(problems(kind, new, old))) == expected


@pytest.mark.parametrize(
    ("kind", "part", "times"),
    [
        (kinds.DEPLOYMENT, "", 3), (kinds.JOB, "", 4), (kinds.JOB, "status", 3), (kinds.CONFIG_MAP, "", 4),
        (kinds.EVENT, "", 2), (kinds.LEASE, "", 3), (kinds.CRON_JOB, "status", 2), (kinds.NODE, "status", 3),
        (kinds.SERVICE, "", 3), (kinds.ROLE, "", 4),
    ],
)  # fmt: skip
def test_changed_metadata_is_refused_as_often_as_it_is_looked_at(kind: Kind, part: str, times: int) -> None:
    found = problems(kind, {"metadata": {"labels": {"a": "b c"}}}, {}, part)
    assert [one.split(":")[0] for one in found].count("metadata.labels") == times

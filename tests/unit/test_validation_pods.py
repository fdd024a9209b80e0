"""What else is refused of a pod: where it runs, what it mounts, as whom."""

from typing import Any

import pytest

from netplane.api import kinds
from tests.field_errors import Json, container, pod, problems, volume

R, P = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))


def mounts(*given: Json, devices: list[Json] | None = None) -> Json:
    made = {"name": "c", "image": "i", "volumeMounts": list(given), "volumeDevices": devices or []}
    return pod(volumes=[{"name": "v"}], containers=[made])


def term(**given: Any) -> Json:
    one = {"topologyKey": "k", "labelSelector": {"matchLabels": {"a": "b"}}, **given}
    return pod(affinity={"podAffinity": {R: [one]}})


def spread(*given: Json) -> Json:
    usual = {"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}
    return pod(topologySpreadConstraints=[{**usual, **one} for one in given])


TABLE: list[tuple[Json, list[str]]] = [
    (
        term(),
        [],
    ),
    (
        term(matchLabelKeys=["a"], labelSelector=None),
        [
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: "
            "Forbidden: must not be specified when labelSelector is not set"
        ],
    ),
    (
        term(matchLabelKeys=["x"], mismatchLabelKeys=["x"]),
        [
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[0]: "
            'Invalid value: "x": exists in both matchLabelKeys and mismatchLabelKeys'
        ],
    ),
    (
        pod(affinity={"podAntiAffinity": {P: [{"weight": 101, "podAffinityTerm": {"topologyKey": "k"}}]}}),
        [
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid "
            "value: 101: must be in the range 1-100"
        ],
    ),
    (
        pod(affinity={"nodeAffinity": {R: {"nodeSelectorTerms": []}}}),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
            "Required value: must have at least one node selector term"
        ],
    ),
    (
        pod(
            affinity={
                "nodeAffinity": {
                    R: {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [{"key": "a", "operator": "Gt", "values": []}],
                                "matchFields": [{"key": "x", "operator": "In", "values": ["a", "b"]}],
                            }
                        ]
                    }
                }
            }
        ),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].mat"
            "chExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or "
            "'Gt'",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].mat"
            "chFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for "
            "node field selector",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].mat"
            'chFields[0].key: Invalid value: "x": not a valid field selector key',
        ],
    ),
    (
        spread({}, {}),
        ['spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{k, DoNotSchedule}"'],
    ),
    (
        spread({"minDomains": 0}),
        ["spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero"],
    ),
    (
        spread({"minDomains": 2, "whenUnsatisfiable": "ScheduleAnyway"}),
        [
            "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if "
            "whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
        ],
    ),
    (
        spread({"nodeAffinityPolicy": "Maybe"}),
        [
            'spec.topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value: "Maybe": supported '
            'values: "Honor", "Ignore"'
        ],
    ),
    (
        spread({"matchLabelKeys": ["a"]}),
        [
            "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when "
            "labelSelector is not set"
        ],
    ),
    (
        pod(
            tolerations=[
                {"operator": "Exists", "value": "x", "key": "k"},
                {"value": "x"},
                {"key": "k", "effect": "No", "operator": "In"},
                {"key": "k", "tolerationSeconds": 5},
            ]
        ),
        [
            "spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
            'spec.tolerations[1].operator: Invalid value: "": operator must be Exists when `key` is empty, '
            'which means "match all values and all keys"',
            'spec.tolerations[2].operator: Unsupported value: "In": supported values: "Equal", "Exists"',
            'spec.tolerations[2].effect: Unsupported value: "No": supported values: "NoSchedule", '
            '"PreferNoSchedule", "NoExecute"',
            "spec.tolerations[3].effect: Invalid value: \"\": effect must be 'NoExecute' when "
            "`tolerationSeconds` is set",
        ],
    ),
    (
        pod(schedulingGates=[{"name": "a"}, {"name": "a"}]),
        ['spec.schedulingGates[1]: Duplicate value: "a"'],
    ),
    (
        pod(nodeName="n", schedulingGates=[{"name": "a"}]),
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    ),
    (
        pod(ephemeralContainers=[{"name": "e", "image": "i"}]),
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    ),
    (
        container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3"}}}]),
        [
            'spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only '
            "divisor's values 1m and 1 are supported with the cpu resource"
        ],
    ),
    (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.nope"}}}]),
        [
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "status.nope": error '
            "converting fieldPath: field label not supported: status.nope"
        ],
    ),
    (
        container(env=[{"name": "A=", "value": "x"}]),
        [
            'spec.containers[0].env[0].name: Invalid value: "A=": a valid environment variable name must '
            "consist only of printable ASCII characters other than '='"
        ],
    ),
    (
        mounts({"name": "v", "mountPath": "/a"}, devices=[{"name": "v", "devicePath": "/a"}]),
        [
            'spec.containers[0].volumeMounts[0].name: Invalid value: "v": must not already exist in volumeDevices',
            'spec.containers[0].volumeMounts[0].mountPath: Invalid value: "/a": must not already exist as a '
            "path in volumeDevices",
            'spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of '
            "PersistentVolumeClaim or Ephemeral for block mode",
            'spec.containers[0].volumeDevices[0].name: Invalid value: "v": must not already exist in volumeMounts',
            'spec.containers[0].volumeDevices[0].devicePath: Invalid value: "/a": must not already exist as a '
            "path in volumeMounts",
        ],
    ),
    (
        mounts({"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}),
        ["spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"],
    ),
    (
        container(securityContext={"seccompProfile": {"type": "Localhost"}, "procMount": "Odd"}),
        [
            'spec.containers[0].securityContext.procMount: Unsupported value: "Odd": supported values: '
            '"Default", "Unmasked"',
            "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set "
            "when seccomp type is Localhost",
        ],
    ),
    (
        container(securityContext={"seccompProfile": {"type": "Odd"}}),
        [
            'spec.containers[0].securityContext.seccompProfile.type: Unsupported value: "Odd": supported '
            'values: "Localhost", "RuntimeDefault", "Unconfined"'
        ],
    ),
    (
        pod(
            securityContext={
                "sysctls": [
                    {"name": "net.ipv4.x", "value": "1"},
                    {"name": "net.ipv4.x", "value": "1"},
                    {"name": ""},
                    {"name": "A!"},
                ]
            }
        ),
        [
            'spec.securityContext.sysctls[1].name: Duplicate value: "net.ipv4.x"',
            "spec.securityContext.sysctls[2].name: Required value",
        ],
    ),
    (
        pod(shareProcessNamespace=True, hostPID=True),
        [
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID "
            "cannot both be enabled"
        ],
    ),
    (
        pod(hostUsers=False, hostNetwork=True),
        ["spec.hostNetwork: Forbidden: when `hostUsers` is false"],
    ),
    (
        pod(os={"name": "windows"}, hostPID=True),
        ["spec.hostPID: Forbidden: cannot be set for a windows pod"],
    ),
    (
        pod(dnsPolicy="Some", hostAliases=[{"ip": "x"}, {"ip": "10.0.0.1", "hostnames": ["A"]}]),
        [
            'spec.dnsPolicy: Unsupported value: "Some": supported values: "ClusterFirstWithHostNet", '
            '"ClusterFirst", "Default", "None"',
            'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ],
    ),
    (
        pod(preemptionPolicy="Some"),
        ['spec.preemptionPolicy: Unsupported value: "Some": supported values: "PreemptLowerPriority", "Never"'],
    ),
    (
        pod(resources={"limits": {"disk": "1"}}),
        ['spec.resources.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified'],
    ),
    (
        volume(gcePersistentDisk={"pdName": "", "partition": 300}),
        [
            "spec.volumes[0].persistentDisk.pdName: Required value",
            "spec.volumes[0].persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
        ],
    ),
    (
        volume(iscsi={"targetPortal": "", "iqn": "x", "lun": 300}),
        [
            "spec.volumes[0].iscsi.targetPortal: Required value",
            'spec.volumes[0].iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa',
            "spec.volumes[0].iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive",
        ],
    ),
    (
        volume(fc={}),
        ["spec.volumes[0].fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"],
    ),
    (
        volume(azureDisk={"diskName": "", "diskURI": "x"}),
        [
            "spec.volumes[0].azureDisk.diskName: Required value",
            'spec.volumes[0].azureDisk.diskURI: Unsupported value: "x": supported values: '
            '"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"',
        ],
    ),
    (
        volume(csi={"driver": ""}),
        ["spec.volumes[0].csi.driver: Required value"],
    ),
    (
        volume(flexVolume={"driver": ""}),
        ["spec.volumes[0].flexVolume.driver: Required value"],
    ),
    (
        volume(ephemeral={"volumeClaimTemplate": {"spec": {}}}),
        [
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access "
            "mode is required",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
        ],
    ),
    (
        volume(image={"reference": "", "pullPolicy": "Some"}),
        [
            "spec.volumes[0].image.reference: Required value",
            'spec.volumes[0].image.pullPolicy: Unsupported value: "Some": supported values: "Always", '
            '"IfNotPresent", "Never"',
        ],
    ),
    (
        volume(downwardAPI={"items": [{"path": "", "fieldRef": {"fieldPath": "spec.nope"}}]}),
        [
            "spec.volumes[0].downwardAPI.path: Required value",
            'spec.volumes[0].downwardAPI.fieldRef.fieldPath: Invalid value: "spec.nope": error converting '
            "fieldPath: field label not supported: spec.nope",
        ],
    ),
    (
        volume(emptyDir={"sizeLimit": "-1"}),
        ["spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
    ),
    (
        volume(hostPath={"path": "", "type": "Odd"}),
        ["spec.volumes[0].hostPath.path: Required value"],
    ),
    (
        volume(),
        [],
    ),
]


@pytest.mark.parametrize(("obj", "expected"), TABLE)
def test_new_pods(obj: Json, expected: list[str]) -> None:
    told = [one for one in problems(kinds.POD, obj) if "regex" not in one]
    assert told == expected


def test_lists_as_long_as_a_request_can_be_are_looked_at_once() -> None:
    """Were each entry compared with all before it, this would take minutes."""
    many = range(40_000)
    mounts = [{"name": "v", "mountPath": f"/{i}"} for i in many]
    gates = [{"name": f"g{i % 39_999}"} for i in many]
    found = problems(kinds.POD, {"spec": {**container(volumeMounts=mounts)["spec"], "schedulingGates": gates,
                                          "volumes": [{"name": "v", "emptyDir": {}}]}})  # fmt: skip
    assert found == ['spec.schedulingGates[39999]: Duplicate value: "g0"']

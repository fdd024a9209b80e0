"""Storage, budgets, priorities, quotas, devices, autoscalers: what is refused and in which words."""

from typing import Any

import pytest

from netplane.api import kinds
from netplane.api.kinds import Kind
from tests.field_errors import Json, problems

_ONCE = "may not specify more than 1 volume type"
_CLAIM_FIXED = "spec: Forbidden: spec is immutable after creation except resources.requests and"


def volume(**spec: Any) -> Json:
    return {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **spec}}


def claim(size: str = "1Gi", **spec: Any) -> Json:
    return {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}}


def requests(*given: Json, **devices: Any) -> Json:
    return {"spec": {"devices": {"requests": list(given), **devices}}}


def slice_of(**spec: Any) -> Json:
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return {"spec": {"driver": "d.example.com", "pool": pool, **spec}}


def scaler(*metrics: Json, **spec: Any) -> Json:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    return {"spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": list(metrics), **spec}}


HOST, EXACT = {"path": "/x"}, {"name": "r", "exactly": {"deviceClassName": "gpu"}}
BAD_NODES: Json = {"required": {"nodeSelectorTerms": []}}
CPU: Json = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
}

TABLE: list[tuple[Kind, Json, list[str]]] = [
    (kinds.PERSISTENT_VOLUME, volume(hostPath=HOST), []),
    (kinds.PERSISTENT_VOLUME, volume(nfs={"server": "s", "path": "/a"}, persistentVolumeReclaimPolicy="Recycle"), []),
    (
        kinds.PERSISTENT_VOLUME,
        {"spec": {"hostPath": HOST}},
        [
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            'spec.capacity: Unsupported value: null: supported values: "storage"',
        ],
    ),
    (kinds.PERSISTENT_VOLUME, volume(), ["spec: Required value: must specify a volume type"]),
    (
        kinds.PERSISTENT_VOLUME,
        volume(hostPath={"path": "/"}, nfs={}, persistentVolumeReclaimPolicy="Recycle", capacity={"storage": "0"}),
        [
            'spec.capacity[storage]: Invalid value: "0": must be greater than zero',
            f"spec.nfs: Forbidden: {_ONCE}",
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ],
    ),
    (
        kinds.PERSISTENT_VOLUME,
        volume(local={"path": "/a/.."}, accessModes=["ReadWriteOncePod", "ReadWriteMany", "x"], volumeMode="y"),
        [
            'spec.accessModes: Unsupported value: "x": supported values: "ReadOnlyMany", "ReadWriteMany", '
            '"ReadWriteOnce", "ReadWriteOncePod"',
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            'spec.local.path: Invalid value: "/a/..": must not contain \'..\'',
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
            'spec.volumeMode: Unsupported value: "y": supported values: "Block", "Filesystem"',
        ],
    ),
    (
        kinds.PERSISTENT_VOLUME,
        volume(csi={"nodePublishSecretRef": {}}, nodeAffinity=BAD_NODES, volumeAttributesClassName=""),
        [
            "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
            "spec.csi.driver: Required value",
            "spec.csi.volumeHandle: Required value",
            "spec.csi.nodePublishSecretRef.name: Required value",
            "spec.csi.nodePublishSecretRef.namespace: Required value",
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
        ],
    ),
    (kinds.CLAIM, claim(), []),
    (
        kinds.CLAIM,
        {"spec": {}},
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    ),
    (kinds.STORAGE_CLASS, {"provisioner": "a.example.com/B"}, []),
    (
        kinds.STORAGE_CLASS,
        {"reclaimPolicy": "Recycle", "volumeBindingMode": "x", "parameters": {"": "x"}, "allowedTopologies": [{}]},
        [
            "provisioner: Required value",
            'parameters: Invalid value: "": field can not be empty.',
            'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
            'volumeBindingMode: Unsupported value: "x": supported values: "Immediate", "WaitForFirstConsumer"',
            'allowedTopologies[0].matchLabelExpressions: Duplicate value: ""',
        ],
    ),
    (
        kinds.VOLUME_ATTRIBUTES,
        {"driverName": "d"},
        ["parameters: Required value: must contain at least one key/value pair"],
    ),
    (
        kinds.CSI_DRIVER,
        {"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]}},
        [
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 "
            "minutes",
            'spec.tokenRequests[1].audience: Duplicate value: "a"',
        ],
    ),
    (
        kinds.CSI_NODE,
        {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": -1}}, {"name": "d"}]}},
        [
            "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            "spec.drivers[1].nodeID: Required value",
            'spec.drivers[1].name: Duplicate value: "d"',
        ],
    ),
    (
        kinds.VOLUME_ATTACHMENT,
        {"spec": {"attacher": "d", "nodeName": "n", "source": {}}},
        ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
    ),
    (
        kinds.VOLUME_ATTACHMENT,
        {"spec": {"attacher": "d", "nodeName": "n", "source": {"inlineVolumeSpec": volume(nfs=HOST)["spec"]}}},
        [
            "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.nfs.server: Required value",
        ],
    ),
    (kinds.DISRUPTION_BUDGET, {"spec": {"minAvailable": "50%", "selector": {}}}, []),
    (
        kinds.DISRUPTION_BUDGET,
        {"spec": {"minAvailable": -1, "maxUnavailable": "101%", "unhealthyPodEvictionPolicy": "x"}},
        [
            'spec: Invalid value: {"MinAvailable":-1,"Selector":null,"MaxUnavailable":"101%",'
            '"UnhealthyPodEvictionPolicy":"x"}: minAvailable and maxUnavailable cannot be both set',
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
            'spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", '
            '"IfHealthyBudget"',
        ],
    ),
    (kinds.PRIORITY_CLASS, {"value": -7}, []),
    (
        kinds.PRIORITY_CLASS,
        {"value": 1_000_000_001, "preemptionPolicy": "x"},
        [
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            'preemptionPolicy: Unsupported value: "x": supported values: "PreemptLowerPriority", "Never"',
        ],
    ),
    (
        kinds.PRIORITY_CLASS,
        {"metadata": {"name": "system-x"}},
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
            "error: system-x is not a known system priority class"
        ],
    ),
    (
        kinds.RESOURCE_QUOTA,
        {"spec": {"hard": {"cpu": "-1", "x": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}},
        [
            'spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0',
            'spec.hard[x]: Invalid value: "x": must be a standard resource type or fully qualified',
            'spec.hard[x]: Invalid value: "x": must be a standard resource for quota',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
        ],
    ),
    (
        kinds.LIMIT_RANGE,
        {"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}, {"type": "Pod"}]}},
        [
            'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
            'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request '
            "value 1",
            'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
        ],
    ),
    (
        kinds.REPLICATION_CONTROLLER,
        {"spec": {"replicas": -1}},
        [
            "spec.selector: Required value",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template: Required value",
        ],
    ),
    (kinds.RESOURCE_CLAIM, requests(EXACT), []),
    (
        kinds.RESOURCE_CLAIM,
        requests({"name": "r"}, {"name": "r", "exactly": {"allocationMode": "All", "count": 1, "selectors": [{}]}},
                 constraints=[{"requests": ["x"], "matchAttribute": "a"}], config=[{}]),
        [
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            "spec.devices.requests[1].exactly.selectors[0].cel: Required value",
            "spec.devices.requests[1].exactly.count: Invalid value: 1: must not be specified when allocationMode is "
            "'All'",
            'spec.devices.requests[1].name: Duplicate value: "r"',
            'spec.devices.constraints[0].requests[0]: Invalid value: "x": must be the name of a request in the claim '
            "or the name of a request and a subrequest separated by '/'",
            'spec.devices.constraints[0].matchAttribute: Invalid value: "a": must include a domain',
            "spec.devices.config[0].opaque: Required value",
        ],
    ),
    (kinds.RESOURCE_SLICE, slice_of(allNodes=True, devices=[{"name": "d"}]), []),
    (
        kinds.RESOURCE_SLICE,
        slice_of(devices=[{"name": "d"}, {"name": "d"}]),
        [
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is "
            "required",
            'spec.devices[1].name: Duplicate value: "d"',
        ],
    ),
    (kinds.POD_AUTOSCALER, scaler(CPU, minReplicas=2), []),
    (
        kinds.POD_AUTOSCALER,
        scaler({"type": "Pods"}, minReplicas=4, behavior={"scaleUp": {"policies": [{"type": "Pods"}]}}),
        [
            "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 0: must be greater than zero",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "lines"), TABLE)
def test_what_new_ones_may_not_be(kind: Kind, obj: Json, lines: list[str]) -> None:
    assert problems(kind, obj) == lines


CHANGES: list[tuple[Kind, Json, Json, str]] = [
    (kinds.CLAIM, claim(), claim(volumeName="v"), ""),
    (kinds.CLAIM, claim(), claim("2Gi"), _CLAIM_FIXED),
    (kinds.CLAIM, {**claim(), "status": {"phase": "Bound"}}, {**claim("2Gi"), "status": {"phase": "Bound"}}, ""),
    (
        kinds.CLAIM,
        {**claim("2Gi"), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}},
        {**claim("1Gi"), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}},
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
    ),
    (kinds.PERSISTENT_VOLUME, volume(hostPath=HOST), volume(hostPath=HOST, claimRef={"name": "a"}), ""),
    (
        kinds.PERSISTENT_VOLUME,
        volume(hostPath=HOST),
        volume(hostPath={"path": "/y"}),
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@",
    ),
    (
        kinds.STORAGE_CLASS,
        {"provisioner": "a"},
        {"provisioner": "b"},
        'provisioner: Invalid value: "b": field is immutable',
    ),
    (kinds.PRIORITY_CLASS, {"value": 1}, {"value": 2}, "value: Forbidden: may not be changed in an update."),
    (kinds.RESOURCE_CLAIM, requests(EXACT), requests(), "spec: Invalid value: field is immutable"),
    (
        kinds.VOLUME_ATTACHMENT,
        {"spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "p"}}},
        {"spec": {"attacher": "d", "nodeName": "m", "source": {"persistentVolumeName": "p"}}},
        'spec: Invalid value: {"Attacher":"d","Source":{"PersistentVolumeName":"p","InlineVolumeSpec":null},'
        '"NodeName":"m"}: field is immutable',
    ),
    (
        kinds.RESOURCE_QUOTA,
        {"spec": {"scopes": ["BestEffort"]}},
        {"spec": {"hard": {"pods": "1"}}},
        "spec.scopes: Invalid value: null: field is immutable",
    ),
]


@pytest.mark.parametrize(("kind", "old", "new", "first"), CHANGES)
def test_what_they_may_not_become(kind: Kind, old: Json, new: Json, first: str) -> None:
    found = problems(kind, new, old)
    assert found[0].startswith(first) if first else not found


def test_parameters_for_drivers_are_bounded_unless_they_stay() -> None:
    def config(size: int) -> list[Json]:
        return [{"opaque": {"driver": "d.example.com", "parameters": {"a": "x" * (size - len('{"a":""}'))}}}]

    fits, more = ({"spec": {"config": config(size)}} for size in (10_240, 10_241))
    path, why = "config[0].opaque.parameters", "Too long: may not be more than 10240 bytes"
    assert problems(kinds.DEVICE_CLASS, fits) == []
    assert problems(kinds.DEVICE_CLASS, more) == [f"spec.{path}: {why}"]
    assert problems(kinds.DEVICE_CLASS, {**more, "metadata": {"labels": {"a": "b"}}}, more) == []
    assert problems(kinds.DEVICE_CLASS, {"spec": {**more["spec"], "selectors": [{"cel": {}}]}}, more) == []
    assert problems(kinds.RESOURCE_CLAIM, requests(EXACT, config=config(10_241))) == [f"spec.devices.{path}: {why}"]


def test_labels_are_shown_in_the_order_of_their_names() -> None:
    labels = {"metadata": {"labels": {"b": "1", "a": "2"}}}
    template = {**labels, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert problems(kinds.REPLICATION_CONTROLLER, {"spec": {"selector": {"x": "1"}, "template": template}}) == [
        'spec.template.metadata.labels: Invalid value: {"a":"2","b":"1"}: `selector` does not match template `labels`'
    ]

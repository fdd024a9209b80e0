"""Whatever one place of an object holds, it is taken or refused: validation and warnings fail on nothing."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.api import defaults, kinds, typecheck, validation, warnings
from netplane.api.kinds import Kind

Json = dict[str, Any]

LABELS = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
TERM = {"topologyKey": "k", "labelSelector": LABELS, "matchLabelKeys": ["x"], "namespaces": ["n"]}
REQUIRED, PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
NODES = {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}
CONTAINER: Json = {
    "name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1", "name": "p"}],
    "env": [{"name": "A", "value": "1"}, {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
    "envFrom": [{"configMapRef": {"name": "c"}}], "resources": {"limits": {"cpu": "1"}, "claims": [{"name": "x"}]},
    "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "b"}]}},
    "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
    "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}, "runAsUser": 1},
    "volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b"}],
    "volumeDevices": [{"name": "w", "devicePath": "/b"}],
}  # fmt: skip
SPEC: Json = {
    "containers": [CONTAINER], "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}],
    "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                                                        {"downwardAPI": {"items": [{"path": "p"}]}}]}},
                {"name": "w", "csi": {"driver": "d"}}, {"name": "x", "emptyDir": {"sizeLimit": "1Gi"}}],
    "affinity": {"podAffinity": {REQUIRED: [TERM], PREFERRED: [{"weight": 1, "podAffinityTerm": TERM}]},
                 "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [NODES]}}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}],
    "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}], "imagePullSecrets": [{"name": "s"}],
    "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a"], "options": [{"name": "x"}]},
    "securityContext": {"sysctls": [{"name": "net.a", "value": "1"}]}, "readinessGates": [{"conditionType": "a/b"}],
    "resourceClaims": [{"name": "x", "resourceClaimName": "y"}], "os": {"name": "linux"},
}  # fmt: skip
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
BLOCK = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
SAMPLES: list[tuple[Kind, Json]] = [
    (kinds.POD, {"spec": SPEC}),
    (kinds.JOB, {"spec": {"template": TEMPLATE, "completionMode": "Indexed", "completions": 3,
                          "successPolicy": {"rules": [{"succeededCount": 1, "succeededIndexes": "0-1"}]},
                          "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {
                              "operator": "In", "values": [1]}}]}}}),
    (kinds.CRON_JOB, {"spec": {"schedule": "* * * * *", "timeZone": "UTC", "jobTemplate": {
        "spec": {"template": TEMPLATE}}}}),
    (kinds.DEPLOYMENT, {"spec": {"selector": LABELS, "template": TEMPLATE, "strategy": {"rollingUpdate": {
        "maxSurge": 1}}}, "status": {"replicas": 1}}),
    (kinds.STATEFUL_SET, {"spec": {"selector": LABELS, "template": TEMPLATE, "ordinals": {"start": 1}}}),
    (kinds.SERVICE, {"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "name": "a"}], "clusterIPs": ["10.96.0.5"],
                              "clusterIP": "10.96.0.5", "externalIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
                              "loadBalancerSourceRanges": ["10.0.0.0/8"]},
                     "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1", "hostname": "a"}]}}}),
    (kinds.INGRESS, {"spec": {"tls": [{"hosts": ["a"]}], "rules": [{"host": "a", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}]}}),
    (kinds.NETWORK_POLICY, {"spec": {"podSelector": LABELS, "ingress": [{"from": [BLOCK], "ports": [
        {"port": 80, "endPort": 81}]}]}}),
    (kinds.ENDPOINT_SLICE, {"addressType": "IPv4", "ports": [{"name": "a", "port": 1}], "endpoints": [
        {"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}]}, "hostname": "h"}]}),
    (kinds.NODE, {"spec": {"podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "a", "effect": "NoSchedule"}]},
                  "status": {"capacity": {"cpu": "1"}, "addresses": [{"type": "Hostname", "address": "a"}]}}),
]  # fmt: skip
ODD: st.SearchStrategy[Any] = st.sampled_from(
    ["", "x", "A", "::", "1/0", "10.0.0.0/33", 0, -1, 1, 70_000, True, [], {}, [""], [{}], {"x": "y"}]
)


def places(value: Any) -> list[list[Any]]:
    """Every path below a value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, one in list(below) for path in ([key], *([key, *rest] for rest in places(one)))]


def whole(kind: Kind, obj: Json) -> Json:
    """The object under a name, defaulted."""
    obj = copy.deepcopy(obj)
    obj["metadata"] = {"name": "x", **({"namespace": "n"} if kind.namespaced else {})}
    typecheck.clean(kind, obj)
    defaults.apply(kind, obj)
    return obj


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(SAMPLES), st.booleans())
def test_nothing_in_one_place_makes_it_fail(data: st.DataObject, sample: tuple[Kind, Json], gone: bool) -> None:
    kind, obj = sample[0], copy.deepcopy(sample[1])
    *above, last = data.draw(st.sampled_from(places(obj)))
    at: Any = obj
    for step in above:
        at = at[step]
    if gone:
        del at[last]
    else:
        at[last] = data.draw(ODD)
    try:
        new = whole(kind, obj)
    except typecheck.WrongType:
        return
    for old in (None, whole(*sample)):
        for error in validation.validate(kind, new, old):
            assert str(error).startswith(error.cause()["field"])
    for status in (False, True):
        assert all(warnings.of(kind, new, created=True, status=status, respecified=True))

"""Containers, volumes, rollouts, schedules, hosts: what is refused, and in which words."""

from fractions import Fraction
from typing import Any

import pytest

from netplane.api import cron, kinds, quantity
from netplane.api.kinds import Kind
from tests.field_errors import Json, container, pod, problems, volume

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


C = "spec.containers[0]"
V = "spec.volumes[0]"
PODS: list[tuple[Json, list[str]]] = [
    (container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]), []),
    (
        container(env=[{"name": "A", "valueFrom": {}}]),
        [
            f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, '
            "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        ],
    ),
    (
        container(env=[{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
        [f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
    ),
    (
        container(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "", "key": ""}}}]),
        [f'{C}.env[0].valueFrom.configMapKeyRef.name: Invalid value: "": {SUBDOMAIN}',
         f"{C}.env[0].valueFrom.configMapKeyRef.key: Required value"],
    ),
    (
        container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk"}}}]),
        [f'{C}.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: '
         '"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", '
         '"requests.memory"'],
    ),
    (
        container(envFrom=[{"configMapRef": {"name": ""}}, {}]),
        [f"{C}.envFrom[0].configMapRef.name: Required value",
         f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
    ),
    (container(livenessProbe={}), [f"{C}.livenessProbe: Required value: must specify a handler type"]),
    (
        container(livenessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}, "successThreshold": 2}),
        [f"{C}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
         f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    ),
    (
        container(readinessProbe={"httpGet": {"port": 0, "scheme": "FTP"}, "periodSeconds": -1,
                                  "terminationGracePeriodSeconds": 5}),
        [f"{C}.readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
         f'{C}.readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"',
         f"{C}.readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
         f"{C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"],
    ),
    (
        container(lifecycle={"preStop": {"exec": {}}, "postStart": {"sleep": {"seconds": 3}}}),
        [f"{C}.lifecycle.preStop.exec.command: Required value"],
    ),
    (
        pod(initContainers=[{"name": "i", "image": "i", "livenessProbe": {"tcpSocket": {"port": 80}}}]),
        ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without "
         "restartPolicy=Always"],
    ),
    (container(resources={"limits": {"cpu": "1", "example.com/gpu": "2"}, "requests": {"cpu": "500m"}}), []),
    (
        container(resources={"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "0.2", "memory": "2Gi"}}),
        [f'{C}.resources.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m',
         f'{C}.resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi'],
    ),
    (
        container(resources={"limits": {"disk": "1"}}),
        [f'{C}.resources.{field}[disk]: Invalid value: "disk": must be a standard resource{words}'
         for field in ("limits", "requests") for words in (" type or fully qualified", " for containers")],
    ),
    (
        container(resources={"requests": {"memory": "-1"}}),
        [f'{C}.resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0'],
    ),
    (
        container(resources={"limits": {"example.com/gpu": "2"}, "requests": {"example.com/gpu": "1"}}),
        [f'{C}.resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2'],
    ),
    (
        container(securityContext={"privileged": True, "allowPrivilegeEscalation": False, "runAsUser": -1}),
        [f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
         f'{C}.securityContext: Invalid value: {{"Capabilities":null,"Privileged":true,"SELinuxOptions":null,'
         '"WindowsOptions":null,"RunAsUser":-1,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,'
         '"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}: '
         "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"],
    ),
    (volume(configMap={"name": "c", "items": [{"key": "k", "path": "a/b"}]}), []),
    (
        volume(configMap={"items": [{"key": "", "path": "../x"}]}),
        [f"{V}.configMap.name: Required value", f"{V}.configMap.items[0].key: Required value",
         f"{V}.configMap.items[0].path: Invalid value: \"../x\": must not contain '..'"],
    ),
    (
        volume(secret={"secretName": "", "defaultMode": 512}),
        [f"{V}.secret.secretName: Required value",
         f"{V}.secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"],
    ),
    (volume(hostPath={"path": "a/../b"}), [f"{V}.hostPath.path: Invalid value: \"a/../b\": must not contain '..'"]),
    (volume(persistentVolumeClaim={"claimName": ""}), [f"{V}.persistentVolumeClaim.claimName: Required value"]),
    (
        volume(nfs={"server": "", "path": "x"}),
        [f"{V}.nfs.server: Required value", f'{V}.nfs.path: Invalid value: "x": must be an absolute path'],
    ),
    (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "", "expirationSeconds": 9}}]}),
        [f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 9: may not specify a "
         "duration less than 10 minutes",
         f"{V}.projected.path: Required value",
         f"{V}.projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is "
         "not set"],
    ),
    (
        {"spec": {"volumes": [{"name": "v"}], "containers": [{"name": "c", "image": "i", "volumeMounts": [
            {"name": "v", "mountPath": "/a", "subPath": "/x", "mountPropagation": "Bidirectional"},
            {"name": "v", "mountPath": "/b", "subPath": "x", "subPathExpr": "y"}]}]}},
        [f'{C}.volumeMounts.subPath: Invalid value: "/x": must be a relative path',
         f"{C}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to "
         "privileged containers",
         f'{C}.volumeMounts[1].subPathExpr: Invalid value: "y": subPathExpr and subPath are mutually exclusive'],
    ),
    (pod(dnsPolicy="None"), ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    (
        pod(dnsPolicy="None", dnsConfig={}),
        ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is "
         "None"],
    ),
    (
        pod(dnsConfig={"nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "x"]}),
        ['spec.dnsConfig.nameservers: Invalid value: ["10.0.0.1","10.0.0.2","10.0.0.3","x"]: must not have more than '
         "3 nameservers",
         'spec.dnsConfig.nameservers[3]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or '
         "2001:db8::ffff)"],
    ),
    (
        pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Cry"}]),
        ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
         "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
         'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Cry": supported values: '
         '"DoNotSchedule", "ScheduleAnyway"'],
    ),
    (pod(os={"name": "plan9"}),
     ['spec.os: Unsupported value: "plan9": supported values: "linux", "windows"']),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), PODS)
def test_pods(obj: Json, expected: list[str]) -> None:
    assert problems(kinds.POD, obj) == expected


LABELS = {"matchLabels": {"a": "b"}}


def workload(restart: str = "Always", **spec: Any) -> Json:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**container()["spec"], "restartPolicy": restart}}
    return {"spec": {"selector": LABELS, "template": template, **spec}}


def rolling(**given: Any) -> Json:
    return workload(strategy={"type": "RollingUpdate", "rollingUpdate": given})


def daemons(**given: Any) -> Json:
    return workload(updateStrategy={"type": "RollingUpdate", "rollingUpdate": given})


def job(**spec: Any) -> Json:
    return workload(**{"restart": "Never", "manualSelector": True, **spec})


UPDATE, DAEMONS = "spec.strategy.rollingUpdate", "spec.updateStrategy.rollingUpdate"
WORKLOADS: list[tuple[Kind, Json, list[str]]] = [
    (kinds.DEPLOYMENT, rolling(maxUnavailable="25%", maxSurge=0), []),
    (
        kinds.DEPLOYMENT,
        rolling(maxUnavailable=0, maxSurge="0%"),
        [f"{UPDATE}.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
    ),
    (
        kinds.DEPLOYMENT,
        rolling(maxUnavailable="110%", maxSurge="1/3"),
        [f'{UPDATE}.maxSurge: Invalid value: "1/3": {PERCENT}',
         f'{UPDATE}.maxUnavailable: Invalid value: "110%": must not be greater than 100%'],
    ),
    (
        kinds.DAEMON_SET,
        daemons(maxUnavailable=0, maxSurge=0),
        [f"{DAEMONS}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    ),
    (
        kinds.DAEMON_SET,
        daemons(maxUnavailable=1, maxSurge=1),
        [f"{DAEMONS}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"],
    ),
    (
        kinds.STATEFUL_SET,
        workload(serviceName="s", updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": -1}}),
        [f'{DAEMONS}: Invalid value: {{"Partition":-1,"MaxUnavailable":null}}: only allowed for updateStrategy '
         "'RollingUpdate'"],
    ),
    (kinds.JOB, job(completionMode="Indexed", completions=3), []),
    (
        kinds.JOB,
        job(restart="Always", completionMode="Indexed", parallelism=100_001),
        ["spec.completions: Required value: when completion mode is Indexed",
         "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is "
         "Indexed",
         'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    (
        kinds.JOB,
        job(completionMode="Some", managedBy="x"),
        ['spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")',
         'spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"'],
    ),
    (
        kinds.JOB,
        job(backoffLimitPerIndex=1),
        ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "expected"), WORKLOADS)
def test_workloads(kind: Kind, obj: Json, expected: list[str]) -> None:
    assert problems(kind, obj) == expected


def test_collisions_are_counted_up() -> None:
    def status(**given: Any) -> Json:
        return {**workload(), "status": given}

    was = status(collisionCount=2)
    for kind in (kinds.DEPLOYMENT, kinds.DAEMON_SET, kinds.STATEFUL_SET):
        assert problems(kind, status(collisionCount=-1), workload(), "status") == [
            "status.collisionCount: Invalid value: -1: must be greater than or equal to 0"
        ]
        for now, shown in ((status(), 0), (status(collisionCount=1), 1)):
            told = f"status.collisionCount: Invalid value: {shown}: cannot be decremented"
            assert problems(kind, now, was, "status") == [told]


def test_a_status_whose_whole_is_less_than_its_parts() -> None:
    told = problems(kinds.DEPLOYMENT, {**workload(), "status": {"replicas": -1}}, workload(), "status")
    assert told[0] == "status.replicas: Invalid value: -1: must be greater than or equal to 0"
    assert "status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas" in told


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("*/5 0-6,12 1,15 JAN-mar sun", ""),
        ("@hourly", ""),
        ("@every 1h30m", ""),
        ("TZ=UTC 0 0 * * *", ""),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
def test_schedules(schedule: str, why: str) -> None:
    assert cron.problem(schedule) == why


def test_a_schedules_zone_has_a_field_of_its_own() -> None:
    obj = {
        "spec": {
            "schedule": "TZ=UTC 0 0 * * *",
            "jobTemplate": {"spec": job(selector=None, manualSelector=None)["spec"]},
        }
    }
    assert problems(kinds.CRON_JOB, obj) == [
        'spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field '
        "instead"
    ]
    obj["spec"] |= {"schedule": "61 * * * *", "timeZone": ""}
    assert problems(kinds.CRON_JOB, obj) == [
        'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61',
        'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string',
    ]


def ingress(host: str, path: str) -> Json:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}
    return {"spec": {"rules": [rule], "tls": [{"hosts": [host], "secretName": "t"}]}}


def test_ingress_hosts_and_paths() -> None:
    assert problems(kinds.INGRESS, ingress("*.example.com", "/a")) == []
    wild = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
        r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    assert problems(kinds.INGRESS, ingress("*example.com", "/a//b/..")) == [
        f'spec.rules[0].host: Invalid value: "*example.com": {wild}',
        "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/..\": must not contain '//'",
        "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/..\": cannot end with '/..'",
        f'spec.tls[0].hosts[0]: Invalid value: "*example.com": {wild}',
    ]


@pytest.mark.parametrize(
    ("text", "amount"),
    [("100m", Fraction(1, 10)), ("1Gi", 2**30), ("1.5", Fraction(3, 2)), ("2e3", 2000), ("1E", 10**18), (3, 3),
     ("-1", -1), ("5n", Fraction(5, 10**9)), (".5k", 500), ("", None), ("1GiB", None), ("x", None), ("1e9999", None)],
)  # fmt: skip
def test_quantities(text: Any, amount: Any) -> None:
    assert quantity.parse(text) == amount

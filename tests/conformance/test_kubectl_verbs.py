"""kubectl's other verbs, 1.32's and 1.36's: whatever writes, reads or waits and does not need a kubelet, a metrics
server or kinds that are not served. Each row is one command as a user types it, and what it must say.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver_process import KUBECTLS, Apiserver

RBAC = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reconciled, namespace: verbs}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""
LIST = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: listed-1, labels: {list: yes-it-is}}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: listed-2, labels: {list: yes-it-is}}}
"""
PAIR = """
apiVersion: v1
kind: ConfigMap
metadata: {name: pair-1, labels: {pair: one}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pair-2, labels: {pair: one}}
"""
ONE = PAIR.partition("---")[0]
NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: worker}\n"

# In this order: what the first commands make, the later ones use.
COMMANDS: list[tuple[str, str]] = [
    ("create deployment web --image=nginx --replicas=2 --port=80", "deployment.apps/web created"),
    ("create job j --image=busybox -- date", "job.batch/j created"),
    ("create cronjob cj --image=busybox --schedule=*/5_*_*_*_* -- date", "cronjob.batch/cj created"),
    ("create job from-cj --from=cronjob/cj", "job.batch/from-cj created"),
    ("create secret generic s --from-literal=a=b", "secret/s created"),
    ("create secret docker-registry dr --docker-username=u --docker-password=p", "secret/dr created"),
    ("create secret tls t --cert=tls.crt --key=tls.key", "secret/t created"),
    ("create configmap cm --from-literal=a=b", "configmap/cm created"),
    ("create serviceaccount sa", "serviceaccount/sa created"),
    ("create token sa", "eyJ"),
    ("create role r --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/r created"),
    ("create rolebinding rb --role=r --serviceaccount=verbs:sa", "rolebinding.rbac.authorization.k8s.io/rb created"),
    ("create clusterrole verbs-cr --verb=get --resource=nodes", "verbs-cr created"),
    ("create clusterrolebinding verbs-crb --clusterrole=verbs-cr --user=u", "verbs-crb created"),
    ("create ingress ing --rule=foo.com/bar=web:80 --class=x", "ingress.networking.k8s.io/ing created"),
    ("create service loadbalancer lb --tcp=80:80", "service/lb created"),
    ("create service nodeport np --tcp=80 --node-port=30333", "service/np created"),
    ("create quota q --hard=pods=100", "resourcequota/q created"),
    ("create poddisruptionbudget pdb --selector=a=b --min-available=1", "poddisruptionbudget.policy/pdb created"),
    ("create priorityclass verbs-high --value=7", "priorityclass.scheduling.k8s.io/verbs-high created"),
    ("run pod1 --image=nginx --labels=a=b --env=X=Y", "pod/pod1 created"),
    ("debug pod1 --image=busybox --container=look --attach=false", ""),
    ("get pod pod1 -o jsonpath={.spec.ephemeralContainers[*].name}", "look"),
    (
        'patch pod pod1 --subresource=resize -p {"spec":{"containers":[{"name":"pod1","resources":{}}]}}',
        "pod/pod1 patched (no change)",
    ),
    ("run dry --image=nginx --dry-run=server -o name", "pod/dry"),
    ("expose deployment web --port=80 --type=NodePort", "service/web exposed"),
    ("set image deployment/web nginx=nginx:2", "image updated"),
    ("set env deployment/web A=B", "env updated"),
    ("set env deployment/web --list", "A=B"),
    ("set resources deployment/web --limits=cpu=100m", "resource requirements updated"),
    ("set selector service web x=y", "selector updated"),
    ("set serviceaccount deployment web sa", "serviceaccount updated"),
    ("set subject rolebinding rb --user=foo", "subjects updated"),
    ("get rolebinding rb -o jsonpath={.subjects[*].name}", "sa foo"),
    ("label deployment web tier=front", "labeled"),
    ("label pods --all z=1", "pod/pod1 labeled"),
    ("annotate deployment web note=hi", "annotated"),
    ("annotate deployment web note-", "annotated"),
    ("scale deployment web --replicas=5", "scaled"),
    ("scale --current-replicas=5 --replicas=3 deployment/web", "scaled"),
    ("rollout history deployment/web", "deployment.apps/web"),
    ("rollout restart deployment/web", "restarted"),
    ("rollout pause deployment/web", "paused"),
    ("rollout resume deployment/web", "resumed"),
    ("patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":2}]", "patched"),
    ("patch deployment web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":4}}", "patched"),
    ("get deployment web --subresource=scale -o jsonpath={.spec.replicas}", "4"),
    ("get deploy,rs,sts,ds,job,cj,svc,ing,netpol,cm,secret,sa,role,rolebinding -o wide", "deployment.apps/web"),
    ("get all", "cronjob.batch/cj"),
    ("get pods -o custom-columns=N:.metadata.name,I:.spec.containers[0].image", "pod1   nginx"),
    ("get pods -o go-template={{range_.items}}{{.metadata.name}}{{end}}", "pod1"),
    ("get svc --sort-by=.spec.type -o name", "service/lb"),
    ("get cm --chunk-size=1 -A -o name", "configmap/cm"),
    ("get pods --show-labels -L a", "a=b,z=1"),
    ("get pods -o yaml --show-managed-fields", "managedFields"),
    ("get pods --field-selector=metadata.name=pod1 -o name", "pod/pod1"),
    ("events", ""),
    ("cordon worker", "node/worker cordoned"),
    ("uncordon worker", "node/worker uncordoned"),
    ("taint nodes worker k=v:NoSchedule", "node/worker tainted"),
    ("taint nodes worker k-", "node/worker untainted"),
    ("describe deployment web", "Replicas:"),
    ("describe job j", "Parallelism:"),
    ("describe cronjob cj", "Schedule:"),
    ("describe secret s", "Opaque"),
    ("describe sa sa", "Name:                sa"),
    ("describe role r", "pods"),
    ("describe rolebinding rb", "Role:"),
    ("describe clusterrole verbs-cr", "nodes"),
    ("describe clusterrolebinding verbs-crb", "verbs-cr"),
    ("describe ingress ing", "foo.com"),
    ("describe service np", "30333/TCP"),
    ("describe node worker", "Name:               worker"),
    ("describe namespace verbs", "Status:       Active"),
    ("api-resources --namespaced=false -o name", "servicecidrs.networking.k8s.io"),
    ("api-versions", "networking.k8s.io/v1"),
    ("auth can-i get pods", "yes"),
    ("auth can-i --list", "*.*"),
    ("auth whoami", "system:masters"),
    ("cluster-info", "Kubernetes control plane"),
    ("version -o json", "serverVersion"),
    ("config view --minify", "current-context"),
    ("explain pods.spec.containers", "FIELD: containers"),
    ("explain ds --recursive", "GROUP:      apps"),
    ("explain --output=plaintext-openapiv2 svc.spec", "RESOURCE: spec <Object>"),
    ("drain worker --force --grace-period=0 --timeout=10s", "node/worker drained"),
    ("delete pod pod1 --now", "pod \"pod1\" deleted"),
    ("delete deploy web --cascade=orphan", "deployment.apps \"web\" deleted"),
    ("delete job j --cascade=foreground --timeout=20s", "job.batch \"j\" deleted"),
    ("wait --for=delete job/j --timeout=10s", ""),
    ("delete cm --all", "configmap \"cm\" deleted"),
]  # fmt: skip
REFUSED: list[tuple[str, str]] = [
    ("scale rs/none --replicas=1", 'replicasets.apps "none" not found'),
    ("scale --current-replicas=50 --replicas=3 deployment/kept", "Expected replicas to be 50"),
    ("rollout undo deployment/kept", "no rollout history found"),
    ("rollout status deployment/kept --timeout=1s", "timed out waiting for the condition"),
    ("top pods", "Metrics API not available"),
    ("get flowschemas", 'the server doesn\'t have a resource type "flowschemas"'),
    ("wait --for=condition=Available deploy/kept --timeout=1s", "timed out waiting"),
    ("patch deployment kept --type=merge -p {\"spec\":{\"replicas\":\"x\"}}", "cannot unmarshal string"),
    ("create deployment kept --image=nginx", 'deployments.apps "kept" already exists'),
]  # fmt: skip


@pytest.fixture(scope="module", params=KUBECTLS)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("verbs")) as running:
        running.kubectl_name = request.param
        running.kubectl("create", "namespace", "verbs")
        running.kubectl("create", "deployment", "kept", "--image=nginx", "-n", "verbs")
        running.kubectl("apply", "-f", "-", stdin=NODE)
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", "tls.key", "-out", "tls.crt"], cwd=folder, check=True, capture_output=True)
    return folder


def words(command: str, folder: Path) -> list[str]:
    """A command's words; `_` in a schedule or template stands for a blank."""
    found = command.split()
    found = [word.replace("_", " ") if "--schedule" in word or "{{" in word else word for word in command.split()]
    files = {f"--{kind}=tls.{end}": f"--{kind}={folder}/tls.{end}" for kind, end in (("cert", "crt"), ("key", "key"))}
    return ["-n", "verbs", *(files.get(word, word) for word in found)]


def test_every_command_in_a_row(server: Apiserver, certificate: Path) -> None:
    for command, answer in COMMANDS:
        said = server.kubectl(*words(command, certificate))
        assert answer in said, f"kubectl {command}: {said}"


@pytest.mark.parametrize(("command", "why"), REFUSED, ids=[command for command, _ in REFUSED])
def test_what_cannot_be_done_is_said(server: Apiserver, certificate: Path, command: str, why: str) -> None:
    assert why in server.kubectl(*words(command, certificate), ok=False)


def test_autoscalers_are_of_the_second_version(server: Apiserver) -> None:
    command = ["autoscale", "deployment", "kept", "-n", "verbs", "--min=1", "--max=2"]
    if server.kubectl_name == "kubectl":  # it knows the first alone
        assert "could not find the requested resource" in server.kubectl(*command, ok=False)
    else:
        assert "horizontalpodautoscaler.autoscaling/kept autoscaled" in server.kubectl(*command)


@pytest.mark.parametrize("way", [("apply",), ("create",), ("apply", "--server-side"), ("replace", "--force")])
def test_lists_and_several_documents(server: Apiserver, way: tuple[str, ...]) -> None:
    for manifest, names in ((LIST, ["configmap/listed-1", "serviceaccount/listed-2"]),
                            (PAIR, ["configmap/pair-1", "configmap/pair-2"])):  # fmt: skip
        if way[0] == "replace":
            server.kubectl("create", "-n", "verbs", "-f", "-", stdin=manifest)
        said = server.kubectl(*way, "-n", "verbs", "-f", "-", stdin=manifest)
        assert all(name in said for name in names), said
        wrong = manifest.replace("kind: ConfigMap,", "kind: ConfigMap, data: {a: b}, nonsense: 1,").replace(
            "kind: ConfigMap\n", "kind: ConfigMap\nnonsense: 1\n"
        )
        if way[0] == "apply":
            assert "nonsense" in server.kubectl(*way, "-n", "verbs", "-f", "-", stdin=wrong, ok=False)
        server.kubectl("delete", "-n", "verbs", "-f", "-", stdin=manifest)


def test_prune_takes_what_left_the_manifest(server: Apiserver) -> None:
    prune = ("--prune", "-l", "pair=one", "--prune-allowlist=core/v1/ConfigMap")
    server.kubectl("apply", "-n", "verbs", "-f", "-", stdin=PAIR)
    assert "configmap/pair-2 pruned" in server.kubectl("apply", "-n", "verbs", *prune, "-f", "-", stdin=ONE)
    assert "pair: one" in server.kubectl("apply", "view-last-applied", "cm/pair-1", "-n", "verbs")
    server.kubectl("delete", "-n", "verbs", "-f", "-", stdin=ONE)


def test_apply_on_the_server_and_its_conflicts(server: Apiserver) -> None:
    server.kubectl("apply", "--server-side", "-n", "verbs", "-f", "-", stdin=ONE)
    other = ("apply", "--server-side", "--field-manager=other", "-n", "verbs", "-f", "-")
    changed = ONE.replace("pair: one", "pair: two")
    assert 'conflict with "kubectl"' in server.kubectl(*other, stdin=changed, ok=False)
    assert "serverside-applied" in server.kubectl(*other, "--force-conflicts", stdin=changed)
    difference = server.kubectl("diff", "--server-side", "--force-conflicts", "-n", "verbs", "-f", "-", stdin=changed)
    assert difference == ""
    server.kubectl("delete", "-n", "verbs", "-f", "-", stdin=ONE)


def test_from_client_side_to_server_side_apply(server: Apiserver) -> None:
    server.kubectl("apply", "-n", "verbs", "-f", "-", stdin=ONE)
    changed = ONE.replace("pair: one", "pair: three")
    assert "serverside-applied" in server.kubectl("apply", "--server-side", "-n", "verbs", "-f", "-", stdin=changed)
    shown = server.kubectl_json("get", "cm", "pair-1", "-n", "verbs", "--show-managed-fields")
    # The older entry comes first: which one that is depends on whether a second ended between kubectl's two requests.
    managers = sorted((entry["manager"], entry["operation"]) for entry in shown["metadata"]["managedFields"])
    assert managers == [("kubectl", "Apply"), ("kubectl-last-applied", "Apply")], "no entry of the client-side past"
    server.kubectl("delete", "-n", "verbs", "-f", "-", stdin=ONE)


def test_waits(server: Apiserver) -> None:
    server.kubectl("create", "configmap", "waited", "-n", "verbs", "--from-literal=a=b")
    for what in ("create", "jsonpath={.data.a}=b"):
        assert "condition met" in server.kubectl("wait", f"--for={what}", "cm/waited", "-n", "verbs", "--timeout=10s")
    server.kubectl("delete", "cm", "waited", "-n", "verbs")
    server.kubectl("wait", "--for=delete", "cm/waited", "-n", "verbs", "--timeout=10s")


def test_reconcile_roles(server: Apiserver) -> None:
    said = server.kubectl("auth", "reconcile", "-n", "verbs", "-f", "-", stdin=RBAC)
    assert "role.rbac.authorization.k8s.io/reconciled reconciled" in said
    wider = RBAC.replace("[get]", "[get, list]")
    assert "reconciled" in server.kubectl("auth", "reconcile", "-n", "verbs", "-f", "-", stdin=wider)
    role = server.kubectl_json("get", "role", "reconciled", "-n", "verbs")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}


def test_explain_knows_every_kind(server: Apiserver) -> None:
    listed = server.kubectl("api-resources", "--no-headers", "--verbs=get").splitlines()
    kinds = [(line.split()[0], line.split()[-3]) for line in listed]
    assert len(kinds) >= 25
    for plural, version in kinds:
        for output in ("plaintext", "plaintext-openapiv2"):
            said = server.kubectl("explain", plural, f"--api-version={version}", f"--output={output}")
            assert "FIELDS:" in said, plural

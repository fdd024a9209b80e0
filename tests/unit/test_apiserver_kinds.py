"""The kinds that are served for others: defaults, refusals, scale and tokens."""

from typing import Any

import pytest

from tests.apiserver_app import Server, run

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "c", "image": "i:1"}]},
}
APPS = "/apis/apps/v1/namespaces/default"
NET = "/apis/networking.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a"}, "spec": given}


def test_workloads_get_the_defaults_that_controllers_read() -> None:
    async def test(server: Server) -> None:
        made = await server.create(f"{APPS}/deployments", workload("Deployment"))
        spec = made["spec"]
        assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
        assert spec["template"]["spec"]["restartPolicy"] == "Always"
        assert made["metadata"]["generation"] == 1
        daemons = await server.create(f"{APPS}/daemonsets", workload("DaemonSet"))
        assert daemons["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
        stateful = await server.create(f"{APPS}/statefulsets", workload("StatefulSet", serviceName="s"))
        assert stateful["spec"]["podManagementPolicy"] == "OrderedReady"
        assert stateful["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}

    run(test)


def test_the_labels_of_a_deployment_are_not_set_with_its_status() -> None:
    async def test(server: Server) -> None:
        path = f"{APPS}/deployments"
        labelled = {**workload("Deployment"), "metadata": {"name": "a", "labels": {"a": "b"}}}
        await server.create(path, labelled)
        change = {"metadata": {"labels": {"a": "c"}, "annotations": {"x": "y"}}, "status": {"replicas": 1}}
        done = (await server.patch(f"{path}/a/status", change)).json["metadata"]
        assert (done["labels"], done["annotations"]) == ({"a": "b"}, {"x": "y"})
        owned = {one.get("subresource"): one["fieldsV1"]["f:metadata"].keys() for one in done["managedFields"]}
        assert owned == {None: {"f:labels"}, "status": {"f:annotations"}}

    run(test)


def test_a_daemon_set_counts_its_templates() -> None:
    counter = "deprecated.daemonset.template.generation"

    async def test(server: Server) -> None:
        path, image = f"{APPS}/daemonsets", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}}
        made = await server.create(path, workload("DaemonSet"))
        counts = [made["metadata"]["annotations"][counter]]
        status = {"currentNumberScheduled": 1}
        for where, change in (
            (path, {"spec": {"minReadySeconds": 1}}),
            (path, {"metadata": {"annotations": {counter: "9"}}}),
            (path, {"metadata": {"annotations": None}}),
            (path, image),
            (f"{path}/a/status", {"metadata": {"annotations": {counter: "9"}}, "status": status}),
        ):
            changed = await server.patch(where if where.endswith("status") else f"{path}/a", change)
            counts.append(changed.json["metadata"]["annotations"][counter])
        assert counts == ["1", "1", "1", "1", "2", "2"]
        for text, why in (
            ("x", "invalid syntax"),
            ("9" * 5000, "value out of range"),
            (str(2**63), "value out of range"),
        ):
            refused = await server.patch(f"{path}/a", {"metadata": {"annotations": {counter: text}}})
            assert refused.json["message"].endswith(f'strconv.ParseInt: parsing "{text}": {why}')

    run(test)


def test_a_service_account_keeps_only_the_names_of_its_secrets() -> None:
    async def test(server: Server) -> None:
        secrets = [{"name": "s", "kind": "Secret", "namespace": "n"}, {}]
        account = {"metadata": {"name": "x"}, "secrets": secrets}
        made = await server.create("/api/v1/namespaces/default/serviceaccounts", account)
        assert made["secrets"] == [{"name": "s"}, {}]

    run(test)


def test_jobs_select_their_pods_by_their_own_uid() -> None:
    async def test(server: Server) -> None:
        pod = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
        job = await server.create(
            "/apis/batch/v1/namespaces/default/jobs",
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": pod}},
        )
        uid = job["metadata"]["uid"]
        assert job["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": uid}
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert (labels["job-name"], job["metadata"]["labels"]) == ("j", labels)
        assert (job["spec"]["completions"], job["spec"]["backoffLimit"]) == (1, 6)
        named = {"metadata": {"name": "j" * 64}, "spec": {"template": pod}}
        refused = await server("POST", "/apis/batch/v1/namespaces/default/jobs", named)
        assert {one["field"] for one in refused.json["details"]["causes"]} == {"spec.template.labels"}

    run(test)


@pytest.mark.parametrize(
    ("path", "obj", "message"),
    [
        (
            f"{APPS}/deployments",
            workload("Deployment", selector={"matchLabels": {"app": "b"}}),
            "`selector` does not match template `labels`",
        ),
        (f"{APPS}/replicasets", workload("ReplicaSet", replicas=-1), "must be greater than or equal to 0"),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            {"spec": {"schedule": "* *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
            "expected exactly 5 fields, found 2",
        ),
        (
            f"{NET}/namespaces/default/networkpolicies",
            {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8/8"}}]}]}},
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (f"{NET}/namespaces/default/ingresses", {"spec": {}}, "either `defaultBackend` or `rules` must be specified"),
        (f"{NET}/ipaddresses", {"metadata": {"name": "010.0.0.1"}}, "must not have leading 0s"),
        (f"{NET}/servicecidrs", {"spec": {"cidrs": ["10.1.1.1/24"]}}, "must not have bits set beyond the prefix"),
        (f"{RBAC}/clusterroles", {"rules": [{"verbs": ["get"], "apiGroups": [""]}]}, "rules[0].resources"),
        (
            f"{RBAC}/clusterrolebindings",
            {"roleRef": {"kind": "Role", "name": "x"}},
            'roleRef.kind: Unsupported value: "Role"',
        ),
        (
            "/api/v1/namespaces/default/secrets",
            {"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}},
            "data[tls.key]: Required value",
        ),
    ],
)
def test_what_is_wrong_is_named(path: str, obj: dict[str, Any], message: str) -> None:
    async def test(server: Server) -> None:
        answer = await server("POST", path, {"metadata": {"name": "x"}, **obj})
        assert answer.status == 422, answer.body
        assert message in answer.json["message"]

    run(test)


def test_selectors_and_role_references_are_given_once() -> None:
    async def test(server: Server) -> None:
        await server.create(f"{APPS}/deployments", workload("Deployment"))
        other = {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}}
        answer = await server.patch(f"{APPS}/deployments/a", other)
        assert answer.status == 422
        assert "field is immutable" in answer.json["message"]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
        await server.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "b"}, "roleRef": reference})
        answer = await server.patch(f"{RBAC}/clusterrolebindings/b", {"roleRef": {"name": "other"}})
        assert "cannot change roleRef" in answer.json["message"]

    run(test)


def test_secrets_fold_in_what_was_written_as_text() -> None:
    async def test(server: Server) -> None:
        body = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
        made = await server.create("/api/v1/namespaces/default/secrets", body)
        assert made["data"] == {"a": "Yg=="}
        assert made["type"] == "Opaque"
        assert "stringData" not in made

    run(test)


def test_scale_reads_and_sets_replicas() -> None:
    async def test(server: Server) -> None:
        await server.create(f"{APPS}/deployments", workload("Deployment"))
        path = f"{APPS}/deployments/a/scale"
        found = (await server("GET", path)).json
        assert (found["kind"], found["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert found["spec"] == {"replicas": 1}
        assert found["status"] == {"replicas": 0, "selector": "app=a"}
        changed = await server("PUT", path, {**found, "spec": {"replicas": 4}})
        assert changed.json["spec"] == {"replicas": 4}
        assert (await server.patch(path, {"spec": {"replicas": 5}})).json["spec"] == {"replicas": 5}
        whole = (await server("GET", f"{APPS}/deployments/a")).json
        assert (whole["spec"]["replicas"], whole["metadata"]["generation"]) == (5, 3)
        stale = await server("PUT", path, found)
        assert stale.status == 409

    run(test)


def test_events_are_one_object_under_two_names() -> None:
    async def test(server: Server) -> None:
        new = "/apis/events.k8s.io/v1/namespaces/default/events"
        body = {
            "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "n",
            "reason": "r", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z",
            "action": "a", "reportingController": "c", "reportingInstance": "c-1",
        }  # fmt: skip
        made = await server.create(new, body)
        assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "n")
        core = (await server("GET", "/api/v1/namespaces/default/events/e")).json
        assert (core["apiVersion"], core["message"]) == ("v1", "n")
        assert core["involvedObject"]["name"] == "p"
        assert (await server.patch(f"{new}/e", {"note": "m"})).status == 422
        await server.patch("/api/v1/namespaces/default/events/e", {"message": "m"})
        listed = (await server("GET", f"{new}?fieldSelector=regarding.name=p")).json
        assert [one["note"] for one in listed["items"]] == ["m"]
        first, second = listed["items"][0]["metadata"]["managedFields"]
        assert not first["fieldsV1"].keys() & {"f:deprecatedFirstTimestamp", "f:deprecatedLastTimestamp"}
        assert ("f:note" in first["fieldsV1"], first["apiVersion"]) == (True, "events.k8s.io/v1")
        assert (second["fieldsV1"], second["apiVersion"]) == ({"f:message": {}}, "v1")
        assert (await server("DELETE", f"{new}/e")).status == 200
        assert (await server("GET", "/api/v1/namespaces/default/events/e")).status == 404
        for gone in (await server("DELETE", f"{new}/e"), await server.patch(f"{new}/e", {})):
            assert gone.json["message"] == 'events.events.k8s.io "e" not found'

    run(test)


def test_a_lease_does_not_say_who_shall_have_it() -> None:
    async def test(server: Server) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        spec = {"holderIdentity": "h", "strategy": "OldestEmulationVersion", "preferredHolder": "p"}
        made = await server.create(path, {"metadata": {"name": "x"}, "spec": spec})
        assert made["spec"] == {"holderIdentity": "h"}
        changed = await server.patch(f"{path}/x", {"spec": spec})
        assert changed.json["spec"] == {"holderIdentity": "h"}

    run(test)


def test_who_deletes_jobs_is_told_that_their_pods_stay() -> None:
    async def test(server: Server) -> None:
        path = "/apis/batch/v1/namespaces/default/jobs"
        told = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove"
        for where, query, warned in (
            ("/none", "", True), ("/none", "?propagationPolicy=Orphan", False), ("/j", "", True), ("", "", True),
            ("", "?propagationPolicy=Background", False),
        ):  # fmt: skip
            pod = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
            await server("POST", path, {"metadata": {"name": "j"}, "spec": {"template": pod}})
            answer = await server("DELETE", f"{path}{where}{query}")
            assert (told in answer.headers.get("warning", "")) is warned

    run(test)


def test_who_finalizes_a_namespace_says_who_still_has_to() -> None:
    async def test(server: Server) -> None:
        path = "/api/v1/namespaces"
        await server.create(path, {"metadata": {"name": "x", "labels": {"a": "b"}}})
        body = {"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes", "bad"]}, "status": {"phase": "Gone"}}
        refused = await server("PUT", f"{path}/x/finalize", body)
        assert refused.json["details"]["causes"][0]["field"] == "spec.finalizers[1]"
        done = await server("PUT", f"{path}/x/finalize", {**body, "spec": {"finalizers": ["kubernetes", "e.com/f"]}})
        assert done.json["spec"] == {"finalizers": ["kubernetes", "e.com/f"]}
        assert done.json["status"] == {"phase": "Active"}
        assert done.json["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
        assert done.json["metadata"]["managedFields"][-1]["subresource"] == "finalize"
        for verb in ("GET", "PATCH", "DELETE"):
            assert (await server(verb, f"{path}/x/finalize", {})).status == 405

    run(test)


def test_a_new_object_waits_for_the_former_one_to_go() -> None:
    async def test(server: Server) -> None:
        path = "/api/v1/namespaces/default/configmaps"
        held = {"metadata": {"name": "x", "finalizers": ["example.com/f"]}}
        await server.create(path, held)
        again = await server("POST", path, held)
        assert again.json["message"] == 'configmaps "x" already exists'
        await server("DELETE", f"{path}/x")
        for query in ("", "?dryRun=All"):
            again = await server("POST", path + query, held)
            assert again.json["message"] == 'object is being deleted: configmaps "x" already exists'

    run(test)


def test_tokens_last_as_long_as_their_account() -> None:
    async def test(server: Server) -> None:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await server.create(accounts, {"metadata": {"name": "robot"}})
        answer = await server("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 600}})
        assert answer.status == 201, answer.body
        token = answer.json["status"]["token"]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        who = await server("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, token=token)
        info = who.json["status"]["userInfo"]
        assert info["username"] == "system:serviceaccount:default:robot"
        assert "system:serviceaccounts:default" in info["groups"]
        forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
        assert (await server("GET", "/api/v1/nodes", token=forged)).status == 401
        await server("DELETE", f"{accounts}/robot")
        assert (await server("GET", "/api/v1/nodes", token=token)).status == 401

    run(test)


def test_a_token_for_another_audience_or_too_short_a_time_is_refused() -> None:
    async def test(server: Server) -> None:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await server.create(accounts, {"metadata": {"name": "robot"}})
        short = await server("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 60}})
        assert short.status == 422
        other = await server("POST", f"{accounts}/robot/token", {"spec": {"audiences": ["vault"]}})
        assert (await server("GET", "/api/v1/nodes", token=other.json["status"]["token"])).status == 401
        keys = (await server("GET", "/openid/v1/jwks")).json["keys"]
        assert [(key["kty"], key["crv"]) for key in keys] == [("EC", "P-256")]

    run(test)

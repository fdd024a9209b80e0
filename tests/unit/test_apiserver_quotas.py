"""ResourceQuotas and LimitRanges: what new objects take of them, and what is refused."""

from typing import Any

from tests.apiserver_app import Answer, Server, claim, run

Json = dict[str, Any]

NAMESPACE = "/api/v1/namespaces/default"
QUOTAS, PODS = f"{NAMESPACE}/resourcequotas", f"{NAMESPACE}/pods"
HARD = {"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi", "services.nodeports": "1", "count/secrets": "0"}
FITS: Json = {"requests": {"cpu": "600m"}, "limits": {"memory": "512Mi"}}


def pod(name: str, **resources: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}}


async def quota(ask: Server, name: str = "q", hard: Json = HARD, **spec: Any) -> None:
    """A quota that its controller has seen."""
    await ask.create(QUOTAS, {"metadata": {"name": name}, "spec": {"hard": hard, **spec}})
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    assert (await ask.patch(f"{QUOTAS}/{name}/status", {"status": status})).status == 200


async def used(ask: Server, name: str = "q") -> Json:
    found: Json = (await ask("GET", f"{QUOTAS}/{name}")).json["status"]["used"]
    return found


def refusal(answer: Answer) -> str:
    assert answer.status == 403
    return str(answer.json["message"]).partition(" is forbidden: ")[2]


def test_what_a_namespace_may_have_is_taken_until_it_is_gone() -> None:
    async def test(ask: Server) -> None:
        await quota(ask)
        assert refusal(await ask("POST", PODS, pod("a"))) == (
            "failed quota: q: must specify limits.memory for: c; requests.cpu for: c"
        )
        assert (await ask("POST", f"{PODS}?dryRun=All", pod("a", **FITS))).status == 201
        await ask.create(PODS, pod("a", **FITS))
        assert {what: amount for what, amount in (await used(ask)).items() if amount != "0"} == {
            "pods": "1", "requests.cpu": "600m", "limits.memory": "512Mi",
        }  # fmt: skip
        assert refusal(await ask("POST", PODS, pod("b", **FITS))) == (
            "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
        )
        assert "count/secrets=1" in refusal(await ask("POST", f"{NAMESPACE}/secrets", {"metadata": {"name": "s"}}))
        ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
        service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}}
        assert "requested: services.nodeports=2," in refusal(await ask("POST", f"{NAMESPACE}/services", service))
        owners = (await ask("GET", f"{QUOTAS}/q")).json["metadata"]["managedFields"]
        assert "kube-apiserver" in [one["manager"] for one in owners if one.get("subresource")]

    run(test)


def test_a_quota_that_no_controller_has_seen_refuses_nothing() -> None:
    async def test(ask: Server) -> None:
        await ask.create(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
        await ask.create(PODS, pod("a"))

    run(test)


def test_scopes_choose_pods() -> None:
    async def test(ask: Server) -> None:
        await quota(ask, "best", {"pods": "0"}, scopes=["BestEffort"])
        terms = [{"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]
        await quota(ask, "critical", {"pods": "0"}, scopeSelector={"matchExpressions": terms})
        assert "exceeded quota: best" in refusal(await ask("POST", PODS, pod("a")))
        await ask.create(PODS, pod("b", **FITS))
        critical = pod("c", **FITS)
        critical["spec"]["priorityClassName"] = "system-node-critical"
        assert "exceeded quota: critical" in refusal(await ask("POST", PODS, critical))

    run(test)


def test_claims_count_by_class_and_size() -> None:
    hard = {"requests.storage": "2Gi", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi"}

    async def test(ask: Server) -> None:
        await quota(ask, "q", hard)
        claims = f"{NAMESPACE}/persistentvolumeclaims"
        await ask.create(claims, claim("a", storageClassName="fast"))
        assert "fast.storageclass" in refusal(await ask("POST", claims, claim("b", storageClassName="fast")))
        await ask.create(claims, claim("b"))
        assert await used(ask) == {**hard, "requests.storage": "2Gi"}

    run(test)


def test_what_a_changed_object_takes_more_is_taken_too() -> None:
    hard = {"services.loadbalancers": "1", "services.nodeports": "1", "requests.cpu": "1", "requests.storage": "2Gi"}
    service: Json = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}

    async def test(ask: Server) -> None:
        await quota(ask, "q", hard)
        await ask.create(f"{NAMESPACE}/services", service)
        for wanted in ("NodePort", "LoadBalancer"):  # its port is counted already
            changed = await ask.patch(f"{NAMESPACE}/services/s", {"spec": {"type": wanted}})
            assert changed.status == 200
        assert await used(ask) == {**hard, "requests.cpu": "0", "requests.storage": "0"}
        two = {"spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}}
        for query in ("", "?dryRun=All"):
            assert refusal(await ask.patch(f"{NAMESPACE}/services/s{query}", two)) == (
                "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, "
                "limited: services.nodeports=1"
            )
        await ask.create(PODS, pod("a", requests={"cpu": "600m"}))
        more = [{"name": "c", "resources": {"requests": {"cpu": "1100m"}}}]
        resized = await ask.patch(f"{PODS}/a/resize", {"spec": {"containers": more}}, "strategic")
        assert "requested: requests.cpu=500m, used: requests.cpu=600m" in refusal(resized)
        more[0]["resources"] = {"requests": {"cpu": "900m"}}
        assert (await ask.patch(f"{PODS}/a/resize", {"spec": {"containers": more}}, "strategic")).status == 200
        assert (await used(ask))["requests.cpu"] == "900m"
        assert (await ask.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "y"}}})).status == 200

    run(test)


def test_what_a_pod_asks_for_itself_counts() -> None:
    own = pod("a")
    own["spec"]["resources"] = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}

    async def test(ask: Server) -> None:
        await quota(ask, "q", {"requests.cpu": "1"})
        assert "requested: requests.cpu=2, used: requests.cpu=0" in refusal(await ask("POST", PODS, own))

    run(test)


def test_limit_ranges_fill_in_and_refuse() -> None:
    limits = [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"},
         "min": {"cpu": "50m"}, "maxLimitRequestRatio": {"cpu": "5"}},
        {"type": "Pod", "max": {"memory": "256Mi"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}},
    ]  # fmt: skip
    fine = {"memory": "128Mi"}

    async def test(ask: Server) -> None:
        await ask.create(f"{NAMESPACE}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}})
        made = await ask.create(PODS, pod("a", limits=fine, requests=fine))
        assert made["spec"]["containers"][0]["resources"] == {
            "limits": {"cpu": "500m", **fine}, "requests": {"cpu": "100m", **fine},
        }  # fmt: skip
        assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        )
        for resources, why in (
            ({"limits": {"cpu": "2", **fine}}, "maximum cpu usage per Container is 1, but limit is 2"),
            (
                {"requests": {"cpu": "10m"}, "limits": fine},
                "minimum cpu usage per Container is 50m, but request is 10m",
            ),
            ({"limits": {"memory": "1Gi"}}, "maximum memory usage per Pod is 256Mi, but limit is 1Gi"),
            ({"limits": {"cpu": "1", **fine}, "requests": {"cpu": "100m"}}, "but provided ratio is 10.000000"),
            ({}, "maximum memory usage per Pod is 256Mi.  No limit is specified"),
        ):
            assert why in refusal(await ask("POST", PODS, pod("b", **resources)))
        more = [{"name": "c", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]
        resized = await ask.patch(f"{PODS}/a/resize", {"spec": {"containers": more}}, "strategic")
        assert refusal(resized) == "maximum cpu usage per Container is 1, but limit is 2"

    run(test)

"""Addresses and node ports of Services: given out once, given back, said when there are no more."""

import asyncio

from tests.apiserver_app import Server, run, service, serving, settings

SERVICES = "/api/v1/namespaces/default/services"
NET = "/apis/networking.k8s.io/v1"


def test_addresses_and_ports_come_back_when_services_go() -> None:
    async def test(ask: Server) -> None:
        for _ in range(3):  # more than fit at once: 100 node ports
            for i in range(60):
                await ask.create(SERVICES, service(f"s{i}", type="NodePort"))
            await ask("DELETE", SERVICES)
            await ask("DELETE", f"{SERVICES}/kubernetes")

    run(test)


def test_a_full_range_is_said_and_leaves_nothing_behind() -> None:
    async def test(ask: Server) -> None:
        for i in range(3):
            await ask.create(SERVICES, service(f"s{i}", type="NodePort"))
        refused = await ask("POST", SERVICES, service("more", type="NodePort"))
        assert (refused.status, refused.json["reason"]) == (500, "InternalError")
        assert "range is full" in refused.json["message"]
        await ask("DELETE", f"{SERVICES}/s0")
        await ask.create(SERVICES, service("more", type="NodePort"))

    run(test, given=settings(ports=(30000, 30002)))


def test_a_failed_write_gives_back_what_it_took() -> None:
    async def test(ask: Server) -> None:
        await ask.create(SERVICES, service("s", type="NodePort"))
        for _ in range(300):
            assert (await ask("POST", SERVICES, service("s", type="NodePort"))).status == 409
        for i in range(99):
            await ask.create(SERVICES, service(f"n{i}", type="NodePort"))

    run(test)


def test_allocations_survive_a_restart() -> None:
    async def body() -> None:
        async with serving() as first:
            made = await first.create(SERVICES, service("s", type="NodePort"))
            taken = made["spec"]["ports"][0]["nodePort"]
            store = first.store
            async with serving(store=store) as second:
                asked = service("t", type="NodePort", ports=[{"port": 80, "nodePort": taken}])
                refused = await second("POST", SERVICES, asked)
                assert "provided port is already allocated" in refused.json["message"]
                asked = service("t", clusterIP=made["spec"]["clusterIP"])
                refused = await second("POST", SERVICES, asked)
                assert "provided IP is already allocated" in refused.json["message"]

    asyncio.run(body())


def test_dual_stack_clusters_give_two_addresses() -> None:
    async def test(ask: Server) -> None:
        both = (await ask.create(SERVICES, service("s", ipFamilyPolicy="RequireDualStack")))["spec"]
        assert both["ipFamilies"] == ["IPv4", "IPv6"]
        assert both["clusterIPs"][1].startswith("fd00:")
        one = (await ask.patch(f"{SERVICES}/s", {"spec": {"ipFamilyPolicy": "SingleStack"}})).json["spec"]
        assert one["clusterIPs"] == both["clusterIPs"][:1]
        again = await ask("POST", SERVICES, service("t", clusterIP=both["clusterIPs"][1], ipFamilies=["IPv6"]))
        assert again.status == 201, again.body

    run(test, given=settings("10.96.0.0/24,fd00::/112"))


def test_concurrent_creations_never_share() -> None:
    async def test(ask: Server) -> None:
        made = await asyncio.gather(*(ask.create(SERVICES, service(f"s{i}", type="NodePort")) for i in range(90)))
        assert len({one["spec"]["clusterIP"] for one in made}) == 90
        assert len({one["spec"]["ports"][0]["nodePort"] for one in made}) == 90

    run(test)


def test_a_manifest_may_be_put_again_and_endpoints_go_with_their_service() -> None:
    async def test(ask: Server) -> None:
        endpoints = "/api/v1/namespaces/default/endpoints"
        made = await ask.create(SERVICES, service("s", type="NodePort"))
        put = await ask("PUT", f"{SERVICES}/s", service("s", type="NodePort"))
        assert (put.status, put.json["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])
        assert put.json["spec"] == made["spec"]
        await ask.create(endpoints, {"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]})
        await ask("DELETE", f"{SERVICES}/s")
        assert (await ask("GET", f"{endpoints}/s")).status == 404

    run(test)


def test_a_dry_run_is_told_numbers_that_nobody_gets() -> None:
    async def test(ask: Server) -> None:
        asked = service("s", type="LoadBalancer", externalTrafficPolicy="Local")
        for _ in range(2):
            spec = (await ask("POST", f"{SERVICES}?dryRun=All", asked)).json["spec"]
            told = spec["clusterIP"], spec["ports"][0]["nodePort"], spec["healthCheckNodePort"]
            assert told == ("10.96.0.0", 32769, 32770)
        made = (await ask.create(SERVICES, service("s")))["spec"]
        changed = await ask.patch(f"{SERVICES}/s?dryRun=All", {"spec": {"type": "NodePort"}})
        assert changed.json["spec"]["ports"][0]["nodePort"] == 32769
        assert (await ask("GET", f"{SERVICES}/s")).json["spec"] == made

    run(test)


def test_a_service_that_becomes_a_name_shows_nothing_of_what_it_was() -> None:
    async def test(ask: Server) -> None:
        await ask.create(SERVICES, service("s", type="NodePort", internalTrafficPolicy="Local"))
        changed = await ask.patch(f"{SERVICES}/s", {"spec": {"type": "ExternalName", "externalName": "a.b"}})
        assert changed.json["spec"] == {
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"app": "web"},
            "type": "ExternalName",
            "externalName": "a.b",
            "sessionAffinity": "None",
        }

    run(test)


def test_each_cluster_ip_is_an_object_as_long_as_its_service_is() -> None:
    async def test(server: Server) -> None:
        async def names() -> list[str]:
            return [one["metadata"]["name"] for one in (await server("GET", f"{NET}/ipaddresses")).json["items"]]

        made = await server.create(
            "/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        )
        ip = made["spec"]["clusterIP"]
        assert ip in await names()
        found = (await server("GET", f"{NET}/ipaddresses/{ip}")).json
        assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "not one transaction"
        assert found["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "s"}
        external = {"spec": {"type": "ExternalName", "externalName": "x.y"}}
        assert (await server.patch("/api/v1/namespaces/default/services/s", external)).status == 200
        assert ip not in await names()
        await server.patch("/api/v1/namespaces/default/services/s", {"spec": {"type": "ClusterIP"}})
        assert len(await names()) == 2
        await server("DELETE", "/api/v1/namespaces/default/services/s")
        assert await names() == ["10.96.0.1"]

    run(test)


def test_an_address_somebody_reserved_is_not_handed_out() -> None:
    async def test(server: Server) -> None:
        reserved = {"metadata": {"name": "10.96.0.77"}, "spec": {"parentRef": {"resource": "x", "name": "y"}}}
        await server.create(f"{NET}/ipaddresses", reserved)
        body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}}
        refused = await server("POST", "/api/v1/namespaces/default/services", body)
        assert refused.status == 422
        assert (await server("DELETE", f"{NET}/ipaddresses/10.96.0.77")).status == 200
        assert (await server("POST", "/api/v1/namespaces/default/services", body)).status == 201

    run(test)

"""kube-proxy's tables of change trackers and health checks, replayed. Collected only where the facts lie."""

import asyncio
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed
from netplane.nft.types import FAMILIES, IPV4, PROTOCOLS
from proxy import health
from proxy.plan import desired, nodeports, services, slices
from proxy.plan.changes import Tracker
from proxy.plan.flows import TCP, UDP, Expected, Seen, stale
from proxy.plan.model import LOCAL, READY, SERVING, TERMINATING, Health, Node, Options, frontend_key
from proxy.plan.slices import Slice
from proxy.triggers import Triggers

TABLES = Path(__file__).parents[2] / ".." / "shared" / "facts" / "tables"
NODE = "test-hostname"
Endpoints = Mapping[tuple[str, int], Iterable[Any]]


def table(name: str, prefix: str) -> dict[str, Any]:
    found = json.loads((TABLES / f"{name}.json").read_text())
    return {key.removeprefix(f"{prefix}_test.go:"): value for key, value in found.items()}


def make_slice(
    service: str, name: str, endpoints: list[dict[str, Any]], ports: list[dict[str, Any]], kind: str = "IPv4"
) -> EndpointSlice:
    namespace, _, short = service.partition("/")
    labels = {"kubernetes.io/service-name": short}
    said = {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "addressType": kind,
        "endpoints": endpoints,
        "ports": ports,
    }
    return msgspec.convert(said, EndpointSlice)


def generated(call: Any, *, kind: str = "IPv4") -> EndpointSlice:
    """The tables' generateEndpointSlice(service, namespace, n[, offset], count, unready mod, terminating mod, …)."""
    args = list(call["args"])
    if call["call"] == "generateEndpointSlice":
        args.insert(3, args[2])
    name, namespace, number, offset, count, unready, terminating, hosts, ports = args
    endpoints = []
    for i in range(1, count + 1):
        serving, leaving = i % unready != 0, i % terminating == 0
        conditions = {"ready": serving and not leaving, "serving": serving, "terminating": leaving}
        endpoint = {"addresses": [f"10.0.{offset}.{i}"], "conditions": conditions}
        endpoints.append({**endpoint, "nodeName": hosts[i % len(hosts)]} if hosts else endpoint)
    listed = [{"name": f"port-{i}", "port": port, "protocol": "TCP"} for i, port in enumerate(ports)]
    return make_slice(f"{namespace}/{name}", f"{name}-{number}", endpoints, listed, kind)


def flags(row: Mapping[str, Any]) -> int:
    return (
        (READY if row["ready"] else 0)
        | (SERVING if row["serving"] else 0)
        | (TERMINATING if row["terminating"] else 0)
        | (LOCAL if row.get("isLocal") else 0)
    )


def service_port(key: str) -> tuple[str, str, int]:
    """`map[args:[ns1 svc1 port-0 ProtocolTCP] call:makeServicePortName]` → (ns1/svc1, port-0, 6)."""
    namespace, name, port, protocol = re.search(r"args:\[(\S+) (\S+) (\S*) Protocol(\w+)\]", key).groups()  # type: ignore[union-attr]  # or fail
    return f"{namespace}/{name}", port, PROTOCOLS[protocol.lower()]


def wanted(said: Mapping[str, Any] | None) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    found = {}
    for key, rows in (said or {}).items():
        if key.startswith("map["):
            listed = [r for r in rows.values() if isinstance(r, dict)] if isinstance(rows, dict) else rows
            found[service_port(key)] = {(row["endpoint"], flags(row)) for row in listed}
    return found


def shown(service: str, merged: Endpoints) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    def text(data: bytes) -> str:
        return f"{ipaddress.ip_address(data[:4])}:{int.from_bytes(data[4:6], 'big')}"

    return {
        (service, name, protocol): {(text(endpoint.data), endpoint.flags) for endpoint in found}
        for (name, protocol), found in merged.items()
    }


def state(tracker: Tracker, keys: Iterable[str]) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    found: dict[tuple[str, str, int], set[tuple[str, int]]] = {}
    for key in keys:
        found.update(shown(key, slices.merge(tracker.slices(key), IPV4)))
    return {key: rows for key, rows in found.items() if rows}


class Watched:
    """A tracker that is fed as an informer feeds it."""

    def __init__(self, node: str = NODE) -> None:
        self.tracker = Tracker()
        self._node = node
        self._held: dict[str, Slice] = {}

    def put(self, item: EndpointSlice) -> bool:
        old, new = self._held.get(item.key), slices.read(item, self._node)
        if new is not None:
            self._held[item.key] = new
        return self.tracker.slice_changed(old, new)

    def delete(self, item: EndpointSlice) -> bool:
        return self.tracker.slice_changed(self._held.pop(item.key, None), None)


if TABLES.is_dir():
    CACHE = table("pkg_proxy_endpointslicecache", "endpointslicecache")
    CHANGES = table("pkg_proxy_endpointschangetracker", "endpointschangetracker")
    SERVICES = table("pkg_proxy_servicechangetracker", "servicechangetracker")

    def named(found: Any) -> Any:
        cases = (
            {name: row for name, row in found.items() if isinstance(row, dict)}
            if isinstance(found, dict)
            else {row["name"]: row for row in found}
        )
        return pytest.mark.parametrize("row", list(cases.values()), ids=list(cases))

    # Endpoint slices ---------------------------------------------------------------------------------------------

    def duplicate_with_a_terminating_twin(first: bool) -> list[EndpointSlice]:
        """The one row whose slices are a function: the same address twice, terminating (in the first slice) and not."""
        port = [{"name": "port-0", "port": 80, "protocol": "TCP"}]
        ready = {"ready": True, "serving": True, "terminating": False}
        leaving = {"ready": False, "serving": True, "terminating": True}
        one = {"addresses": ["10.0.1.1"], "nodeName": "host1"}
        return [
            make_slice("ns1/svc1", f"svc1-{i}", [{**one, "conditions": conditions}], port)
            for i, conditions in enumerate((leaving, ready) if first else (ready, leaving))
        ]

    @pytest.mark.parametrize("first", [False, True])
    @named({**CACHE["TestEndpointsMapFromESC#1"], **CACHE["TestEndpointInfoByServicePort#1"]})
    def test_endpoints_of_slices(row: dict[str, Any], first: bool) -> None:
        service = f"{row['namespacedName']['Namespace']}/{row['namespacedName']['Name']}"
        items = (
            duplicate_with_a_terminating_twin(first)
            if row["endpointSlices"][0]["args"] is None
            else [generated(call) for call in row["endpointSlices"] if None not in call["args"][-1]]
        )
        # The same slice twice is an update; else the order in which slices come must not matter.
        updates = len({item.key for item in items}) < len(items)
        watched = Watched(row.get("hostname", ""))
        for item in items[::-1] if first and not updates else items:
            watched.put(item)
        assert state(watched.tracker, [service]) == wanted(row["expectedMap"])

    @named(CACHE["TestEsDataChanged#4"])
    def test_what_counts_as_a_change_of_a_slice(row: dict[str, Any]) -> None:
        """Order of ports alone changes nothing here: the reference looks again, and finds nothing."""
        ports = {"$port80": {"name": "http", "port": 80}, "$port443": {"name": "https", "port": 443}}
        endpoints = {"$endpoint1": {"addresses": ["10.0.1.0"]}, "$endpoint2": {"addresses": ["10.0.1.1"]}}

        def made(said: dict[str, Any]) -> EndpointSlice:
            listed = [endpoints[name] for name in said.get("Endpoints", ())]
            return make_slice("ns1/svc1", "svc1-0", listed, [ports[name] for name in said["Ports"]])

        watched = Watched()
        watched.put(made(row["initialSlice"]))
        assert watched.put(made(row["updatedSlice"])) == row["expectChanged"]

    @pytest.mark.parametrize("twice", [False, True])
    @named(CACHE["TestEndpointSliceCacheClearedCorrectly#3"])
    def test_nothing_is_left_of_deleted_slices(row: dict[str, Any], twice: bool) -> None:
        watched = Watched()
        made = []
        for call in row["currEndpointSlices"]:
            namespace, name, number, _ = call["args"]
            port = [{"name": "n1", "port": 11, "protocol": "UDP"}]
            endpoint = [{"addresses": ["1.1.1.1"], "nodeName": NODE}]
            made.append(make_slice(f"{namespace}/{name}", f"{name}-{number}", endpoint, port))
        for item in made * (2 if twice else 1):
            watched.put(item)
        assert all(watched.delete(item) for item in made)
        assert state(watched.tracker, {"ns1/ep1", "ns1/ep2", "ns2/ep1"}) == {}

    @named(CHANGES["TestEndpointSliceUpdate#3"])
    def test_slices_come_and_go(row: dict[str, Any]) -> None:
        watched = Watched("host1")
        for call in row["startingSlices"]:
            watched.put(generated(call))
        before = state(watched.tracker, ["ns1/svc1"])
        call = row["paramEndpointSlice"]
        item = (
            make_slice("ns1/svc1", "fqdn", [{"addresses": ["example.com"]}], [{"port": 80}], "FQDN")
            if isinstance(call, str)
            else generated(call)
        )
        changed = watched.delete(item) if row["paramRemoveSlice"] else watched.put(item)
        assert changed == row["expectedReturnVal"]
        after = state(watched.tracker, ["ns1/svc1"])
        assert after == (before if row["expectedCurrentChange"] is None else wanted(row["expectedCurrentChange"]))

    @named(CHANGES["TestCheckoutChanges#1"])
    def test_what_is_to_be_done_is_told_once(row: dict[str, Any]) -> None:
        watched = Watched("")
        for call in row["appliedSlices"]:
            watched.put(generated(call))
        watched.tracker.take()
        for call in row["pendingSlices"]:
            watched.put(generated(call))
        assert watched.tracker.take() == ({"ns1/svc1"} if row["expectedChanges"] else set())
        assert watched.tracker.take() == set()
        for change in row["expectedChanges"]:
            current = {
                n: {(r["endpoint"], flags(r)) for r in rows} for n, rows in change["current"].items() if n != "_line"
            }
            names = {
                f"svcPortName{port[-1]}": found for (_, port, _), found in state(watched.tracker, ["ns1/svc1"]).items()
            }
            assert names == current

    @named(CHANGES["TestUpdateEndpointsMap#55"])
    def test_states_follow_one_another(row: dict[str, Any]) -> None:
        """The slices of these rows have no content in the table; one per service port gives the same two states."""

        def items(said: Mapping[str, Any]) -> dict[str, EndpointSlice]:
            made = {}
            for key, rows in said.items():
                if not key.startswith("map["):
                    continue
                service, name, protocol = service_port(key)
                by_port: dict[int, list[dict[str, Any]]] = {}
                for one in rows:
                    conditions = {c: one[c] for c in ("ready", "serving", "terminating")}
                    endpoint = {"addresses": [one["ip"]], "nodeName": NODE if one["isLocal"] else "far"}
                    by_port.setdefault(one["port"], []).append({**endpoint, "conditions": conditions})
                for number, endpoints in by_port.items():
                    port = {"name": name, "port": number, "protocol": "TCP" if protocol == TCP else "UDP"}
                    item = make_slice(service, f"{name or 'x'}-{number}".lower(), endpoints, [port])
                    made[item.key] = item
            return made

        before, after = items(row["previousEndpointsMap"]), items(row["expectedResult"])
        watched = Watched()
        for item in before.values():
            watched.put(item)
        keys = watched.tracker.take() | {slices.read(item, "").service for item in after.values()}  # type: ignore[union-attr]  # all are ours
        assert state(watched.tracker, keys) == wanted(row["previousEndpointsMap"])
        for key in before.keys() - after.keys():
            watched.delete(before[key])
        for item in after.values():
            watched.put(item)
        changed = row["expectedChangedEndpoints"]["args"] or []
        calls = changed if changed and isinstance(changed[0], dict) else [{"args": changed}] if changed else []
        assert watched.tracker.take() == {"/".join(call["args"]) for call in calls}
        assert state(watched.tracker, keys) == wanted(row["expectedResult"])
        local = {
            service_port_name(key): count for key, count in row["expectedLocalEndpoints"].items() if key != "_line"
        }
        assert {k: n for k, n in ((k, local_count(watched.tracker, k)) for k in keys) if n} == {
            k: n for k, n in local.items() if n
        }

    def service_port_name(key: str) -> str:
        namespace, name = re.search(r"args:\[(\S+) (\S+)\]", key).groups()  # type: ignore[union-attr]  # or fail
        return f"{namespace}/{name}"

    def local_count(tracker: Tracker, key: str) -> int:
        namespace, _, name = key.partition("/")
        spec = {
            "clusterIP": "10.0.0.1",
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 1,
            "type": "LoadBalancer",
        }
        said = msgspec.convert({"metadata": {"namespace": namespace, "name": name}, "spec": spec}, Service)
        found = desired.health(services.read(said), tracker.slices(key))
        assert found is not None
        return found.local_endpoints

    @pytest.mark.parametrize("row", CHANGES["TestGetLocalEndpointIPs#1"], ids=str)
    def test_local_endpoints_are_counted_by_address(row: dict[str, Any]) -> None:
        watched = Watched()
        keys = set()
        for n, (key, rows) in enumerate(row["endpointsMap"].items()):
            if not key.startswith("map["):
                continue
            service, name, _ = service_port(key)
            keys.add(service)
            for m, one in enumerate(rows):
                conditions = {c: one[c] for c in ("ready", "serving", "terminating")}
                endpoint = {"addresses": [one["ip"]], "nodeName": NODE if one["isLocal"] else "far"}
                port = [{"name": name, "port": one["port"], "protocol": "TCP"}]
                watched.put(make_slice(service, f"s-{n}-{m}", [{**endpoint, "conditions": conditions}], port))
        expected = {}
        for key, said in row["expected"].items():
            if key.startswith("map["):
                name, namespace = re.search(r"Name:(\S+) Namespace:(\S+)", key).groups()  # type: ignore[union-attr]  # or fail
                expected[f"{namespace}/{name}"] = len(said["args"]) if isinstance(said, dict) else 1
        counted = {key: local_count(watched.tracker, key) for key in keys}
        assert {key: n for key, n in counted.items() if n} == expected

    T = [f"2018-01-01T00:00:0{n}Z" for n in range(5)]
    STORIES: dict[str, list[tuple[str, str, str | None]]] = {
        "Single addEndpoints": [("put", "ns/ep1", T[0])],
        "addEndpoints then updatedEndpoints": [("put", "ns/ep1", T[0]), ("put", "ns/ep1", T[1])],
        "Add two endpoints then modify one": [
            ("put", "ns/ep1", T[1]),
            ("put", "ns/ep2", T[2]),
            ("put", "ns/ep1", T[3]),
        ],
        "Endpoints without annotation set": [("put", "ns/ep1", None)],
        "Endpoints create before tracker started": [("put", "ns/ep1", "2017-01-01T00:00:00Z")],
        "addEndpoints then deleteEndpoints": [("put", "ns/ep1", T[1]), ("delete", "ns/ep1", None)],
        "add then delete then add again": [
            ("put", "ns/ep1", T[0]),
            ("delete", "ns/ep1", None),
            ("put", "ns/ep1", T[2]),
        ],
        "delete": [("delete", "ns/ep1", None)],
    }

    @named(CHANGES["TestLastChangeTriggerTime#5"])
    def test_trigger_times(row: dict[str, Any]) -> None:
        start = 1_514_764_800.0  # 2018-01-01
        triggers = Triggers(start)
        for verb, service, text in STORIES[row["name"]]:
            if verb == "put":
                triggers.seen(service, text)
            else:
                triggers.gone(service)
        told = [int(time[2]) for key, times in row["expected"].items() if key != "_line" for time in times]
        assert sorted(triggers.take(start + 10)) == sorted(10.0 - int(n) for n in told)

    # Services ----------------------------------------------------------------------------------------------------

    # The table makes these services with functions; here they are, by the rows' names.
    PLAIN: dict[str, dict[str, Any]] = {
        "headless service": {"clusterIP": "None", "ports": [("rpc", "UDP", 1234)]},
        "headless sctp service": {"clusterIP": "None", "ports": [("sip", "SCTP", 7777)]},
        "headless service without port": {"clusterIP": "None"},
        "cluster ip service": {"clusterIP": "172.16.55.4", "ports": [("p1", "UDP", 1234), ("p2", "UDP", 1235)]},
        "nodeport service": {"clusterIP": "172.16.55.10", "ports": [("port1", "UDP", 345), ("port2", "TCP", 344)]},
        "load balancer service": {
            "clusterIP": "172.16.55.11",
            "ports": [("port3", "UDP", 8675), ("port4", "UDP", 8676)],
        },
        "load balancer service with only local traffic policy": {
            "type": "LoadBalancer",
            "clusterIP": "172.16.55.12",
            "ports": [("portx", "UDP", 8677), ("porty", "UDP", 8678)],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 345,
        },
        "external name service": {
            "type": "ExternalName",
            "clusterIP": "172.16.55.4",
            "externalName": "foo2.bar.com",
            "ports": [("portz", "UDP", 1235)],
        },
    }
    for mode in ("VIP", "Proxy"):
        PLAIN[f"load balancer service ipMode {mode}"] = PLAIN["load balancer service"]
    WORDS = {
        "$testClusterIPv4": "10.0.0.1",
        "$testExternalIPv4": "8.8.8.8",
        "$testSourceRangeIPv4": "0.0.0.0/1",
        "$testClusterIPv6": "2001:db8:85a3:0:0:8a2e:370:7334",
        "$testExternalIPv6": "2001:db8:85a3:0:0:8a2e:370:7335",
        "$testSourceRangeIPv6": "2001:db8::/32",
    }

    def service_of(row: dict[str, Any]) -> Service | None:
        said = row["service"]
        if said is None:
            return None
        if "args" in said:
            spec = dict(PLAIN[row["desc"]])
            spec["ports"] = [{"name": n, "protocol": p, "port": port} for n, p, port in spec.get("ports", ())]
            ip_mode = row["desc"].rpartition("ipMode ")[2] if "ipMode" in row["desc"] else None
            ingress = [{"ip": "10.1.2.4", "ipMode": ip_mode}] if "load balancer" in row["desc"] else []
            namespace, name, _ = said["args"]
        else:
            old, meta = said["Spec"], said["ObjectMeta"]
            namespace, name = meta["Namespace"], meta["Name"]
            spec = {
                "clusterIP": WORDS[old["ClusterIP"]],
                "externalIPs": [WORDS[ip] for ip in old.get("ExternalIPs", ())],
                "loadBalancerSourceRanges": [WORDS.get(r, r) for r in old.get("LoadBalancerSourceRanges", ())],
                "ports": [{"name": p["Name"], "port": p["Port"]} for p in old["Ports"]],
            }
            status = said.get("Status", {"LoadBalancer": {"Ingress": []}})
            ingress = [{"ip": WORDS[item["IP"]]} for item in status["LoadBalancer"]["Ingress"]]
        plain = {"metadata": {"namespace": namespace, "name": name}, "spec": spec}
        return msgspec.convert({**plain, "status": {"loadBalancer": {"ingress": ingress}}}, Service)

    @pytest.mark.parametrize("row", SERVICES["TestServiceToServiceMap#1"], ids=lambda row: row["desc"])
    def test_services_by_family(row: dict[str, Any]) -> None:
        family = FAMILIES[row["ipFamily"] == "IPv6Protocol"]
        said = service_of(row)
        view = services.read(said).view(family) if said is not None else None
        found = {}
        for port in view.ports if view is not None else ():
            assert view is not None
            found[f"{view.key}:{port.name}", port.protocol] = (view.cluster_ip, port.port, view.health_port)
        expected = {}
        for key, call in row.get("expected", {}).items():
            if key.startswith("map["):
                service, name, protocol = service_port(key)
                address, number, _, health_port = call["args"][:4]
                expected[f"{service}:{name}", protocol] = (packed(WORDS.get(address, address)), number, health_port)
        assert found == expected
        if view is None:
            return
        assert {len(a) for a in (*view.external_ips, *view.load_balancer_ips)} <= {family.address.size}
        assert all(len(both) == 2 * family.address.size for both in view.source_ranges or ())
        if "load balancer" in row["desc"]:
            assert view.load_balancer_ips == (() if "Proxy" in row["desc"] else (packed("10.1.2.4"),))
        if "extra space" in row["desc"]:
            assert view.source_ranges == (packed("10.1.2.0") + packed("10.1.2.15"),)

    def test_services_are_added_updated_and_removed() -> None:
        rows = {row["desc"]: row for row in SERVICES["TestServiceToServiceMap#1"]}
        tracker = Tracker()
        local = services.read(cast(Service, service_of(rows["load balancer service with only local traffic policy"])))
        cluster = services.read(cast(Service, service_of(rows["cluster ip service"])))
        assert [tracker.service_changed(None, item) for item in (local, cluster)] == [True, True]
        assert tracker.service_changed(local, local) is False
        assert tracker.take() == {"ns1/only-local-load-balancer", "ns2/cluster-ip"}
        assert tracker.service_changed(local, None) is True
        assert (tracker.take(), set(tracker.services)) == ({"ns1/only-local-load-balancer"}, {"ns2/cluster-ip"})

    # Health ------------------------------------------------------------------------------------------------------

    HEALTH = table("pkg_proxy_healthcheck_healthcheck", "healthcheck")

    def numbers(step: int) -> dict[str, int]:
        said = HEALTH[f"TestServer#{step}"]
        return {f"ns/{key.strip('$')}": n for key, n in said.items() if key.startswith("$")}

    def test_health_checks_follow_services_and_endpoints() -> None:
        """The table's steps: services with their ports (2, 7, 9) and counts of endpoints (3 to 6, 8, 10, 11)."""
        state = health.State(lambda: 0.0)
        checks = health.NodePortChecks(state)

        async def ask(ports: dict[str, int], counts: dict[str, int]) -> dict[str, bytes]:
            # No hosts: what would be answered is looked at, no port is opened.
            await checks.update({s: Health(s, port, counts.get(s, 0)) for s, port in ports.items()}, [])
            return {service: checks.answer(port) for service, port in ports.items()}

        async def scenario() -> None:
            for ports, steps in ((2, (0, 3, 4, 5, 6)), (7, (0, 8)), (9, (8, 10, 11))):
                for step in steps:
                    counts = numbers(step) if step else {}
                    for service, answer in (await ask(numbers(ports), counts)).items():
                        check(answer, service, counts.get(service, 0))
            assert checks.answer(9376).startswith(b"HTTP/1.1 404")

        def check(answer: bytes, service: str, count: int) -> None:
            head, _, body = answer.decode().partition("\r\n\r\n")
            assert head.split()[1] == ("200" if count else "503")
            lines = head.split("\r\n")
            for test, header in ((1, "Content-Type"), (2, "X-Content-Type-Options")):
                assert f"{header}: {HEALTH[f'tHandler#{test}'][0]}" in lines
            assert f"X-Load-Balancing-Endpoint-Weight: {count}" in lines
            assert json.loads(body)["service"]["name"] == service.partition("/")[2]
            assert json.loads(body)["localEndpoints"] == count

        asyncio.run(scenario())

    def test_health_checks_listen_where_node_ports_answer() -> None:
        (cidr,) = HEALTH["TestServerWithSelectiveListeningAddress#1"]
        here = Node("n", "", (), frozenset(map(packed, ("127.0.0.1", "192.0.2.1"))))
        assert nodeports.health_hosts([IPV4], here, Options(node_port_addresses=(cidr,))) == ("127.0.0.1",)
        assert nodeports.health_hosts([IPV4], here, Options(node_port_addresses=())) == ("",)

    @pytest.mark.parametrize("late", [False, True])
    def test_both_families_sync_in_one_run(late: bool) -> None:
        """The table's 14 steps tell the families apart; one run writes both here, so the older change counts."""
        clock = [0.0]
        state = health.State(lambda: clock[0], patience_s=10)
        state.synced()
        state.changed()
        clock[0] = 20.0 if late else 5.0
        state.changed()
        assert (state.healthz()[0], state.livez()[0]) == ((503, 503) if late else (200, 200))
        state.synced()
        assert (state.healthz()[0], state.livez()[0]) == (200, 200)

    # Flows -------------------------------------------------------------------------------------------------------

    FLOWS = table("pkg_proxy_conntrack_cleanup", "cleanup")

    @pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
    def test_every_flow_of_the_clean_up_table(protocol: str) -> None:
        """Every frontend and endpoint of the table; TCP to an endpoint in no slice is ended here, unlike there."""
        word = {key: value for key, value in FLOWS.items() if key.startswith("test")}
        number = PROTOCOLS[protocol]
        known = {name: packed(word[name]) for name in ("testServingEndpointIP", "testNonServingEndpointIP")}
        port = word["testEndpointPort"].to_bytes(2, "big") + b"\0\0"
        rows = {name: address + port for name, address in known.items()}
        expected = Expected(frozenset({rows["testServingEndpointIP"]}), frozenset(rows.values()))
        addresses = [packed(word[name.strip("$")]) for name in FLOWS["TestCleanStaleEntries#8"]]
        served = {frontend_key(a, number, word["testServicePort"]): expected for a in addresses}
        for address in addresses:
            for name in FLOWS["TestCleanStaleEntries#9"]:
                for asked in FLOWS["TestCleanStaleEntries#12"]:
                    endpoint = packed(word[name.strip("$")]) + port
                    seen = Seen(frontend_key(address, number, word[asked.strip("$")]), endpoint, True)
                    ended = list(stale([("flow", seen)], number, served)) == ["flow"]
                    ours = asked == "$testServicePort"
                    bad = {UDP: name != "$testServingEndpointIP", TCP: name == "$testDeletedEndpointIP"}
                    assert ended == (ours and bad.get(number, False))

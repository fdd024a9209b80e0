"""kube-proxy's tables of endpoint slices and their changes, replayed. Collected only where the facts lie."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from proxy.plan import desired, services, slices
from proxy.plan.changes import Tracker
from proxy.plan.flows import TCP
from proxy.triggers import Triggers
from tests.tracker_facts import (
    NODE,
    TABLES,
    Watched,
    flags,
    generated,
    make_slice,
    named,
    service_port,
    state,
    table,
    wanted,
)

if TABLES.is_dir():
    CACHE = table("pkg_proxy_endpointslicecache", "endpointslicecache")
    CHANGES = table("pkg_proxy_endpointschangetracker", "endpointschangetracker")

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

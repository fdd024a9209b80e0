"""kube-proxy's tables of services, replayed. Collected only where the facts lie."""

from typing import Any, cast

import msgspec
import pytest

from netplane.api.objects import Service
from netplane.net.addresses import packed
from netplane.nft.types import FAMILIES
from proxy.plan import services
from proxy.plan.changes import Tracker
from tests.tracker_facts import TABLES, service_port, table

if TABLES.is_dir():
    SERVICES = table("pkg_proxy_servicechangetracker", "servicechangetracker")

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

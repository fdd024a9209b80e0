"""Endpoints by hand as slices; accounts and certificates of namespaces; Events that are counted. As tables."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    ConfigMap,
    EndpointAddress,
    Endpoints,
    EndpointSlice,
    EndpointsPort,
    EndpointSubset,
    Event,
    Namespace,
    ObjectMeta,
    ObjectReference,
    Service,
    ServiceAccount,
    ServiceSpec,
)
from netplane.controllers.plan import accounts, events, mirroring
from netplane.controllers.plan.packing import port_key
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY, TRIGGER_TIME
from netplane.controllers.plan.world import SERVICE_NAME, World
from netplane.controllers.plan.writes import NOTHING, Create, Patch
from tests import controller_objects as made

KEY = "shop/db"


def service(**spec: Any) -> Service:
    return Service(metadata=ObjectMeta(name="db", namespace="shop"), spec=ServiceSpec(**spec))


def endpoints(*ips: str, not_ready: tuple[str, ...] = (), **meta: Any) -> Endpoints:
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=ip) for ip in ips] or None,
        not_ready_addresses=[EndpointAddress(ip=ip) for ip in not_ready] or None,
        ports=[EndpointsPort(name="sql", port=5432)],
    )
    return Endpoints(metadata=ObjectMeta(name="db", namespace="shop", uid="u", **meta), subsets=[subset])


class Cluster(made.Cluster):
    def sync(self) -> str:
        """C, R, D, and E for an Event; a second plan has nothing to do."""
        writes = self.perform(mirroring.NAME, KEY, mirroring.plan(self.world, KEY))
        assert mirroring.plan(self.world, KEY).writes == ()
        return made.letters(writes)

    @property
    def slices(self) -> list[EndpointSlice]:
        return sorted(self.world.slices.values(), key=lambda one: one.address_type)


def test_a_slice_for_each_family_says_what_the_endpoints_say() -> None:
    labels, annotations = (
        {"tier": "x", HEADLESS: "forged"},
        {"note": "y", TRIGGER_TIME: "t", mirroring.LAST_APPLIED: ""},
    )
    source = endpoints("192.0.2.1", "fd00::1", not_ready=("192.0.2.2",), labels=labels, annotations=annotations)
    cluster = Cluster(service(), source)
    assert cluster.sync() == "CC"
    four, six = cluster.slices
    assert [(e.addresses, e.conditions.ready) for e in four.endpoints or () if e.conditions] == [
        (["192.0.2.1"], True),
        (["192.0.2.2"], False),
    ]
    assert [e.addresses for e in six.endpoints or ()] == [["fd00::1"]]
    assert [(port.name, port.port) for port in four.ports or ()] == [("sql", 5432)]
    assert four.metadata.labels == {"tier": "x", SERVICE_NAME: "db", MANAGED_BY: mirroring.MANAGER}
    assert four.metadata.annotations == {"note": "y"}
    [owner] = four.metadata.owner_references or []
    assert (owner.kind, owner.uid, owner.controller) == ("Endpoints", "u", True)


def test_changes_are_followed_and_what_is_empty_goes() -> None:
    cluster = Cluster(service(), endpoints("192.0.2.1", "fd00::1"))
    cluster.sync()
    cluster.put(endpoints("192.0.2.9", "fd00::1"))
    assert cluster.sync() == "R"
    cluster.put(endpoints("192.0.2.9"))
    assert cluster.sync() == "D"
    cluster.put(endpoints("192.0.2.9", annotations={"note": "new"}))
    assert cluster.sync() == "R"
    cluster.put(service(cluster_ip="None"))
    assert cluster.sync() == "R"
    assert (cluster.slices[0].metadata.labels or {})[HEADLESS] == ""
    cluster.put(endpoints())
    assert cluster.sync() == "D"


@pytest.mark.parametrize(
    "objs",
    [
        [endpoints("192.0.2.1")],
        [service()],
        [service(selector={"app": "db"}), endpoints("192.0.2.1")],
        [service(), endpoints("192.0.2.1", labels={mirroring.SKIP: "true"})],
        [service(), endpoints("192.0.2.1", annotations={mirroring.LEADER: "{}"})],
    ],
)
def test_what_is_not_mirrored_has_no_slices(objs: list[Any]) -> None:
    cluster = Cluster(service(), endpoints("192.0.2.1"))
    cluster.sync()
    foreign = EndpointSlice(metadata=ObjectMeta(name="own", namespace="shop", labels={SERVICE_NAME: "db"}))
    cluster.put(foreign)
    for old in (cluster.world.services[KEY], cluster.world.endpoints[KEY]):
        cluster.world.apply(old, None, 0.0)
    for obj in objs:
        cluster.put(obj)
    assert cluster.sync() == "D"
    assert cluster.slices == [foreign]


def test_a_thousand_addresses_of_a_subset_and_no_nonsense() -> None:
    many = [f"10.{i // 250}.{i % 250}.1" for i in range(1005)]
    cluster = Cluster(service(), endpoints("nonsense", *many))
    assert cluster.sync() == "CEE"
    assert [len(one.endpoints or ()) for one in cluster.slices] == [1000]


def test_subsets_of_one_port_are_one_slice() -> None:
    one, other = endpoints("192.0.2.1"), endpoints("192.0.2.1", "192.0.2.2")
    source = msgspec.structs.replace(one, subsets=[*(one.subsets or ()), *(other.subsets or ())])
    cluster = Cluster(service(), source)
    assert cluster.sync() == "C"
    assert len(cluster.slices[0].endpoints or ()) == 2
    assert len(port_key(cluster.slices[0].ports or ())) == 1


def subsets(*some: str) -> Endpoints:
    """`8080:192.0.2.1,fd00::1` is a subset with that port and these addresses; "-" before one: not ready."""
    made_of = []
    for text in some:
        port, _, ips = text.partition(":")
        every = [one for one in ips.split(",") if one]
        ready = [EndpointAddress(ip=ip) for ip in every if not ip.startswith("-")]
        rest = [EndpointAddress(ip=ip[1:]) for ip in every if ip.startswith("-")]
        ports = [EndpointsPort(port=int(port))]
        made_of.append(EndpointSubset(addresses=ready or None, not_ready_addresses=rest or None, ports=ports))
    return Endpoints(metadata=ObjectMeta(name="db", namespace="shop", uid="u"), subsets=made_of)


ONE, OTHER = "80:192.0.2.1,192.0.2.2", "81:192.0.2.3,192.0.2.4,192.0.2.5"


@pytest.mark.parametrize(
    ("before", "after", "written", "sizes"),
    [
        ([], [], "", []),
        ([], ["80:"], "", []),
        ([], ["80:192.0.2.1"], "C", [1]),
        ([], ["80:192.0.2.1,-192.0.2.2"], "C", [2]),
        ([], [ONE, OTHER], "CC", [2, 3]),
        ([], ["80:fd00::1,192.0.2.2", "81:192.0.2.3,192.0.2.4,fd00::2"], "CCCC", [1, 1, 1, 2]),
        ([], ["80:fd00::1,fd00::2", "81:fd00::3,fd00::4,fd00::5"], "CC", [2, 3]),
        ([], ["80:fd00::1,this-is-no-ip", "81:nor-this,fd00::4,fd00::5"], "CCE", [1, 2]),
        (["80:192.0.2.2,192.0.2.9"], [ONE, OTHER], "CR", [2, 3]),  # one slice is brought up to date, one is new
        ([ONE], [ONE, OTHER], "C", [2, 3]),
        ([ONE], ["80:192.0.2.1,-192.0.2.2"], "R", [2]),
        ([ONE], ["82:192.0.2.1,192.0.2.2"], "R", [2]),  # what goes is used for what comes
        ([ONE, OTHER], [ONE], "D", [2]),
        ([ONE, OTHER], [], "DD", []),
    ],
)
def test_a_slice_per_family_and_ports(before: list[str], after: list[str], written: str, sizes: list[int]) -> None:
    cluster = Cluster(service(), subsets(*before))
    cluster.sync()
    cluster.put(subsets(*after))
    assert cluster.sync() == written
    assert sorted(cluster.sizes) == sizes


def test_endpoints_on_their_way_out_get_no_slices() -> None:
    leaving = subsets(ONE)
    meta = msgspec.structs.replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    cluster = Cluster(service(), msgspec.structs.replace(leaving, metadata=meta))
    assert cluster.sync() == ""


# what every namespace has


def namespace(**meta: Any) -> Namespace:
    return Namespace(metadata=ObjectMeta(name="shop", **meta))


ACCOUNT = ServiceAccount(metadata=ObjectMeta(name="default", namespace="shop"))


@pytest.mark.parametrize(
    ("objs", "missing"),
    [
        ([namespace()], True),
        ([namespace(), ACCOUNT], False),
        ([namespace(deletion_timestamp="t")], False),
        ([], False),
    ],
)
def test_every_namespace_has_its_account(objs: list[Any], missing: bool) -> None:
    plan = accounts.account(World.of(*objs), "shop")
    assert plan == (NOTHING if not missing else plan._replace(writes=(Create(ACCOUNT),)))


def test_certificates_are_published_and_repaired() -> None:
    [write] = accounts.root_ca(World.of(namespace()), "shop", "PEM").writes
    assert isinstance(write, Create)
    published = write.obj
    assert isinstance(published, ConfigMap)
    assert (published.key, published.data) == ("shop/kube-root-ca.crt", {"ca.crt": "PEM"})
    assert accounts.root_ca(World.of(namespace(), published), "shop", "PEM") == NOTHING
    forged = msgspec.structs.replace(published, data={"ca.crt": "FORGED", "more": "x"})
    [repair] = accounts.root_ca(World.of(namespace(), forged), "shop", "PEM").writes
    assert isinstance(repair, Patch)
    assert repair.patch == {"data": {"ca.crt": "PEM", "more": None}}
    assert accounts.root_ca(World.of(namespace(deletion_timestamp="t")), "shop", "PEM") == NOTHING


# events


def event(message: str = "m", name: str = "a") -> Event:
    about = ObjectReference(kind="Node", name=name)
    return Event(metadata=ObjectMeta(namespace="default"), involved_object=about, reason="R", message=message)


def tell(correlator: events.Correlator, one: Event, now_s: float) -> str:
    write, key = correlator.take(one, now_s)
    if write is None:
        return "dropped"
    if isinstance(write, Create):
        assert isinstance(write.obj, Event)
        told = msgspec.structs.replace(write.obj, metadata=ObjectMeta(name=f"e-{now_s}", namespace="default"), count=1)
        correlator.done(key, told)
        return f"new {told.message}"
    assert isinstance(write, Patch)
    meta = ObjectMeta(name=write.name, namespace=write.namespace)
    correlator.done(key, msgspec.structs.replace(one, metadata=meta, count=write.patch["count"]))
    return f"count {write.patch['count']}"


def test_what_repeats_is_counted_and_told_anew_when_it_was_forgotten() -> None:
    correlator = events.Correlator()
    assert [tell(correlator, event(), float(i)) for i in range(3)] == ["new m", "count 2", "count 3"]
    assert tell(correlator, event(name="b"), 3.0) == "new m"
    _, key = correlator.take(event(), 4.0)
    correlator.gone(key)
    assert tell(correlator, event(), 5.0) == "new m"


def test_many_alike_become_one_and_a_flood_is_cut() -> None:
    correlator = events.Correlator()
    told = [tell(correlator, event(f"m{i}"), 1.0) for i in range(30)]
    assert told[:10] == [f"new m{i}" for i in range(10)]
    assert told[10] == f"new {events.COMBINED}m10"
    assert told[11:25] == [f"count {i}" for i in range(2, 16)]
    assert told[25:] == ["dropped"] * 5
    assert tell(correlator, event("later"), 1.0 + events.REFILL_S).startswith("count")
    assert tell(correlator, event("much later"), 2000.0) == "new much later"

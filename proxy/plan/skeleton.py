"""The table every node has: a constant number of rules, whatever the number of services.

                 ┌ prerouting (packets of others) ┐
    packet ──────┤                                ├── ClusterIP and not from a pod: mark for masquerade
                 └ output (packets of this host)  ┘
                                │ goto dispatch
        services: frontend → verdict
          ├── goto lb_N ───────── dnat to endpoints[frontend . random below N]        ClusterIP, N endpoints
          ├── goto st_N_T ─────── the same, but a client keeps its endpoint for T seconds (session affinity)
          ├── goto ext ────────── mark, then ext-services → lb_N                      from outside, policy Cluster
          ├── goto ext-local ──── pods and the node: sc-services → sc_N (everywhere)  from outside, policy Local
          │                       others: ext-services → lb_N (this node), else drop
          ├── goto fw ─────────── source in lb-sources? then fw-services → one of the above, else drop
          ├── goto do-reject ──── no endpoints anywhere
          └── goto do-drop ────── endpoints, but none that a Local policy allows
        no entry: an allocated ClusterIP rejects, the rest of a service range drops, anything else passes
                                │
    postrouting: marked → masquerade · a pod that reached itself → masquerade

A map's update replaces an element in one generation of the ruleset, but one packet's two lookups may fall on either
side of the switch. So an lb chain whose random index just went away takes index 0, and drops when that is gone too: no
packet leaves with a service address, and no service with endpoints refuses: the client's next try finds what is so now.
(A jump to the chain that rejects would also be validated by the kernel for each element that leads here.)
"""

from collections.abc import Iterable, Iterator
from functools import cache

from netplane.nft import expr, types
from netplane.nft.expr import FRONTEND, Expr
from netplane.nft.objects import Chain, Hook, Map, Rule, Set, Table, rule
from netplane.nft.types import DROP, Family, goto
from proxy.plan.model import (
    LB,
    NO_LOCAL,
    REJECT,
    ROW_SHARDS,
    SHORT,
    STICKY,
    STICKY_SHORT,
    Options,
    endpoint_types,
    frontend_types,
)

NAME = "netplane-proxy"
AFFINITY = "affinity"
MAX_CLIENTS = 1 << 20
"""Clients of all services with session affinity that are remembered at most; further ones go anywhere each time."""

VERDICT_MAPS = ("services", "ext-services", "sc-services", "fw-services")
"""Maps from frontends to verdicts. Their elements count: packets that one led to a balancer are connections."""
REFUSALS = ("rejects", "local-drops", "source-drops")
"""Sets that rules count first packets in, by frontend: what was led to no endpoint, and why."""
MAX_COUNTED = 1 << 18

PREPARED = 64
"""Chains lb_1 … are loaded with the skeleton up to here; larger ones when the first service of that size comes."""

MAX_ENDPOINTS = 16_384
"""Endpoints of one frontend; a chain per distinct count is made on demand, so this bounds what one service can ask."""


def _sets(family: Family) -> tuple[Set, ...]:
    address, frontend = (family.address,), frontend_types(family)
    return (
        Set("cluster-ips", address),
        Set("service-cidrs", address, ("interval",)),
        Set("pod-cidrs", address, ("interval",)),
        Set("hairpin", (family.address, family.address)),
        Set("lb-sources", (*frontend, family.address), ("interval",)),
        Map("services", frontend, counted=True),
        Map("ext-services", frontend, counted=True),
        Map("sc-services", frontend, counted=True),
        Map("fw-services", frontend, counted=True),
        *(_endpoint_map(name, family) for name in (*ROW_SHARDS, "sc-endpoints")),
        *(made for prefix in ("", "sc-") for made in _sticky_maps(prefix, family)),
        _affinity(family),
        *(_counted(name, family) for name in REFUSALS),
    )


def _endpoint_map(name: str, family: Family) -> Map:
    # `tcp dport` in the data serves every protocol; with `th dport` there, rules added later would not load.
    key = f"{family.nft} daddr . meta l4proto . th dport . numgen random mod 65536"
    return Map(
        name,
        (*frontend_types(family), types.INTEGER),
        data=endpoint_types(family),
        declared=f"typeof {key} : {family.nft} daddr . tcp dport",
    )


def _sticky_maps(prefix: str, family: Family) -> Iterator[Map]:
    """index → handle, and handle → endpoint, of each frontend with session affinity."""
    frontend = f"{family.nft} daddr . meta l4proto . th dport"
    yield Map(
        f"{prefix}sticky-ids",
        (*frontend_types(family), types.INTEGER),
        data=(types.CLASSID,),
        declared=f"typeof {frontend} . numgen random mod 65536 : meta priority",
    )
    yield Map(
        f"{prefix}sticky-endpoints",
        (*frontend_types(family), types.CLASSID),
        data=endpoint_types(family),
        declared=f"typeof {frontend} . meta priority : {family.nft} daddr . tcp dport",
    )


def _affinity(family: Family) -> Map:
    """Who sticks to what. `numgen` in the type stands for any 4 computed bytes: `jhash` there crashes nft 1.0.6."""
    plain, hashed = (family.address,), (types.INTEGER,) * len(expr.CLIENT_SEEDS)
    client = (
        f"{family.nft} saddr" if family.address.size == 4 else " . ".join("numgen random mod 65536" for _ in hashed)
    )
    return Map(
        AFFINITY,
        (types.CLASSID, *(plain if family.address.size == 4 else hashed)),
        ("dynamic", "timeout"),
        data=(types.CLASSID,),
        declared=f"typeof meta priority . {client} : meta priority",
        size=MAX_CLIENTS,
    )


def _counted(name: str, family: Family) -> Set:
    """By typeof, like every set a rule adds to."""
    declared = f"typeof {expr.fields_text(FRONTEND, family)}"
    return Set(name, frontend_types(family), ("dynamic",), declared, MAX_COUNTED)


def _count(name: str) -> Rule:
    # A rule of its own: where the set is full, only this rule is left.
    return rule(expr.Count(FRONTEND, name))


def sticky_balancer(kind: str, count: int, timeout_s: int) -> Chain:
    """`st_3_10800`: three endpoints, and a client keeps its own for three hours after it came last.

    First, whom the client would get is drawn; `update` learns it for a newcomer and only renews the time of one who is
    known; then what is remembered counts. If that is no endpoint of this frontend (any more), it is forgotten and the
    draw repeated. `dnat` ends the chain wherever it finds an entry.
    """
    prefix = "" if kind == STICKY else "sc-"
    ids, endpoints = f"{prefix}sticky-ids", f"{prefix}sticky-endpoints"
    to_picked = rule(expr.DnatTo((*FRONTEND, "priority"), endpoints))
    return Chain(
        f"{kind}_{count}_{timeout_s}",
        (
            rule(expr.Pick(FRONTEND, count, ids)),
            rule(expr.Remember(AFFINITY, timeout_s)),
            rule(expr.HighHalf()),
            rule(expr.Recall(("priority", "client"), AFFINITY)),
            to_picked,
            rule(expr.HighHalf()),
            rule(expr.Forget(AFFINITY)),
            rule(expr.Pick(FRONTEND, count, ids)),
            rule(expr.Remember(AFFINITY, timeout_s)),
            to_picked,
            rule(expr.Pick(FRONTEND, 1, ids)),
            to_picked,
            rule(expr.Go(DROP)),
        ),
    )


def balancer(kind: str, count: int, shard: int = 0) -> Chain:
    """`lb_3`: one chain for every frontend that has three endpoints; `sc_3`: the same for short circuits.

    `lb_3_2`: for those whose endpoints are in the shard `endpoints-2`.
    """
    table = ROW_SHARDS[shard] if kind == LB else "sc-endpoints"
    return Chain(
        balancer_name(kind, count, shard),
        (
            rule(expr.DnatRandom(FRONTEND, count, table)),
            rule(expr.DnatRandom(FRONTEND, 1, table)),
            rule(expr.Go(DROP)),
        ),
    )


def balancer_name(kind: str, count: int, shard: int = 0) -> str:
    """`lb_3`, `lb_3_2`."""
    return f"{kind}_{count}_{shard}" if shard else f"{kind}_{count}"


def _first_users() -> Iterator[Chain]:
    """Unreached first users of the endpoint maps, for nft 1.0.6's listing (see `nft.objects.canonical`)."""
    for kind, tables in ((LB, ROW_SHARDS), (SHORT, ("sc-endpoints",))):
        yield Chain(f"{kind}_0", tuple(rule(expr.DnatRandom(FRONTEND, 1, table)) for table in tables))
    for kind, table in ((STICKY, "sticky-endpoints"), (STICKY_SHORT, "sc-sticky-endpoints")):
        yield Chain(f"{kind}_0", (rule(expr.DnatTo((*FRONTEND, "priority"), table)),))


def _local(options: Options, *, negated: bool = False) -> Expr | None:
    """The match for packets of this cluster's pods; None when nothing tells them."""
    match options.detect_local:
        case "":
            return None
        case "BridgeInterface":
            return expr.Iif(options.local, negated)
        case "InterfaceNamePrefix":
            return expr.Iif(f"{options.local}*", negated)
        case _ if options.local:
            return expr.Within("saddr", options.local, negated)
        case _:
            return expr.In(("saddr",), "pod-cidrs", negated)


def _entrance(options: Options) -> Iterator[Rule]:
    """What both hooks do: mark what asks a ClusterIP from outside of the cluster, then dispatch."""
    to_service = expr.In(("daddr",), "cluster-ips")
    mark = expr.SetMark(options.masquerade_bit)
    stranger = _local(options, negated=True)
    if options.masquerade_all:
        yield rule(to_service, mark)
    elif stranger is not None:
        yield rule(stranger, to_service, mark)
    yield rule(expr.Go(goto("dispatch")))


def _external_local(options: Options) -> Iterator[Rule]:
    mark, here = expr.SetMark(options.masquerade_bit), expr.FibLocal("saddr")
    pods = _local(options)
    if pods is not None:
        yield rule(pods, expr.Vmap(FRONTEND, "sc-services"))
    yield rule(here, mark)
    yield rule(here, expr.Vmap(FRONTEND, "sc-services"))
    yield rule(expr.Vmap(FRONTEND, "ext-services"))
    yield rule(expr.Go(NO_LOCAL))


def _chains(options: Options) -> Iterator[Chain]:
    mark = options.masquerade_bit
    yield from _first_users()
    yield Chain("do-drop", (_count("local-drops"), rule(expr.Go(DROP))))
    yield Chain("do-reject", (_count("rejects"), rule(expr.Reject(tcp_reset=True)), rule(expr.Reject())))
    for kind in (LB, SHORT):
        yield from (balancer(kind, count) for count in range(1, PREPARED + 1))
    yield Chain("ext", (rule(expr.SetMark(mark)), rule(expr.Vmap(FRONTEND, "ext-services")), rule(expr.Go(REJECT))))
    yield Chain("ext-local", tuple(_external_local(options)))
    allowed = expr.In((*FRONTEND, "saddr"), "lb-sources")
    yield Chain("fw", (rule(allowed, expr.Vmap(FRONTEND, "fw-services")), _count("source-drops"), rule(expr.Go(DROP))))
    yield Chain(
        "dispatch",
        (
            rule(expr.Vmap(FRONTEND, "services")),
            rule(expr.In(("daddr",), "cluster-ips"), expr.Go(REJECT)),
            rule(expr.In(("daddr",), "service-cidrs"), expr.Go(DROP)),
        ),
    )
    yield Chain("prerouting", tuple(_entrance(options)), Hook("nat", "prerouting", "dstnat"))
    yield Chain("output", tuple(_entrance(options)), Hook("nat", "output", "-100"))
    yield Chain(
        "postrouting",
        (
            # Priorities were a scratch register; the network's own use of them begins after this.
            # Few packets have one, so that is asked first.
            rule(expr.Prioritized(), expr.Dnatted(), expr.ClearPriority()),
            rule(expr.Marked(mark), expr.FlipMark(mark), expr.Masquerade()),
            rule(expr.Dnatted(), expr.In(("saddr", "daddr"), "hairpin"), expr.Masquerade()),
        ),
        Hook("nat", "postrouting", "srcnat"),
    )


@cache
def skeleton(family: Family, options: Options) -> Table:
    """The table without elements. Equal options give an equal table."""
    comment = "service proxy; made and repaired by netplane-proxy"
    return Table(family, NAME, _sets(family), tuple(_chains(options)), comment)


_BALANCERS = tuple(f"{kind}_" for kind in (LB, SHORT, STICKY, STICKY_SHORT))


def is_balancer(chain: str) -> bool:
    """Whether a chain of this name spreads connections over endpoints: lb_3, ss_3_10800."""
    return chain.startswith(_BALANCERS)


def missing_balancers(verdicts: Iterable[str]) -> list[str]:
    """Names of balancers that verdicts go to and the skeleton does not have, smallest first."""
    names = {verdict.removeprefix("goto ") for verdict in verdicts}
    missing = [name for name in names - prepared_balancers() if is_balancer(name)]
    return sorted(missing, key=lambda name: (name[:2], [int(part) for part in name[3:].split("_")]))


def prepared_balancers() -> set[str]:
    """Names of the balancers that the skeleton has."""
    return {f"{kind}_{count}" for kind in (LB, SHORT) for count in range(PREPARED + 1)}


def balancers(names: Iterable[str]) -> tuple[Chain, ...]:
    """The chains of these names: lb_65, lb_3_2, sc_65, st_3_10800."""
    return tuple(_named(*name.split("_")) for name in names)


def _named(kind: str, count: str, more: str = "0") -> Chain:
    made = sticky_balancer if kind in (STICKY, STICKY_SHORT) else balancer
    return made(kind, int(count), int(more))


def with_balancers(table: Table, names: Iterable[str]) -> Table:
    """The table with these further chains."""
    return Table(table.family, table.name, table.sets, (*table.chains, *balancers(names)), table.comment)

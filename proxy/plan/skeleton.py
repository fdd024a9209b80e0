"""The table every node has: a constant number of rules, whatever the number of services.

                 ┌ prerouting (packets of others) ┐
    packet ──────┤                                ├── ClusterIP and not from a pod: mark for masquerade
                 └ output (packets of this host)  ┘
                                │ goto dispatch
        services: frontend → verdict
          ├── goto lb_N ───────── dnat to endpoints[frontend . random below N]        ClusterIP, N endpoints
          ├── goto ext ────────── mark, then ext-services → lb_N                      from outside, policy Cluster
          ├── goto ext-local ──── pods and the node: sc-services → sc_N (everywhere)  from outside, policy Local
          │                       others: ext-services → lb_N (this node), else drop
          ├── goto fw ─────────── source in lb-sources? then fw-services → one of the above, else drop
          ├── goto do-reject ──── no endpoints anywhere
          └── drop ────────────── endpoints, but none that a Local policy allows
        no entry: an allocated ClusterIP rejects, the rest of a service range drops, anything else passes
                                │
    postrouting: marked → masquerade · a pod that reached itself → masquerade

A map's update replaces an element in one generation of the ruleset, but one packet's two lookups may fall on either
side of the switch. So an lb chain whose random index just went away takes index 0, and rejects when that is gone too:
no packet leaves with a service address, and no service with endpoints refuses.
"""

from collections.abc import Iterable, Iterator
from functools import cache

from netplane.nft import expr, types
from netplane.nft.expr import FRONTEND, Expr
from netplane.nft.objects import Chain, Hook, Map, Rule, Set, Table, rule
from netplane.nft.types import DROP, Family, goto
from proxy.plan.model import LB, REJECT, SHORT, Options, endpoint_types, frontend_types

NAME = "netplane-proxy"
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
        Map("services", frontend),
        Map("ext-services", frontend),
        Map("sc-services", frontend),
        Map("fw-services", frontend),
        *(_endpoint_map(name, family) for name in ("endpoints", "sc-endpoints")),
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


def balancer(kind: str, count: int) -> Chain:
    """`lb_3`: one chain for every frontend that has three endpoints; `sc_3`: the same for short circuits."""
    table = "endpoints" if kind == LB else "sc-endpoints"
    return Chain(
        f"{kind}_{count}",
        (
            rule(expr.DnatRandom(FRONTEND, count, table)),
            rule(expr.DnatRandom(FRONTEND, 1, table)),
            rule(expr.Go(REJECT)),
        ),
    )


def _first_users() -> Iterator[Chain]:
    """Unreached first users of the endpoint maps, for nft 1.0.6's listing (see `nft.objects.canonical`)."""
    for kind, table in ((LB, "endpoints"), (SHORT, "sc-endpoints")):
        yield Chain(f"{kind}_0", (rule(expr.DnatRandom(FRONTEND, 1, table)),))


def _local(options: Options, *, negated: bool = False) -> Expr | None:
    """The match for packets of this cluster's pods; None when nothing tells them."""
    match options.detect_local:
        case "":
            return None
        case "BridgeInterface":
            return expr.Iif(options.local, negated)
        case "InterfaceNamePrefix":
            return expr.Iif(f"{options.local}*", negated)
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
    yield rule(expr.Go(DROP))


def _chains(options: Options) -> Iterator[Chain]:
    mark = options.masquerade_bit
    yield from _first_users()
    yield Chain("do-reject", (rule(expr.Reject(tcp_reset=True)), rule(expr.Reject())))
    for kind in (LB, SHORT):
        yield from (balancer(kind, count) for count in range(1, PREPARED + 1))
    yield Chain("ext", (rule(expr.SetMark(mark)), rule(expr.Vmap(FRONTEND, "ext-services")), rule(expr.Go(REJECT))))
    yield Chain("ext-local", tuple(_external_local(options)))
    allowed = expr.In((*FRONTEND, "saddr"), "lb-sources")
    yield Chain("fw", (rule(allowed, expr.Vmap(FRONTEND, "fw-services")), rule(expr.Go(DROP))))
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


def missing_balancers(verdicts: Iterable[str]) -> list[str]:
    """Names of lb_N and sc_N chains that verdicts go to and the skeleton does not have, smallest first."""
    names = {verdict.removeprefix("goto ") for verdict in verdicts}
    missing = [name for name in names - prepared_balancers() if name.startswith((f"{LB}_", f"{SHORT}_"))]
    return sorted(missing, key=lambda name: (name[:3], int(name[3:])))


def prepared_balancers() -> set[str]:
    """Names of the lb_N and sc_N chains that the skeleton has."""
    return {f"{kind}_{count}" for kind in (LB, SHORT) for count in range(PREPARED + 1)}


def balancers(names: Iterable[str]) -> tuple[Chain, ...]:
    """The chains of these names, `lb_65` or `sc_65`."""
    return tuple(balancer(kind, int(count)) for kind, count in (name.split("_") for name in names))


def with_balancers(table: Table, names: Iterable[str]) -> Table:
    """The table with these further chains."""
    return Table(table.family, table.name, table.sets, (*table.chains, *balancers(names)), table.comment)

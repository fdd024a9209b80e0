"""The controllers of the process: for each, which keys a change concerns, and the plan for a key."""

from collections.abc import Callable, Iterable

import msgspec

from netplane.api.objects import Object
from netplane.controllers import touched
from netplane.controllers.plan import (
    accounts,
    balancers,
    endpoint_slices,
    evictions,
    legacy_endpoints,
    load_balancer,
    mirroring,
    node_lifecycle,
    node_taints,
    pod_cidr,
    pod_gc,
    scheduling,
)
from netplane.controllers.plan.packing import MAX_ENDPOINTS
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Plan

FINISHED_PODS = 12_500  # may stay, as kube-controller-manager has it


class Moment(msgspec.Struct, frozen=True):
    """Now, three times: on the monotonic clock of the process, as the API writes it, and in seconds since 1970."""

    clock_s: float
    text: str
    wall_s: float = 0.0


class Controller(msgspec.Struct, frozen=True):
    """`touched(world, old, new)` → keys to work on; `plan(world, key, now)` → what to do. `workers` keys at once.

    `touched` runs after the world has taken the change in. `reserve(world, key, what)` notes what a plan's writes give
    to the key, in one breath with the plan: the plan of the next key sees it, though nothing is written yet.
    """

    name: str
    touched: Callable[[World, Object | None, Object | None], Iterable[str]]
    plan: Callable[[World, str, Moment], Plan]
    workers: int = 1
    reserve: Callable[[World, str, tuple[str, ...]], None] | None = None


class Options(msgspec.Struct, frozen=True):
    """What the flags say. Without pools nobody gets a podCIDR, without addresses no load balancer, without `root_ca`
    no certificates are published.
    """  # fmt: skip

    pools: tuple[pod_cidr.Pool, ...] = ()
    grace_s: float = 40.0
    addresses: tuple[balancers.Span, ...] = ()
    root_ca: str = ""
    slice_limit: int = MAX_ENDPOINTS
    finished_pods: int = FINISHED_PODS
    only: frozenset[str] = frozenset()


def build(options: Options) -> list[Controller]:
    """The controllers that are on: all of `NAMES`, or `options.only`, as far as they have what they need."""
    ready = {
        "pod-cidr": bool(options.pools),
        "load-balancer": bool(options.addresses),
        "root-ca": bool(options.root_ca),
    }
    wanted = [one for one in _all(options) if ready.get(one.name, True)]
    return [one for one in wanted if not options.only or one.name in options.only]


def empty_world(options: Options) -> World:
    """A world with the pools that the flags give."""
    return World(options.pools, options.addresses)


def names() -> list[str]:
    """All there are."""
    return [one.name for one in _all(Options())]


def _all(options: Options) -> list[Controller]:
    return [*_of_services(options), *_of_nodes(options), *_of_namespaces(options)]


def _of_services(options: Options) -> list[Controller]:
    return [
        Controller(
            endpoint_slices.NAME,
            touched.of_slices,
            lambda world, key, now: endpoint_slices.plan(world, key, now.text, options.slice_limit),
            8,
        ),
        Controller(
            legacy_endpoints.NAME, touched.of_endpoints, lambda world, key, now: legacy_endpoints.plan(world, key), 4
        ),
        Controller(
            mirroring.NAME, touched.of_mirrored, lambda world, key, now: mirroring.plan(world, key, now.text), 4
        ),
        Controller(
            load_balancer.NAME,
            touched.of_load_balancer,
            lambda world, key, now: load_balancer.plan(world, key, now.text),
            4,
            reserve=lambda world, key, what: world.balancers.hold(key, map(balancers.address, what)),
        ),
    ]


def _of_nodes(options: Options) -> list[Controller]:
    """Nodes, and the pods on them."""
    return [
        Controller(
            node_lifecycle.NAME,
            touched.of_lifecycle,
            lambda world, key, now: node_lifecycle.plan(world, key, options.grace_s, now.clock_s, now.text),
            4,
        ),
        Controller(
            node_taints.NAME,
            touched.of_nodes,
            lambda world, key, now: node_taints.plan(world, key, now.wall_s, now.text),
        ),
        Controller(
            evictions.NAME,
            touched.of_evictions,
            lambda world, key, now: evictions.plan(world, key, now.wall_s, now.text),
            4,
        ),
        Controller("scheduler", touched.of_scheduler, lambda world, key, now: scheduling.plan(world, key, now.text)),
        Controller(
            pod_gc.NAME,
            touched.of_pod_gc,
            lambda world, key, now: pod_gc.plan(world, key, now.clock_s, now.text, options.finished_pods),
        ),
        Controller(
            pod_cidr.NAME,
            touched.of_pod_cidr,
            lambda world, key, now: pod_cidr.plan(world, key, now.text),
            4,
            reserve=lambda world, key, what: world.ranges.hold(key, what),
        ),
    ]


def _of_namespaces(options: Options) -> list[Controller]:
    return [
        Controller("service-accounts", touched.of_accounts, lambda world, key, now: accounts.account(world, key), 2),
        Controller(
            "root-ca", touched.of_root_ca, lambda world, key, now: accounts.root_ca(world, key, options.root_ca), 2
        ),
    ]

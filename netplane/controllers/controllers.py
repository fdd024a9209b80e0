"""The controllers of the process: for each, which keys a change concerns, and the plan for a key."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from netplane.api.objects import Endpoints, EndpointSlice, Lease, Node, Object, Pod, Service
from netplane.controllers.plan import (
    endpoint_slices,
    legacy_endpoints,
    node_lifecycle,
    pod_cidr,
    pod_gc,
    scheduling,
    zones,
)
from netplane.controllers.plan.world import LEASE_NAMESPACE, SERVICE_NAME, World
from netplane.controllers.plan.writes import Plan

Change = tuple[Object | None, Object | None]


class Moment(msgspec.Struct, frozen=True):
    """Now, twice: on the monotonic clock of the process, and as the API writes it."""

    clock_s: float
    text: str


class Controller(msgspec.Struct, frozen=True):
    """`touched(world, old, new)` → keys to work on; `plan(world, key, now)` → what to do. `workers` keys at once.

    `touched` runs after the world has taken the change in.
    """

    name: str
    touched: Callable[[World, Object | None, Object | None], Iterable[str]]
    plan: Callable[[World, str, Moment], Plan]
    workers: int = 1


class Options(msgspec.Struct, frozen=True):
    """What the flags say."""

    pools: tuple[pod_cidr.Pool, ...] = ()
    grace_s: float = 40.0


def build(options: Options) -> list[Controller]:
    """All controllers. Without pools nobody gets a podCIDR."""
    controllers = [
        Controller(
            endpoint_slices.NAME, _of_slices, lambda world, key, now: endpoint_slices.plan(world, key, now.text), 8
        ),
        Controller("endpoints", _of_endpoints, lambda world, key, now: legacy_endpoints.plan(world, key), 4),
        Controller(
            "node-lifecycle",
            _of_lifecycle,
            lambda world, key, now: node_lifecycle.plan(world, key, options.grace_s, now.clock_s, now.text),
            4,
        ),
        Controller("scheduler", _of_scheduler, lambda world, key, now: scheduling.plan(world, key, now.text)),
        Controller("pod-gc", _of_pod_gc, lambda world, key, now: pod_gc.plan(world, key, now.clock_s)),
    ]
    if options.pools:
        controllers.append(
            Controller(
                "pod-cidr", _of_pod_cidr, lambda world, key, now: pod_cidr.plan(world, key, options.pools, now.text)
            )
        )
    return controllers


def _of_slices(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    for one in (old, new):
        if isinstance(one, EndpointSlice):
            name = (one.metadata.labels or {}).get(SERVICE_NAME)
            if name:
                yield f"{one.metadata.namespace}/{name}"
    yield from _of_backends(world, old, new)
    node = new or old
    if isinstance(node, Node) and _part(old) != _part(new):
        yield from world.proportional


def _part(obj: Object | None) -> zones.Contribution | None:
    return zones.contribution(obj) if isinstance(obj, Node) else None


def _of_endpoints(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    some = new or old
    if isinstance(some, Endpoints):
        yield some.key
    yield from _of_backends(world, old, new)


def _of_backends(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Services whose own definition, pods, or pods' nodes changed."""
    some = new or old
    if isinstance(some, Service):
        yield some.key
    elif isinstance(some, Pod):
        for pod in (old, new):
            if isinstance(pod, Pod):
                yield from world.services_of(pod)
    elif isinstance(some, Node) and endpoint_slices.zone_changed(_node(old), _node(new)):
        for pod in world.pods_on(some.key):
            yield from world.services_of(pod)


def _of_lifecycle(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    some = new or old
    if isinstance(some, Node) or (isinstance(some, Lease) and some.metadata.namespace == LEASE_NAMESPACE):
        yield some.metadata.name


def _of_scheduler(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    if isinstance(new, Pod) and scheduling.is_pending(new):
        yield new.key
    elif isinstance(new, Node) or (isinstance(old, Pod) and old.spec.node_name):
        # There may be room now where there was none.
        yield from (pod.key for pod in world.pods_on("") if scheduling.is_pending(pod))


def _of_pod_gc(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    if isinstance(old, Node) and new is None:
        yield old.key
    elif isinstance(new, Pod) and new.spec.node_name and new.spec.node_name not in world.nodes:
        yield new.spec.node_name


def _of_pod_cidr(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    if isinstance(new, Node):
        if not new.spec.pod_cidr:
            yield new.key
    elif isinstance(old, Node):
        yield from (key for key, node in world.nodes.items() if not node.spec.pod_cidr)


def _node(obj: Object | None) -> Node | None:
    return obj if isinstance(obj, Node) else None

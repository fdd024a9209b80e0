"""Which keys a change concerns, for each controller. The world has taken the change in already."""

from collections.abc import Iterator

from netplane.api.objects import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Lease,
    Namespace,
    Node,
    Object,
    Pod,
    Service,
    ServiceAccount,
)
from netplane.controllers.plan import balancers, disruption, endpoint_slices, pod_gc, scheduling, zones
from netplane.controllers.plan.world import LEASE_NAMESPACE, SERVICE_NAME, World, has_finished


def of_slices(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Services: their slices, pods, nodes' zones; those with proportional hints when the zones' sizes change."""
    yield from _owners_of_slice(old, new)
    yield from _of_backends(world, old, new)
    if isinstance(new or old, Node) and _part(old) != _part(new):
        yield from world.proportional


def of_endpoints(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Services: their Endpoints and pods."""
    some = new or old
    if isinstance(some, Endpoints):
        yield some.key
    yield from _of_backends(world, old, new)


def of_mirrored(_world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Services: themselves, their Endpoints and slices."""
    some = new or old
    if isinstance(some, Endpoints | Service):
        yield some.key
    yield from _owners_of_slice(old, new)


def of_lifecycle(_world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Nodes: themselves and their heartbeats."""
    some = new or old
    if isinstance(some, Node) or (isinstance(some, Lease) and some.metadata.namespace == LEASE_NAMESPACE):
        yield some.metadata.name


def of_nodes(_world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Nodes: themselves."""
    some = new or old
    if isinstance(some, Node):
        yield some.key


def of_evictions(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Nodes: their taints, and pods that come to or change on tainted ones."""
    if isinstance(new, Node):
        if not isinstance(old, Node) or old.spec.taints != new.spec.taints:
            yield new.key
    elif isinstance(new, Pod) and new.spec.node_name:
        node = world.nodes.get(new.spec.node_name)
        if node and any(one.effect == disruption.NO_EXECUTE for one in node.spec.taints or ()):
            yield node.key


def of_scheduler(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Pods that wait for a node; and where one got roomier, those of them that it can take now."""
    if isinstance(new, Pod) and scheduling.is_pending(new):
        yield new.key
    node = world.nodes.get(_roomier(old, new))
    if node is None:
        return
    neighbours = world.pods_on(node.key)
    for pod in world.pods_on(""):
        if scheduling.is_pending(pod) and not scheduling.refuses(node, pod, neighbours):
            yield pod.key


def _roomier(old: Object | None, new: Object | None) -> str:
    """The node that may take pods now which it did not before; "" when there is none."""
    if isinstance(new, Node):
        same = isinstance(old, Node) and scheduling.terms(old) == scheduling.terms(new)
        return "" if same else new.key
    if not isinstance(old, Pod) or not scheduling.takes_room(old):
        return ""
    return "" if isinstance(new, Pod) and scheduling.takes_room(new) else old.spec.node_name


def of_pod_gc(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Names of nodes that are gone, or out of service; what stands for pods without one, and for the finished."""
    if has_finished(new) and not has_finished(old):
        yield pod_gc.ALL_FINISHED
    if isinstance(old, Node) and new is None:
        yield old.key
    elif isinstance(new, Node) and pod_gc.out_of_service(new):
        yield new.key
    elif isinstance(new, Pod) and not new.spec.node_name:
        if new.metadata.deletion_timestamp is not None:
            yield pod_gc.NO_NODE
    elif isinstance(new, Pod):
        node = world.nodes.get(new.spec.node_name)
        if node is None or (new.metadata.deletion_timestamp is not None and pod_gc.out_of_service(node)):
            yield new.spec.node_name


def of_pod_cidr(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Nodes without a range; all of them when one is free again."""
    if isinstance(new, Node):
        if not new.spec.pod_cidr:
            yield new.key
    elif isinstance(old, Node):
        yield from (key for key, node in world.nodes.items() if not node.spec.pod_cidr)


def of_load_balancer(world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Services that have to do with load balancers; all that lack an address when one may be free again."""
    before = old if isinstance(old, Service) else None
    after = new if isinstance(new, Service) else None
    if after is not None and (balancers.is_ours(after) or balancers.ingress(after)):
        yield after.key
    if before is not None and balancers.ingress(before) and (after is None or _lets_go(before, after)):
        yield from world.balancers.wanting


def _lets_go(before: Service, after: Service) -> bool:
    """Whether an address, or a place beside it, may be free that was not."""
    same = balancers.claim_of(after) == balancers.claim_of(before)
    return not same or balancers.ingress(after) != balancers.ingress(before)


def of_accounts(_world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Namespaces that came, or lost their ServiceAccount."""
    if isinstance(new, Namespace):
        yield new.metadata.name
    elif isinstance(old, ServiceAccount) and new is None:
        yield old.metadata.namespace


def of_root_ca(_world: World, old: Object | None, new: Object | None) -> Iterator[str]:
    """Namespaces that came, or whose certificates changed."""
    some = new or old
    if isinstance(new, Namespace):
        yield new.metadata.name
    elif isinstance(some, ConfigMap):
        yield some.metadata.namespace


def _owners_of_slice(old: Object | None, new: Object | None) -> Iterator[str]:
    for one in (old, new):
        if isinstance(one, EndpointSlice):
            name = (one.metadata.labels or {}).get(SERVICE_NAME)
            if name:
                yield f"{one.metadata.namespace}/{name}"


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


def _part(obj: Object | None) -> zones.Contribution | None:
    return zones.contribution(obj) if isinstance(obj, Node) else None


def _node(obj: Object | None) -> Node | None:
    return obj if isinstance(obj, Node) else None

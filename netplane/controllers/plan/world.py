"""What the controllers know of the cluster, with the indices that make one key's plan independent of its size.

A plain data structure: `apply` takes one change, everything else reads. Times in it are told by the caller.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netplane.api import conditions
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
from netplane.controllers.plan import backends, zones
from netplane.controllers.plan.balancers import Balancers, Span
from netplane.controllers.plan.disruption import Health
from netplane.controllers.plan.ranges import Pool, Ranges

SERVICE_NAME = "kubernetes.io/service-name"
LEASE_NAMESPACE = "kube-node-lease"
Token = tuple[str, ...]


class Index:
    """Token → keys of the objects that carry it."""

    def __init__(self) -> None:
        self._keys: defaultdict[Token, dict[str, None]] = defaultdict(dict)  # a dict keeps the order of arrival

    def move(self, key: str, old: Iterable[Token], new: Iterable[Token]) -> None:
        """The object's tokens were `old` and are `new`."""
        before, after = set(old), set(new)
        for token in before - after:
            self._keys[token].pop(key, None)
            if not self._keys[token]:
                del self._keys[token]
        for token in after - before:
            self._keys[token][key] = None

    def get(self, token: Token) -> Iterable[str]:
        """Keys that carry `token`."""
        return self._keys.get(token, {}).keys()

    def count(self, token: Token) -> int:
        """How many carry `token`."""
        return len(self._keys.get(token, ()))


class World:
    """Objects by key, and who belongs to whom."""

    def __init__(self, pools: Iterable[Pool] = (), addresses: Iterable[Span] = ()) -> None:
        self.ranges = Ranges(pools)  # which node holds which pod ranges
        self.balancers = Balancers(addresses)  # which Service holds which load balancer addresses
        self.health = Health()  # how many nodes of each zone are well
        self.services: dict[str, Service] = {}
        self.slices: dict[str, EndpointSlice] = {}
        self.endpoints: dict[str, Endpoints] = {}
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self.leases: dict[str, Lease] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.service_accounts: dict[str, ServiceAccount] = {}
        self.config_maps: dict[str, ConfigMap] = {}
        self.memory: dict[tuple[str, str], Any] = {}  # (controller, key) → what its last plan wants to know again
        self.finished: set[str] = set()  # pods that have ended, for better or worse
        self.proportional: set[str] = set()  # Services that ask for hints by those shares
        self.renewed_at: dict[str, float] = {}  # node → when we saw its last heartbeat, on our clock
        self.missing_since: dict[str, float] = {}  # node that pods name but nobody has → when we noticed
        self._slices_by_service = Index()
        self._services_by_selector = Index()
        self._pods_by_label = Index()
        self._pods_by_node = Index()
        self._parts: dict[str, zones.Contribution] = {}
        self._shares: dict[str, float] | None = None

    @classmethod
    def of(cls, *objs: Object, now: float = 0.0, pools: Iterable[Pool] = (), addresses: Iterable[Span] = ()) -> "World":
        """A world of these objects."""
        world = cls(pools, addresses)
        for obj in objs:
            world.apply(None, obj, now)
        return world

    def apply(self, old: Object | None, new: Object | None, now: float) -> None:
        """One change: addition (old is None), deletion (new is None) or update."""
        some = new or old
        assert some is not None, "a change has an old or a new state"
        table = self._table(type(some))
        if new is None:
            table.pop(some.key, None)
        else:
            table[some.key] = new
        self._index(some.key, old, new)
        self._heartbeat(some, old, new, now)
        if isinstance(some, Node):
            self._share(some.key, new if isinstance(new, Node) else None)
            self._hold_ranges(some.key, new if isinstance(new, Node) else None)
            self.health.see(some.key, new if isinstance(new, Node) else None)
        elif isinstance(some, Service):
            self.balancers.see(some.key, new if isinstance(new, Service) else None)

    def slices_of(self, service_key: str) -> list[EndpointSlice]:
        """Every slice that carries the Service's name, whoever made it."""
        return [self.slices[key] for key in self._slices_by_service.get((service_key,))]

    def pods_of(self, service: Service) -> list[Pod]:
        """Pods that the Service's selector matches; none for a Service without one."""
        selector = service.spec.selector
        if not selector:
            return []
        tokens = [(service.metadata.namespace, *item) for item in selector.items()]
        rarest = min(tokens, key=self._pods_by_label.count)
        candidates = (self.pods[key] for key in self._pods_by_label.get(rarest))
        return [pod for pod in candidates if selects(selector, pod.metadata.labels)]

    def services_of(self, pod: Pod) -> Iterator[str]:
        """Keys of the Services that select the pod."""
        for item in (pod.metadata.labels or {}).items():
            for key in self._services_by_selector.get((pod.metadata.namespace, *item)):
                if selects(self.services[key].spec.selector or {}, pod.metadata.labels):
                    yield key

    def pods_on(self, node: str) -> list[Pod]:
        """Pods bound to a node ("" for those that have none)."""
        return [self.pods[key] for key in self._pods_by_node.get((node,))]

    @property
    def zone_shares(self) -> dict[str, float]:
        """Zone → its part of the cluster's CPU; {} when that is not known well enough. Added up once per change."""
        if self._shares is None:
            self._shares = zones.shares(self._parts.values())
        return self._shares

    def lease_of(self, node: str) -> Lease | None:
        """The node's heartbeat."""
        return self.leases.get(f"{LEASE_NAMESPACE}/{node}")

    def _table(self, cls: type[Object]) -> dict[str, Object]:
        tables = {
            Service: self.services,
            EndpointSlice: self.slices,
            Endpoints: self.endpoints,
            Node: self.nodes,
            Pod: self.pods,
            Lease: self.leases,
            Namespace: self.namespaces,
            ServiceAccount: self.service_accounts,
            ConfigMap: self.config_maps,
        }
        return tables[cls]  # type: ignore[return-value]  # each table holds only its own kind

    def _index(self, key: str, old: Object | None, new: Object | None) -> None:
        if isinstance(new or old, EndpointSlice):
            self._slices_by_service.move(key, _service_token(old), _service_token(new))
        elif isinstance(new or old, Service):
            self._services_by_selector.move(key, _selector_token(old), _selector_token(new))
            (self.proportional.add if new and zones.wanted(new.metadata.annotations) else self.proportional.discard)(
                key
            )
        elif isinstance(new or old, Pod):
            self._pods_by_label.move(key, _label_tokens(old), _label_tokens(new))
            self._pods_by_node.move(key, _node_token(old), _node_token(new))
            (self.finished.add if has_finished(new) else self.finished.discard)(key)

    def _hold_ranges(self, name: str, node: Node | None) -> None:
        """What a node carries replaces what was reserved for it; the reservation stays while it carries nothing."""
        single = [node.spec.pod_cidr] if node and node.spec.pod_cidr else []
        carried = (node.spec.pod_cidrs if node else None) or single
        if carried or node is None:
            self.ranges.hold(name, carried)

    def _share(self, name: str, node: Node | None) -> None:
        part = zones.contribution(node) if node else None
        if part == self._parts.get(name):
            return
        if part is None:
            del self._parts[name]
        else:
            self._parts[name] = part
        self._shares = None

    def _miss(self, node: str, now: float) -> None:
        """A node that pods name is missing from when we noticed until it is there, or nobody names it."""
        if node not in self.nodes and self._pods_by_node.count((node,)):
            self.missing_since.setdefault(node, now)
        else:
            self.missing_since.pop(node, None)

    def _heartbeat(self, some: Object, old: Object | None, new: Object | None, now: float) -> None:
        """A heartbeat counts from when we saw it change: clocks of nodes need not agree with ours."""
        name = some.metadata.name
        if isinstance(some, Node):
            if new is None:
                self.renewed_at.pop(name, None)
            else:
                posted = _posted(new) if isinstance(new, Node) else None
                if posted and posted != _posted(old if isinstance(old, Node) else None):
                    self.renewed_at[name] = now
                self.renewed_at.setdefault(name, now)
            self._miss(name, now)
        elif isinstance(some, Pod) and some.spec.node_name:
            self._miss(some.spec.node_name, now)
        elif isinstance(some, Lease) and some.metadata.namespace == LEASE_NAMESPACE:
            before = old.spec.renew_time if isinstance(old, Lease) else None
            after = new.spec.renew_time if isinstance(new, Lease) else None
            if after and after != before:
                self.renewed_at[name] = now


def has_finished(obj: Object | None) -> bool:
    """Whether it is a pod that has ended."""
    return isinstance(obj, Pod) and backends.has_finished(obj)


def selects(selector: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    """Whether every pair of a (non-empty) selector is among the labels."""
    return bool(selector) and selector.items() <= (labels or {}).items()


def _posted(node: Node | None) -> str | None:
    """When a kubelet says that it posted the node's status."""
    said = conditions.ready(node) if node is not None else None
    return said.last_heartbeat_time if said is not None else None


def _service_token(obj: Object | None) -> list[Token]:
    name = (obj.metadata.labels or {}).get(SERVICE_NAME) if obj else None
    return [(f"{obj.metadata.namespace}/{name}",)] if obj and name else []


def _selector_token(obj: Object | None) -> list[Token]:
    """One pair stands for the whole selector: a pod that matches it has that pair, too."""
    if not isinstance(obj, Service) or not obj.spec.selector:
        return []
    return [(obj.metadata.namespace, *min(obj.spec.selector.items()))]


def _label_tokens(obj: Object | None) -> list[Token]:
    return [(obj.metadata.namespace, *item) for item in (obj.metadata.labels or {}).items()] if obj else []


def _node_token(obj: Object | None) -> list[Token]:
    return [(obj.spec.node_name,)] if isinstance(obj, Pod) else []

"""A cluster of plain dicts that feeds a tracker the way informers do; what it holds is the truth to compare with."""

from collections.abc import Mapping

from netplane.api.objects import EndpointSlice, Service
from netplane.nft.elements import Change, Value
from netplane.nft.types import Family
from proxy.plan import offline, services, slices
from proxy.plan.model import ROW_SHARDS, Node, Options
from proxy.plan.skeleton import VERDICT_MAPS
from tests import strategies as moves

Contents = Mapping[str, Mapping[bytes, Value]]


class Cluster:
    """Objects by name; a listener gets their compact values, as from an informer."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.services: dict[str, Service] = {}
        self.slices: dict[str, EndpointSlice] = {}

    def apply(self, action: moves.Action, listener: object) -> None:
        """Change an object and tell the listener (a Tracker or a Syncer)."""
        match action:
            case moves.PutService(service):
                old = self.services.get(service.metadata.name)
                self.services[service.metadata.name] = service
                self._tell_service(listener, old, service)
            case moves.PutSlice(item):
                before = self.slices.get(item.metadata.name)
                self.slices[item.metadata.name] = item
                self._tell_slice(listener, before, item)
            case moves.Delete("service", name):
                self._tell_service(listener, self.services.pop(name, None), None)
            case moves.Delete("slice", name):
                self._tell_slice(listener, self.slices.pop(name, None), None)
            case moves.Move(node):
                self.node = node

    @staticmethod
    def _tell_service(listener: object, old: Service | None, new: Service | None) -> None:
        if old or new:
            listener.service_changed(  # type: ignore[attr-defined]  # either of two listeners
                services.read(old) if old else None, services.read(new) if new else None
            )

    def _tell_slice(self, listener: object, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if old or new:
            name = self.node.name
            listener.slice_changed(  # type: ignore[attr-defined]  # as above
                slices.read(old, name) if old else None, slices.read(new, name) if new else None
            )

    def from_scratch(self, family: Family, options: Options) -> Contents:
        """What a family's table should hold, computed from nothing."""
        ledger, _ = offline.plan(self.services.values(), self.slices.values(), family, self.node, options)
        return ledger.contents()


def comparable(contents: Contents) -> dict[str, dict[bytes, object]]:
    """Contents without the order of endpoints: which index an endpoint has is free, that indices are dense is not."""
    found: dict[str, dict[bytes, object]] = {}
    contents = {**_of_one_shard(contents), **_by_index(contents, ""), **_by_index(contents, "sc-")}
    for name, elements in contents.items():
        if name.endswith(("sticky-endpoints", "affinity")):
            continue
        if not name.endswith(("endpoints", "sticky-ids")):
            found[name] = dict(elements)
            continue
        rows: dict[bytes, dict[int, Value]] = {}
        for key, data in elements.items():
            rows.setdefault(key[:-4], {})[int.from_bytes(key[-4:], "little")] = data
        for by_index in rows.values():
            assert sorted(by_index) == list(range(len(by_index))), "indices must be dense"
        found[name] = {key: frozenset(by_index.values()) for key, by_index in rows.items()}
        assert all(len(frozenset(by.values())) == len(by) for by in rows.values()), "an endpoint has one index"
    return found


def _of_one_shard(contents: Contents) -> dict[str, Mapping[bytes, Value]]:
    """In which of the endpoint maps a frontend's rows are is free; that its verdicts lead there is not."""
    found: dict[str, Mapping[bytes, Value]] = {k: v for k, v in contents.items() if k not in ROW_SHARDS}
    rows: dict[bytes, Value] = {}
    shards: dict[bytes, int] = {}
    for number, name in enumerate(ROW_SHARDS):
        for key, row in contents[name].items():
            assert shards.setdefault(key[:-4], number) == number, "a frontend's rows are in one shard"
            rows[key] = row
    for name in VERDICT_MAPS:
        found[name] = {key: _plain(verdict, shards.get(key)) for key, verdict in contents[name].items()}
    return {**found, "endpoints": rows}


def _plain(verdict: Value, shard: int | None) -> Value:
    """`goto lb_3_2` → `goto lb_3`."""
    assert isinstance(verdict, str)
    if not verdict.startswith("goto lb_"):
        return verdict
    kind, count, *said = verdict.split("_")
    assert (int(said[0]) if said else 0) == shard, f"{verdict} leads to another shard than {shard}"
    return f"{kind}_{count}"


def _by_index(contents: Contents, prefix: str) -> dict[str, dict[bytes, Value]]:
    """The handles of sticky endpoints are free; that each index leads to an endpoint is not."""
    ids, endpoints = contents[f"{prefix}sticky-ids"], contents[f"{prefix}sticky-endpoints"]
    found: dict[bytes, Value] = {}
    for key, handle in ids.items():
        assert isinstance(handle, bytes)
        found[key] = endpoints[key[:-4] + handle]
    assert len(ids) == len(endpoints), "no handle without an index"
    return {f"{prefix}sticky-ids": found}


def apply_strictly(kernel: dict[str, dict[bytes, Value]], changes: tuple[Change, ...]) -> None:
    """What the kernel does with a batch: it refuses to delete what is not there and to add what is."""
    for change in changes:
        held = kernel[change.set.name]
        for key in change.remove:
            assert key in held, f"{change.set.name}: ENOENT"
            del held[key]
        for key, value in change.add:
            assert key not in held, f"{change.set.name}: EEXIST"
            held[key] = value

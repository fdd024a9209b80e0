"""What the cluster says, by service, and which services changed since they were last planned.

A change that leaves a service's compact form as it was (a label, an annotation, another field of its status) is no
change. One that is undone before it is planned costs one comparison: the ledger finds nothing to do.
"""

from collections.abc import Collection, Mapping

from proxy.plan.services import Served
from proxy.plan.slices import Slice


class Tracker:
    """The current compact objects, and the keys of services to plan again."""

    def __init__(self) -> None:
        self._services: dict[str, Served] = {}
        self._slices: dict[str, dict[str, Slice]] = {}
        self._dirty: set[str] = set()

    def service_changed(self, old: Served | None, new: Served | None) -> bool:
        """Take in an event of a service; returns whether it matters."""
        if old == new:
            return False
        if new is not None:
            self._services[new.key] = new
            self._dirty.add(new.key)
        elif old is not None:
            self._services.pop(old.key, None)
            self._dirty.add(old.key)
        return True

    def slice_changed(self, old: Slice | None, new: Slice | None) -> bool:
        """Take in an event of a slice (None where it is none of ours); returns whether it matters."""
        if old == new:
            return False
        if old is not None and (new is None or new.service != old.service):
            held = self._slices.get(old.service, {})
            held.pop(old.key, None)
            if not held:
                self._slices.pop(old.service, None)
            self._dirty.add(old.service)
        if new is not None:
            self._slices.setdefault(new.service, {})[new.key] = new
            self._dirty.add(new.service)
        return True

    def node_ports_changed(self) -> None:
        """Services with a NodePort are to be planned again."""
        has = (key for key, s in self._services.items() if any(port.node_port for v in s.views for port in v.ports))
        self._dirty.update(has)

    def take(self) -> set[str]:
        """The services to plan, each once; they count as planned from now on."""
        taken, self._dirty = self._dirty, set()
        return taken

    def give_back(self, services: Collection[str]) -> None:
        """These were not planned after all."""
        self._dirty.update(services)

    def everything(self) -> set[str]:
        """All services there are; they count as planned from now on."""
        self._dirty.clear()
        return set(self._services)

    def service(self, key: str) -> Served | None:
        """A service; None when it is gone."""
        return self._services.get(key)

    def slices(self, key: str) -> Collection[Slice]:
        """The slices of a service."""
        return self._slices.get(key, {}).values()

    @property
    def services(self) -> Mapping[str, Served]:
        """All services by key."""
        return self._services

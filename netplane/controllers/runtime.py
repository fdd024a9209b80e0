"""Runs controllers: informers fill the world, changes poke keys, workers plan and write.

    apiserver ──watch──► Informers ──► World ──► touched? ──► KeyQueue of each controller
        ▲                    ▲                                        │ take
        │                    └── wrote ──┐                            ▼
        └────────────── writes ──────────┴──── perform ◄──── plan(world, key)

No plan is made before every informer has listed: a Service that is merely not known yet must not lose its slices.
Every answer to a write goes back into the world at once, and older events of the object are passed over, so the next
plan of any key sees what was written: nothing is made twice because a watch is slow.

A runtime lives as long as one term of leadership; the next term begins with new lists.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from netplane.api.objects import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Event,
    Lease,
    Namespace,
    Node,
    Object,
    Pod,
    Service,
    ServiceAccount,
)
from netplane.client import errors
from netplane.client.api import Api
from netplane.client.informer import Informer
from netplane.controllers.controllers import Controller, Moment
from netplane.controllers.plan.accounts import DEFAULT_ACCOUNT, ROOT_CA
from netplane.controllers.plan.events import Correlator
from netplane.controllers.plan.world import LEASE_NAMESPACE, World
from netplane.controllers.plan.writes import Bind, Create, Delete, Patch, Plan, Replace, Write, is_event
from netplane.controllers.queue import KeyQueue
from netplane.obs import logs

log = logs.get("controllers")
# What changes under us all the time, and is right after another look.
EXPECTED = (errors.Conflict, errors.AlreadyExists, errors.NotFound, errors.NamespaceTerminating)


class NotLeading(Exception):
    """The term is over: this write is not ours to make any more."""


class Watched(NamedTuple):
    """Which objects of a kind the world knows."""

    cls: type[Object]
    namespace: str = ""
    field_selector: str = ""


ALL = (
    Watched(Service),
    Watched(EndpointSlice),
    Watched(Endpoints),
    Watched(Node),
    Watched(Pod),
    Watched(Lease, namespace=LEASE_NAMESPACE),
    Watched(Namespace),
    Watched(ServiceAccount, field_selector=f"metadata.name={DEFAULT_ACCOUNT}"),
    Watched(ConfigMap, field_selector=f"metadata.name={ROOT_CA}"),
)


class Observer(Protocol):
    """Who wants to know how long things take."""

    def worked(self, name: str, waited_s: float, took_s: float) -> None:
        """A key of controller `name` was worked on."""


class Runtime:
    """Controllers over one apiserver, on a world (an empty one). `may_write` is asked before each write."""

    def __init__(
        self,
        api: Api,
        controllers: Iterable[Controller],
        *,
        world: World | None = None,
        may_write: Callable[[], bool] = lambda: True,
        observer: Observer | None = None,
    ) -> None:
        self.world = world or World()
        self.writes = 0
        self.failures = 0
        self._api = api
        self._may_write = may_write
        self._observer = observer
        self._correlator = Correlator()
        self._controllers = list(controllers)
        self.queues = {controller.name: KeyQueue() for controller in self._controllers}
        self._wake = {controller.name: asyncio.Event() for controller in self._controllers}
        self._informers: dict[type[Object], Informer[Any]] = {
            one.cls: Informer(
                api, one.cls, namespace=one.namespace, field_selector=one.field_selector, on_change=self._changed
            )
            for one in ALL
        }
        for informer in self._informers.values():
            informer.begin_with_newest()

    @property
    def not_synced(self) -> list[str]:
        """Kinds that were never listed yet."""
        return [cls.__name__ for cls, informer in self._informers.items() if not informer.synced.is_set()]

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return sum(map(len, self.queues.values()))

    async def run(self) -> None:
        """For ever; cancel to stop."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())
            for informer in self._informers.values():
                await informer.synced.wait()
            log.info(
                "synced", services=len(self.world.services), pods=len(self.world.pods), nodes=len(self.world.nodes)
            )
            for controller in self._controllers:
                for _ in range(controller.workers):
                    group.create_task(self._work(controller))

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self.world.apply(old, new, _moment().clock_s)
        for controller in self._controllers:
            for key in controller.touched(self.world, old, new):
                self._poke(controller, key)

    def _poke(self, controller: Controller, key: str) -> None:
        self.queues[controller.name].poke(key, asyncio.get_running_loop().time())
        self._wake[controller.name].set()

    async def _work(self, controller: Controller) -> None:
        queue, wake = self.queues[controller.name], self._wake[controller.name]
        while True:
            wake.clear()
            now = _moment()
            key = queue.take(now.clock_s)
            if key is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(queue.wait_s(now.clock_s)):
                        await wake.wait()
                continue
            waited_s = queue.waited_s
            plan = await self._reconcile(controller, key)
            ok = plan is not None
            again_s = plan.again_s if plan else None
            if plan is not None:
                self._remember(controller.name, key, plan)
            done_s = _moment().clock_s
            queue.finished(key, done_s, ok=ok, dice=random.random(), again_s=again_s)
            if self._observer is not None:
                self._observer.worked(controller.name, waited_s, done_s - now.clock_s)
            if len(queue) or again_s is not None or not ok:
                wake.set()  # another worker may have gone to sleep for longer than this key may wait
            await asyncio.sleep(0)

    async def _reconcile(self, controller: Controller, key: str) -> Plan | None:
        """Plan and perform; None when something failed and the key has to be looked at again."""
        write: Write | None = None
        try:
            plan = controller.plan(self.world, key, _moment())
            if plan.note:
                log.warning("note", controller=controller.name, key=key, note=plan.note)
            if plan.writes and controller.reserve is not None:
                controller.reserve(self.world, key, plan.reserve)
            for write in plan.writes:
                await (self._tell(write) if is_event(write) else self._perform(write))
                log.debug("wrote", controller=controller.name, write=str(write))
        except EXPECTED as error:
            log.debug("again", controller=controller.name, write=str(write), reason=error.reason)
            return None
        except errors.Unreachable as error:
            log.debug("again", controller=controller.name, write=str(write), reason=error.message)  # informers tell
            return None
        except errors.ApiError as error:
            self.failures += 1
            log.warning("write failed", controller=controller.name, write=str(write), error=error.message)
            return None
        except NotLeading:
            log.warning("not written: no longer leading", controller=controller.name, write=str(write))
            return None
        except Exception:
            self.failures += 1
            log.exception("plan failed", controller=controller.name, key=key)
            return None
        return plan

    def _remember(self, name: str, key: str, plan: Plan) -> None:
        if plan.forget:
            self.world.memory.pop((name, key), None)
        elif plan.remember is not None:
            self.world.memory[name, key] = plan.remember

    async def _perform(self, write: Write) -> Object | None:
        """Write, and take the answer into the world. Raises NotLeading, ApiError."""
        if not self._may_write():
            raise NotLeading
        self.writes += 1
        match write:
            case Create(obj):
                return self._wrote(await self._api.create(obj))
            case Replace(obj):
                return self._wrote(await self._api.replace(obj))
            case Patch():
                patch = partial(self._api.patch, write.cls, write.name, write.namespace, write.patch, kind=write.kind)
                return self._wrote(await patch(subresource=write.subresource))
            case Bind(namespace, name, node):
                await self._api.bind(namespace, name, node)
                return self._wrote(await self._api.get(Pod, name, namespace))
            case Delete():
                await self._delete(write)
                return None

    async def _tell(self, write: Write) -> None:
        """An Event is for people: one that is refused does not hold up the work it tells about."""
        assert isinstance(write, Create), "plans tell with new Events"
        assert isinstance(write.obj, Event), "nothing else is told"
        write_now, key = self._correlator.take(write.obj, _moment().clock_s)
        if write_now is None:
            return
        try:
            written = await self._perform(write_now)
        except errors.NotFound:
            self._correlator.gone(key)
        except errors.ApiError as error:
            self.failures += 1
            log.warning("event not written", write=str(write), error=error.message)
        else:
            if isinstance(written, Event):
                self._correlator.done(key, written)

    async def _delete(self, write: Delete) -> None:
        with suppress(errors.NotFound):
            await self._api.delete(write.cls, write.name, write.namespace, grace_period_s=write.grace_period_s)
        if write.cls is not Pod and write.cls in self._informers:  # a pod may live on for its grace period
            self._informers[write.cls].deleted(f"{write.namespace}/{write.name}" if write.namespace else write.name)

    def _wrote(self, obj: Object) -> Object:
        informer = self._informers.get(type(obj))
        if informer is not None and (type(obj) is not Lease or obj.metadata.namespace == LEASE_NAMESPACE):
            informer.wrote(obj)
        return obj


def _moment() -> Moment:
    now = datetime.now(UTC)
    return Moment(asyncio.get_running_loop().time(), f"{now:%Y-%m-%dT%H:%M:%SZ}", now.timestamp())

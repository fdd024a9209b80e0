"""Runs controllers: informers fill the world, changes poke keys, workers plan and write.

    apiserver ──watch──► Informers ──► World ──► touched? ──► KeyQueue of each controller
        ▲                    ▲                                        │ take
        │                    └── wrote ──┐                            ▼
        └────────────── writes ──────────┴──── perform ◄──── plan(world, key)

No plan is made before every informer has listed: a Service that is merely not known yet must not lose its slices.
Every answer to a write goes back into the world at once, so the next plan of any key sees it.
"""

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from netplane.api.objects import Endpoints, EndpointSlice, Lease, Node, Object, Pod, Service
from netplane.client import errors
from netplane.client.api import Api
from netplane.client.informer import Informer
from netplane.controllers.controllers import Controller, Moment
from netplane.controllers.plan.world import LEASE_NAMESPACE, World
from netplane.controllers.plan.writes import Bind, Create, Delete, Patch, Plan, Replace, Write, is_event
from netplane.controllers.queue import KeyQueue
from netplane.obs import logs

log = logs.get("controllers")
# What changes under us all the time, and is right after another look.
EXPECTED = (errors.Conflict, errors.AlreadyExists, errors.NotFound)


class Runtime:
    """Controllers over one apiserver."""

    def __init__(self, api: Api, controllers: Iterable[Controller]) -> None:
        self.world = World()
        self.writes = 0
        self.failures = 0
        self._api = api
        self._controllers = list(controllers)
        self._queues = {controller.name: KeyQueue() for controller in self._controllers}
        self._wake = {controller.name: asyncio.Event() for controller in self._controllers}
        self._informers: dict[type[Object], Informer[Any]] = {
            cls: Informer(
                api,
                cls,
                namespace=LEASE_NAMESPACE if cls is Lease else "",
                on_change=self._changed,
            )
            for cls in (Service, EndpointSlice, Endpoints, Node, Pod, Lease)
        }

    @property
    def not_synced(self) -> list[str]:
        """Kinds that were never listed yet."""
        return [cls.__name__ for cls, informer in self._informers.items() if not informer.synced.is_set()]

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return sum(map(len, self._queues.values()))

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
                self._queues[controller.name].poke(key)
                self._wake[controller.name].set()

    async def _work(self, controller: Controller) -> None:
        queue, wake = self._queues[controller.name], self._wake[controller.name]
        while True:
            wake.clear()
            now = _moment()
            key = queue.take(now.clock_s)
            if key is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(queue.wait_s(now.clock_s)):
                        await wake.wait()
                continue
            plan = await self._reconcile(controller, key)
            ok = plan is not None
            again_s = plan.again_s if plan else None
            if plan is not None:
                self._remember(controller.name, key, plan)
            queue.finished(key, _moment().clock_s, ok=ok, dice=random.random(), again_s=again_s)
            if len(queue) or again_s is not None:
                wake.set()  # another worker may have gone to sleep for longer than this key may wait
            await asyncio.sleep(0)

    async def _reconcile(self, controller: Controller, key: str) -> Plan | None:
        """Plan and perform; None when something failed and the key has to be looked at again."""
        write: Write | None = None
        try:
            plan = controller.plan(self.world, key, _moment())
            if plan.note:
                log.warning("note", controller=controller.name, key=key, note=plan.note)
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

    async def _perform(self, write: Write) -> None:
        self.writes += 1
        match write:
            case Create(obj):
                self._wrote(await self._api.create(obj))
            case Replace(obj):
                self._wrote(await self._api.replace(obj))
            case Patch():
                patch = partial(self._api.patch, write.cls, write.name, write.namespace, write.patch, kind=write.kind)
                self._wrote(await patch(subresource=write.subresource))
            case Bind(namespace, name, node):
                await self._api.bind(namespace, name, node)
                self._wrote(await self._api.get(Pod, name, namespace))
            case Delete():
                await self._delete(write)

    async def _tell(self, write: Write) -> None:
        """An Event is for people: one that is refused does not hold up the work it tells about."""
        try:
            await self._perform(write)
        except errors.ApiError as error:
            self.failures += 1
            log.warning("event not written", write=str(write), error=error.message)

    async def _delete(self, write: Delete) -> None:
        with suppress(errors.NotFound):
            await self._api.delete(write.cls, write.name, write.namespace, grace_period_s=write.grace_period_s)
        if write.cls is not Pod and write.cls in self._informers:  # a pod may live on for its grace period
            self._informers[write.cls].deleted(f"{write.namespace}/{write.name}" if write.namespace else write.name)

    def _wrote(self, obj: Object) -> None:
        informer = self._informers.get(type(obj))
        if informer is not None:
            informer.wrote(obj)


def _moment() -> Moment:
    return Moment(asyncio.get_running_loop().time(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")

"""The process: a client, at most one runtime at a time, and what it tells about itself."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

import msgspec

from netplane.api.objects import ObjectMeta
from netplane.client import config
from netplane.client.api import Api
from netplane.controllers import controllers
from netplane.controllers.controllers import Options
from netplane.controllers.election import Elector
from netplane.controllers.plan.election import Timing
from netplane.controllers.queue import KeyQueue
from netplane.controllers.runtime import Observer, Runtime
from netplane.obs import health, logs

log = logs.get("controllers")


class Lock(NamedTuple):
    """The Lease that candidates compete for."""

    name: str
    namespace: str
    timing: Timing


class Program:
    """Runtimes one after another: each term of leadership has its own, with a world read anew."""

    def __init__(self, api: Api, options: Options, elector: Elector | None) -> None:
        self.runtime: Runtime | None = None
        self.elector = elector
        self.observer: Observer | None = None
        self.writes = self.failures = 0  # of earlier terms
        self._api, self._options = api, options

    async def run(self) -> None:
        """Until cancelled."""
        await (self.elector.run(self._term) if self.elector else self._term())

    async def _term(self) -> None:
        options = self._options
        may_write = self.elector.may_write if self.elector else lambda: True
        self.runtime = Runtime(
            self._api,
            controllers.build(options),
            world=controllers.empty_world(options),
            may_write=may_write,
            observer=self.observer,
        )
        try:
            await self.runtime.run()
        finally:
            self.writes += self.runtime.writes
            self.failures += self.runtime.failures
            self.runtime = None

    def queues(self) -> Mapping[str, KeyQueue]:
        """Of the present term."""
        return self.runtime.queues if self.runtime else {}

    def not_ready(self) -> str:
        """What is lacking; standing by is being ready."""
        if self.runtime is None:
            return "" if self.elector else "not started"
        missing = ", ".join(self.runtime.not_synced)
        return missing and f"{missing} not listed yet"

    def total(self, name: str) -> float:
        """`writes` or `failures` of all terms."""
        return float(getattr(self, name)) + float(getattr(self.runtime, name, 0))


async def run(kubeconfig: str | None, master: str, options: Options, lock: Lock | None, bind: str) -> None:
    """Until SIGTERM or SIGINT; the lead is given away then."""
    connection = config.load(kubeconfig, server=master)
    if not options.root_ca:
        options = msgspec.structs.replace(options, root_ca=connection.ca_pem)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(connection, agent="netplane-controllers"))
        name = ObjectMeta(name=lock.name, namespace=lock.namespace) if lock else None
        elector = Elector(api, name, timing=lock.timing) if lock and name else None
        program = Program(api, options, elector)
        if bind:
            await _serve(stack, program, bind)
        task = asyncio.create_task(program.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        who = {"identity": elector.identity} if elector else {}
        log.info("started", apiserver=connection.server, **who)
        with suppress(asyncio.CancelledError):
            await task
        log.info("stopped", writes=int(program.total("writes")))


async def _serve(stack: AsyncExitStack, program: Program, bind: str) -> None:
    from netplane.controllers.metrics import Meter  # noqa: PLC0415 - prometheus only when asked for
    from netplane.obs import metrics  # noqa: PLC0415 - likewise

    registry = metrics.new_registry()
    program.observer = Meter(registry, program.queues, asyncio.get_running_loop().time)
    for name, text in (("writes", "Writes to the apiserver."), ("failures", "Writes and plans that failed.")):
        gauge = metrics.Gauge(f"netplane_controllers_{name}", text, registry=registry)
        gauge.set_function(lambda name=name: program.total(name))  # type: ignore[misc]  # binds the name, takes nothing
    leading = metrics.Gauge(
        "leader_election_master_status", "1 while this process leads.", ["name"], registry=registry
    ).labels(program.elector.lock if program.elector else "")
    leading.set_function(lambda: float(program.elector.may_write()) if program.elector else 1.0)
    routes = {
        "/healthz": health.alive,
        "/livez": health.alive,
        "/readyz": health.checks(health.Check("informers", program.not_ready)),
        "/metrics": metrics.route(registry),
    }
    host, port = health.parse_bind(bind, "--healthz-bind-address", default_port=10257)
    await stack.enter_async_context(health.serve(routes, health.listen(host, port, "--healthz-bind-address")))

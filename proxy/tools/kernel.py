"""`netplane verify --kernel`: every flow of a case as real connections through the real rules.

One node serves all cases, one after the other: it takes the case's addresses, loads the case's tables and is asked.
A flow that may go to N endpoints is tried until each has answered, or until a fair choice among N would have left one
out only once in a billion times.
"""

import ipaddress
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from netplane.errors import UsageError
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft
from netplane.net.addresses import lenient, with_port
from netplane.nft import elements
from netplane.nft.objects import Table
from netplane.nft.types import PROTOCOLS, Family
from proxy.plan.fixtures import Flow, World
from proxy.plan.model import TRANSPORTS
from proxy.plan.skeleton import NAME
from proxy.plan.verdicts import Judged, Result, Seen, judge, verify
from proxy.tools.hosts import Hosts, hosts
from proxy.tools.probes import Answer, Probe, Service, Talk

PATIENCE_S = 0.3
# What seems dropped and should not be is asked again with more patience: the machine may only be busy.
MORE_PATIENCE_S = 1.5
_PER_ROUND = 12
MAX_HOSTS = 512
_OUTCOMES = {"refused": "reject", "unreachable": "none", "silent": "drop"}


def tries(endpoints: int, chance: float = 1e-9) -> int:
    """Connections until a fair choice has shown every endpoint, but for this chance (union bound)."""
    return 1 if endpoints < 2 else math.ceil(math.log(chance / endpoints) / math.log(1 - 1 / endpoints))


def verify_all(worlds: Sequence[World]) -> Iterator[Judged]:
    """Judge cases one after the other. Raises HostsError, NetnsError or NftError when this machine cannot."""
    addresses = sorted(set(_addresses(worlds)))
    if len(addresses) > MAX_HOSTS:
        raise UsageError(
            f"--kernel: {len(addresses)} sources and endpoints, each a network namespace; {MAX_HOSTS} is most",
            hint="pick some of the cases with --case, or verify without --kernel",
        )
    with hosts(addresses) as machine:
        nft, conntrack = Nft(machine.node), Conntrack(machine.node)
        try:
            for world in worlds:
                yield _Run(machine, nft, conntrack, world).judged()
        finally:
            conntrack.close()
            nft.close()


def _addresses(worlds: Sequence[World]) -> Iterator[str]:
    """Everyone who talks and is not a node: sources, endpoints, and destinations that are endpoints."""
    for world in worlds:
        yield from (flow.src for flow in world.case.flows if not world.from_node(flow))
        yield from (address for address, *_ in _endpoints(world))


def _endpoints(world: World) -> Iterator[tuple[str, int, str]]:
    """(address, port, protocol) of all endpoints, of whatever state: rules may be wrong."""
    for item in world.case.endpoint_slices:
        if item.address_type not in ("IPv4", "IPv6"):
            continue
        for endpoint in item.endpoints or ():
            for port in item.ports or ():
                protocol = (port.protocol or "TCP").lower()
                if endpoint.addresses and _is_address(endpoint.addresses[0]) and port.port and protocol in TRANSPORTS:
                    yield str(ipaddress.ip_address(lenient(endpoint.addresses[0]))), port.port, protocol


class _Run:
    """One case on the machine."""

    def __init__(self, machine: Hosts, nft: Nft, conntrack: Conntrack, world: World) -> None:
        self.machine, self.nft, self.conntrack, self.world = machine, nft, conntrack, world
        self.mine = {str(ipaddress.ip_address(raw)) for raw in world.node.addresses}
        self.sticky = any(service.spec.session_affinity == "ClientIP" for service in world.case.services)
        self.tables: dict[Family, Table] = {}
        self.tracked: dict[int, dict[str, bool]] = {}
        self.traced = verify(world)

    def judged(self) -> Judged:
        """All flows. Those that a VIP sends to itself want the VIP on the node, so they go apart."""
        flows = self.world.case.flows
        plain = [
            i for i, flow in enumerate(flows) if flow.src != flow.dst or flow.src in self.mine or _loopback(flow.src)
        ]
        rest = [i for i in range(len(flows)) if i not in set(plain)]
        found = self._group(plain, ())
        for index in rest:
            found.update(self._group([index], (flows[index].src,)))
        results = (self._result(index, found[index]) for index in range(len(flows)))
        return Judged(self.world.case.id, tuple(results), self.traced.notes)

    def _result(self, index: int, seen: Seen) -> Result:
        flow = self.world.case.flows[index]
        return Result(flow, seen, tuple(judge(self.world, flow, seen)), self.traced.results[index].trace)

    def _group(self, indices: list[int], extra: tuple[str, ...]) -> dict[int, Seen]:
        flows = [self.world.case.flows[index] for index in indices]
        families = dict.fromkeys(flow.family for flow in flows)
        mine = {*self.mine, *extra}
        far = {flow.dst for flow in flows if self._space(flow.dst, mine) == self.machine.sink}
        with self.machine.owning({a for a in mine if not _loopback(a)}, far):
            self._load(families)
            try:
                with Talk(self._services(flows, mine)) as talk:
                    return self._ask(talk, indices)
            finally:
                self._unload(families)

    def _load(self, families: dict[Family, None]) -> None:
        for family in families:
            rules, _ = self.world.ruleset(family)
            self.tables[family] = rules.table
            self.nft.run_text(elements.listing(rules.table, rules.elements))

    def _unload(self, families: dict[Family, None]) -> None:
        for family in families:
            self.nft.run_text(f"add table {family.nft} {NAME}\ndelete table {family.nft} {NAME}")
            for protocol in TRANSPORTS.values():
                self.conntrack.delete(family, self.conntrack.flows(family, protocol))

    def _services(self, flows: list[Flow], mine: set[str]) -> Iterator[Service]:
        """Endpoints, and whoever has a flow's destination: it answers when nothing was translated."""
        asked = ((flow.dst, flow.dport, flow.protocol) for flow in flows)
        for address, port, protocol in (*_endpoints(self.world), *asked):
            yield Service(self._space(address, mine), address, port, protocol)

    def _space(self, address: str, mine: set[str]) -> int:
        if address in mine or _loopback(address):
            return self.machine.node
        return self.machine.by_address.get(address, self.machine.sink)

    # Asking ---------------------------------------------------------------------------------------------------

    def _ask(self, talk: Talk, indices: list[int]) -> dict[int, Seen]:
        counts = {index: self._count(index) for index in indices}
        answers: dict[int, list[Answer]] = {index: [] for index in indices}
        at_once = 1 if self.sticky else _PER_ROUND
        while counts:
            self._round(talk, {i: min(count, at_once) for i, count in counts.items()}, answers, PATIENCE_S)
            left = {i: count - at_once for i, count in counts.items()}
            counts = {i: count for i, count in left.items() if count > 0 and not self._complete(i, answers[i])}
        again = {i: 1 for i in indices if self._dubious(i, answers[i])}
        if again:
            for index in again:
                answers[index] = [answer for answer in answers[index] if answer.outcome != "silent"]
            self._round(talk, again, answers, MORE_PATIENCE_S)
        for index in indices:
            if self._itself(index) or self.world.from_node(self.world.case.flows[index]):
                self.tracked[index] = self._tracked(self.world.case.flows[index])
        return {index: self._seen(index, answers[index]) for index in indices}

    def _tracked(self, flow: Flow) -> dict[str, bool]:
        """Where the kernel's own record says that a flow's connections went, and whether with another source.

        For what no answer tells: a pod that gets its own packet is silent, and a node that is masqueraded has the
        address it had. A packet that was dropped leaves no record.
        """
        asked = (lenient(flow.src), lenient(flow.dst), flow.dport)
        found: dict[str, bool] = {}
        for seen in self.conntrack.flows(flow.family, PROTOCOLS[flow.protocol]):
            sent, reply = seen.original, seen.reply
            if (sent.source, sent.destination, sent.destination_port) == asked:
                found[with_port(flow.family.address.text(reply.source), reply.source_port)] = seen.masqueraded
        return found

    def _round(self, talk: Talk, counts: dict[int, int], into: dict[int, list[Answer]], patience_s: float) -> None:
        for together in self._apart(counts):
            asked = {self._probe(i, serial): i for i in together for serial in range(counts[i])}
            for probe, answer in talk.ask(list(asked), patience_s).items():
                into[asked[probe]].append(answer)
            self._forget_clients(counts)

    def _apart(self, counts: dict[int, int]) -> Iterator[list[int]]:
        """With session affinity the choice is free once for each source: those of one source go one after the other."""
        if not self.sticky:
            yield list(counts)
            return
        by_source: dict[str, list[int]] = {}
        for index in counts:
            by_source.setdefault(self.world.case.flows[index].src, []).append(index)
        for group in itertools.zip_longest(*by_source.values()):
            yield [index for index in group if index is not None]

    def _forget_clients(self, counts: dict[int, int]) -> None:
        """Flows are about clients that nobody remembers."""
        if self.sticky:
            for family in dict.fromkeys(self.world.case.flows[index].family for index in counts):
                remembered = (owner for owner in self.tables[family].sets if "dynamic" in owner.flags)
                for owner in remembered:
                    self.nft.run_text(f"flush {owner.keyword} {self.tables[family].spec} {owner.name}")

    def _probe(self, index: int, serial: int) -> Probe:
        flow = self.world.case.flows[index]
        space = self.machine.node if self.world.from_node(flow) else self.machine.by_address[flow.src]
        return Probe(space, flow.src, flow.dst, flow.dport, flow.protocol, index * 1000 + serial)

    def _expected(self, index: int) -> set[str]:
        """Endpoints to look for: those that the case names, and those that the tracer finds."""
        return {*(self.world.case.flows[index].endpoints or ()), *self.traced.results[index].seen.endpoints}

    def _count(self, index: int) -> int:
        return tries(len(self._expected(index)))

    def _complete(self, index: int, answers: list[Answer]) -> bool:
        return self._expected(index) <= set(self._seen(index, answers).endpoints)

    def _dubious(self, index: int, answers: list[Answer]) -> bool:
        flow = self.world.case.flows[index]
        silent = any(answer.outcome == "silent" for answer in answers)
        return silent and flow.verdict != "drop" and not self._itself(index)

    def _itself(self, index: int) -> str:
        """The endpoint at which a flow asks itself with its own source: it never hears the answer."""
        flow = self.world.case.flows[index]
        masquerade = self.traced.results[index].seen.endpoints
        own = (e for e in self._expected(index) if e.rpartition(":")[0].strip("[]") == flow.src)
        return next((endpoint for endpoint in own if not masquerade.get(endpoint)), "")

    # What it means --------------------------------------------------------------------------------------------

    def _seen(self, index: int, answers: list[Answer]) -> Seen:
        flow, itself = self.world.case.flows[index], self._itself(index)
        tracked = self.tracked.get(index, {})
        outcomes: dict[str, None] = {}
        endpoints: dict[str, bool | None] = {}
        for answer in answers:
            if answer.outcome == "answered" and answer.endpoint != self._untranslated(flow):
                outcomes["dnat"] = None
                endpoints[answer.endpoint] = self._masqueraded(flow, answer, tracked)
            elif answer.outcome == "answered":
                outcomes["none"] = None
            elif answer.outcome == "silent" and itself in tracked:
                outcomes["dnat"] = None
                endpoints[itself] = tracked[itself]
            else:
                outcomes[_OUTCOMES[answer.outcome]] = None
        return Seen(" and ".join(outcomes), endpoints)

    @staticmethod
    def _untranslated(flow: Flow) -> str:
        return with_port(flow.dst, flow.dport)

    def _masqueraded(self, flow: Flow, answer: Answer, tracked: Mapping[str, bool]) -> bool | None:
        """Whether the source was rewritten. From the node to the node the address stays, and only the port is new."""
        here = answer.endpoint.rpartition(":")[0].strip("[]")
        if self.world.from_node(flow) and here in self.mine:
            return tracked.get(answer.endpoint)
        return answer.client != flow.src


def _is_address(text: str) -> bool:
    try:
        lenient(text)
    except ValueError:
        return False
    return True


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback

"""Is what became of a packet what a fixture expects? One judge for the tracer's answer and for the kernel's."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netplane.nft.packet import Trace, packet
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy.plan.fixtures import Flow, World


class Seen(NamedTuple):
    """What became of a flow: outcome, and for each endpoint that it may reach (ip:port) whether it is masqueraded.

    None for an endpoint that was reached without telling.
    """

    outcome: str
    endpoints: Mapping[str, bool | None] = {}

    def __str__(self) -> str:
        if self.outcome != "dnat":
            return self.outcome
        return "dnat " + ", ".join(f"{e}{' (masq)' if masq else ''}" for e, masq in sorted(self.endpoints.items()))


class Result(NamedTuple):
    """One flow, judged: right when there are no `problems`. `trace` is the tracer's path, as text."""

    flow: Flow
    seen: Seen
    problems: tuple[str, ...]
    trace: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything the flow says came true."""
        return not self.problems


class Judged(NamedTuple):
    """A case with all its flows; `notes` name objects that the plan skipped."""

    id: str
    results: tuple[Result, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every flow is right."""
        return all(result.ok for result in self.results)


def verify(world: World) -> Judged:
    """Every flow of a case, through the tracer."""
    rules: dict[Family, Ruleset] = {}
    notes: dict[str, None] = {}
    results = []
    for flow in world.case.flows:
        if flow.family not in rules:
            rules[flow.family], problems = world.ruleset(flow.family)
            notes.update(dict.fromkeys(problems))
        results.append(_traced(world, rules[flow.family], flow))
    return Judged(world.case.id, tuple(results), tuple(notes))


def _traced(world: World, rules: Ruleset, flow: Flow) -> Result:
    first = packet(flow.src, flow.dst, flow.dport, flow.protocol, local=world.from_node(flow))
    trace = rules.trace(first)
    problems = [*judge(world, flow, seen(trace))]
    if trace.holes:
        problems.append(f"{trace.holes} of the random outcomes find no endpoint")
    return Result(flow, seen(trace), tuple(problems), str(trace))


def seen(trace: Trace) -> Seen:
    """A trace as what is judged."""
    return Seen(trace.outcome, {str(endpoint): endpoint.masquerade for endpoint in trace.endpoints})


def judge(world: World, flow: Flow, found: Seen) -> Iterator[str]:
    """What differs from the expectation, one sentence each."""
    wanted = "none" if flow.verdict == "accept" else flow.verdict
    if found.outcome != wanted:
        yield f"verdict is {found.outcome}, expected {flow.verdict}"
        return
    if wanted != "dnat":
        return
    if flow.endpoints is not None:
        yield from _judge_endpoints(set(flow.endpoints), set(found.endpoints))
    for endpoint, masquerade in _expected_masquerade(world, flow, found):
        got = found.endpoints.get(endpoint)
        if got is not None and got != masquerade:
            yield f"{endpoint} {'is' if got else 'is not'} masqueraded, expected {'' if masquerade else 'not '}to be"


def _judge_endpoints(wanted: set[str], got: set[str]) -> Iterator[str]:
    if wanted - got:
        yield f"endpoints that should be reached and are not: {', '.join(sorted(wanted - got))}"
    if got - wanted:
        yield f"endpoints that should not be reached and are: {', '.join(sorted(got - wanted))}"


def _expected_masquerade(world: World, flow: Flow, found: Seen) -> Iterator[tuple[str, bool]]:
    if flow.masq_by_endpoint is not None:
        yield from flow.masq_by_endpoint.items()
    elif flow.masq is not None:
        first = (flow.endpoints or [])[:1] if world.case.first_endpoint_only else []
        yield from ((endpoint, flow.masq) for endpoint in first or found.endpoints)

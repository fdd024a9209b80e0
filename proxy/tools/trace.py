"""`netplane trace`: why does this packet go there?"""

import itertools
import re
from typing import Any, NamedTuple

import click

from netplane.api.objects import EndpointSlice, Service
from netplane.errors import UsageError
from netplane.nft.packet import Packet, Trace, packet
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy.plan import agree, explain
from proxy.plan.agree import Followed
from proxy.plan.compare import Difference
from proxy.plan.explain import Told
from proxy.plan.model import Node
from proxy.plan.skeleton import NAME
from proxy.tools import planned, show
from proxy.tools.planned import Planned
from proxy.tools.show import bad, bold, dim, good, say

_DESTINATION = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d+)(?:/(tcp|udp|sctp))?", re.IGNORECASE)


class Rules(NamedTuple):
    """What a packet is traced through, and what is known of its making."""

    ruleset: Ruleset
    origin: str
    node: Node
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    owner: str = ""
    strange: tuple[Difference, ...] = ()


@click.command("trace", short_help="Which way a packet goes, and why.", context_settings={"max_content_width": 110})
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST:PORT[/PROTO]")
@planned.options
@click.option("--iif", metavar="NAME", help="The interface that it comes in by, where rules look at that.")
@click.option("--live", is_flag=True, help="Follow a real packet too, with nftables' own trace, and compare.")
@click.option("--from-netns", metavar="NAME", help="With --live: send it from this network namespace, such as a pod's.")
@click.option("--wait", "wait_s", type=float, default=10.0, show_default=True, help="With --live: seconds to wait.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(source: str, destination: str, iif: str | None, output: str, *, live: bool, **flags: Any) -> None:
    """Follow the first packet of a connection through the service rules: path, verdict, endpoints, and why.

    SRC is an address; one of the node's own means that the node itself asks. PROTO is tcp (the default), udp or sctp.
    Write IPv6 destinations as [ADDRESS]:PORT.

    Without further flags the rules are those in the kernel, of this network namespace. With --objects FILE or
    --kubeconfig FILE they are those that the node --node should have, and every endpoint that was left out is
    listed with the reason.

    With --live, a real packet is followed through this namespace's rules by nftables itself, and the two are compared.
    It is sent from here when SRC is an address of this namespace, from --from-netns when that is given (a TCP
    handshake, or an empty datagram), and otherwise awaited. Exit status 1 says that the kernel did something else.

    For example:

    \b
      netplane trace 10.244.1.7 10.96.0.10:53/udp
      netplane trace 10.244.1.7 10.96.0.1:443 --kubeconfig admin.conf --node worker-1
      netplane trace 203.0.113.9 192.0.2.1:30080 --objects manifests.yaml --node worker-1
    """
    first = parse(source, destination)
    rules = _rules(first, flags)
    local = first.saddr in rules.ruleset.local_addresses or first.saddr == first.daddr
    first = first._replace(local=local, iifname="" if local else iif or first.iifname)
    traced = rules.ruleset.trace(first)
    told = explain.explain(traced, rules.services, rules.slices, rules.owner, rules.node)
    followed = _follow(traced, flags) if live else None
    if output == "json":
        show.as_json(_json(rules, traced, told) | ({"live": followed.json()} if followed else {}))
    else:
        _text(rules, traced, told)
        if followed:
            _text_live(followed)
    if followed and followed.disagreements:
        raise click.exceptions.Exit(1)


class Live(NamedTuple):
    """A real packet's way, beside the traced one's."""

    followed: Followed
    how: str
    disagreements: list[str]

    def json(self) -> dict[str, Any]:
        """For programs."""
        said = self.followed._asdict() | {"seen": [one._asdict() for one in self.followed.seen]}
        return {**said, "packet": self.how, "agrees": not self.disagreements, "disagreements": self.disagreements}


def _follow(traced: Trace, flags: dict[str, Any]) -> Live:
    from proxy.tools import live  # noqa: PLC0415 - only this way needs the kernel

    followed, how = live.follow(traced.packet, flags["from_netns"], flags["wait_s"])
    return Live(followed, how, list(agree.disagreements(traced, followed)))


def parse(source: str, destination: str) -> Packet:
    """The packet that two arguments describe. Raises UsageError."""
    match = _DESTINATION.fullmatch(destination)
    if match is None or not 0 < int(match[3]) < 65_536:
        raise UsageError(
            f"{destination!r} is no destination", hint="write 10.96.0.10:53/udp, or [fd00:96::a]:443 for IPv6"
        )
    try:
        return packet(source, match[1] or match[2], int(match[3]), (match[4] or "tcp").lower())
    except ValueError as error:
        raise UsageError(f"{source} {destination}: {error}", hint="both must be addresses of one family") from error


def _rules(first: Packet, flags: dict[str, Any]) -> Rules:
    if planned.has_objects(flags):
        return _of_objects(first.family, first, Planned.of(flags), flags)
    from proxy.tools import loaded  # noqa: PLC0415 - only this way needs the kernel

    found = loaded.read(first.family)
    node = Node("", "", (), found.ruleset.local_addresses)
    return Rules(found.ruleset, "the kernel's rules, in this network namespace", node, strange=found.strange)


def _of_objects(family: Family, first: Packet, plan: Planned, flags: dict[str, Any]) -> Rules:
    ledger, problems = plan.ledger(family)
    show.skipped(problems)
    where = ", ".join(map(str, flags["files"])) or "the apiserver"
    owner = ledger.owner(explain.asked_key(first))
    origin = f"what node {plan.node.name} should have, by {where}"
    return Rules(plan.ruleset(ledger), origin, plan.node, plan.objects.services, plan.objects.slices, owner)


# Output ---------------------------------------------------------------------------------------------------------


def _text(rules: Rules, traced: Trace, told: Told) -> None:
    say(f"{bold(str(traced.packet))}  {dim(f'({rules.origin})')}")
    if told.service:
        say(f"service   {bold(told.service)}, asked at its {told.frontend}; traffic policy {told.policy}")
    for difference in rules.strange:
        say(f"{click.style('warning:', fg='yellow')} {difference.what} has a rule of a stranger: {difference.have}")
    _path(traced)
    masquerade = f", {click.style('masqueraded', fg='yellow')}" if traced.masquerade and not traced.endpoints else ""
    say(f"\nverdict   {show.outcome(traced.outcome)}{masquerade}: {told.why}")
    if told.candidates:
        _candidates(traced, told)
        return
    for endpoint in traced.endpoints:
        say(f"  {good('→')} {endpoint}{_masquerade(masquerade=endpoint.masquerade)}")
    if traced.endpoints:
        say(dim("  (for the endpoints that were left out, and why: --objects FILE or --kubeconfig FILE)"))


def _path(traced: Trace) -> None:
    say("path")
    width = max((len(step.chain) for step in traced.steps), default=0)
    # What happens after the choice happens for each endpoint: one line for all of them.
    for (chain, rule), steps in itertools.groupby(traced.steps, key=lambda step: step[:2]):
        same = list(steps)
        note = same[0].note if len(same) == 1 else f"for {len(same)} endpoints"
        say(f"  {chain:<{width}}  {rule}{dim(f'   # {note}') if note else ''}")
    if not traced.steps:
        say(dim("  no rule matches"))


def _candidates(traced: Trace, told: Told) -> None:
    masqueraded = {str(endpoint): endpoint.masquerade for endpoint in traced.endpoints}
    width = max(len(item.endpoint) for item in told.candidates)
    for item in sorted(told.candidates, key=lambda item: not item.chosen):
        about = ", ".join(part for part in (item.target, f"node {item.node}" if item.node else "") if part)
        mark = good("→") if item.chosen else bad("✗")
        said = _masquerade(masquerade=masqueraded.get(item.endpoint, False)) if item.chosen else f"  {bad(item.reason)}"
        say(f"  {mark} {item.endpoint:<{width}}{said}{dim(f'  {about}') if about else ''}")


def _text_live(live: Live) -> None:
    followed = live.followed
    say(f"\nlive      a real packet, {live.how}")
    width = max((len(one.chain) for one in followed.seen), default=0)
    for one in followed.seen:
        stranger = "" if one.table.endswith(NAME) else dim(f"   # table {one.table}")
        say(f"  {one.chain:<{width}}  {one.rule}{stranger}")
    end = f" {followed.endpoint}{_masquerade(masquerade=followed.masquerade)}" if followed.endpoint else ""
    say(f"  = {show.outcome(followed.outcome)}{end}")
    if not live.disagreements:
        say(good("agree     the kernel did what the tracer says"))
    for said in live.disagreements:
        say(bad(f"differ    {said}"))


def _masquerade(*, masquerade: bool) -> str:
    return f"  {click.style('source rewritten to the node', fg='yellow')}" if masquerade else "  source kept"


def _json(rules: Rules, traced: Trace, told: Told) -> dict[str, Any]:
    return {
        "packet": str(traced.packet),
        "rules": rules.origin,
        "service": told.service,
        "frontend": told.frontend,
        "policy": told.policy,
        "steps": [step._asdict() for step in traced.steps],
        "verdict": traced.outcome,
        "why": told.why,
        "masquerade": traced.masquerade,
        "endpoints": [{"endpoint": str(e), "masquerade": e.masquerade} for e in traced.endpoints],
        "leftOut": [
            {"endpoint": c.endpoint, "target": c.target, "node": c.node, "reason": c.reason}
            for c in told.candidates
            if not c.chosen
        ],
        "strangeRules": [difference._asdict() for difference in rules.strange],
    }

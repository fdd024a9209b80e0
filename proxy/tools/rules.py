"""`netplane-proxy plan` and `netplane-proxy diff`: what the rules would be, and how the kernel's differ."""

from typing import Any

import click

from netplane.errors import NetplaneError
from netplane.nft.elements import listing
from netplane.nft.objects import canonical
from netplane.nft.types import FAMILIES, Family
from proxy.plan import compare
from proxy.plan.compare import Difference
from proxy.plan.skeleton import NAME
from proxy.tools.planned import Planned, options
from proxy.tools.show import as_json, bad, bold, dim, good, plural, say, skipped

_FAMILY = click.option(
    "--family", "only", type=click.Choice([family.name for family in FAMILIES]), help="Only this one."
)


def _chosen(only: str | None) -> list[Family]:
    return [family for family in FAMILIES if only in (None, family.name)]


@click.command(
    "plan", short_help="Print the rules for objects and a node.", context_settings={"max_content_width": 110}
)
@options
@_FAMILY
@click.option("-o", "--output", type=click.Choice(["nft", "json"]), default="nft", show_default=True)
def plan(only: str | None, output: str, **flags: Any) -> None:
    """Print the complete rules for given objects and node, as `nft -f` loads them. Touches nothing."""
    planned = Planned.of(flags)
    texts, problems = {}, []
    for family in _chosen(only):
        ledger, found = planned.ledger(family)
        rules = planned.ruleset(ledger)
        texts[family] = listing(rules.table, rules.elements), rules
        problems += found
    skipped(problems)
    if output == "json":
        as_json(
            {
                "node": planned.node.name,
                "skipped": list(dict.fromkeys(problems)),
                "tables": [
                    {
                        "table": rules.table.spec,
                        "elements": {name: len(held) for name, held in rules.elements.items()},
                        "nft": text,
                    }
                    for text, rules in texts.values()
                ],
            }
        )
        return
    for text, _ in texts.values():
        click.echo(text)


@click.command("diff", context_settings={"max_content_width": 110})
@options
@_FAMILY
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(only: str | None, output: str, **flags: Any) -> None:
    """Show how this node's rules differ from what they should be. Touches nothing.

    Compared is what rules mean: which service answers where, with which endpoints, not in which order they are kept.
    A line with - is in the kernel and should not be; a line with + should be and is not.

    Exit status: 0 when there is no difference, 1 when there is.
    """
    from proxy import node  # noqa: PLC0415 - it knows the kernel, which --help does not need

    planned = Planned.of(flags, node.local_addresses())
    found = {family: _differences(planned, family) for family in _chosen(only)}
    if output == "json":
        as_json(
            [
                {"table": f"{family.nft} {NAME}", "differences": [item._asdict() for item in items]}
                for family, items in found.items()
            ]
        )
    else:
        _show(found)
    if any(found.values()):
        raise click.exceptions.Exit(1)


def _differences(planned: Planned, family: Family) -> list[Difference]:
    from netplane.kernel.nft import Nft  # noqa: PLC0415 - as above
    from proxy.tools import loaded  # noqa: PLC0415

    ledger, problems = planned.ledger(family)
    skipped(problems)
    rules = planned.ruleset(ledger)
    nft = Nft()
    try:
        listed = nft.list_table(rules.table)
        if listed is None:
            return [Difference("the whole table", plural(len(ledger), "frontend"), "", rules.table.spec)]
        have = loaded.contents(nft, rules.table)
    except NetplaneError as error:
        raise NetplaneError(f"the kernel's rules cannot be read: {error.message}", hint=error.hint) from error
    finally:
        nft.close()
    return [
        *compare.rules(canonical(listed), str(rules.table)),
        *compare.contents(rules.table, have, rules.elements, ledger.owner),
    ]


def _show(found: dict[Family, list[Difference]]) -> None:
    for family, items in found.items():
        table = f"table {family.nft} {NAME}"
        if not items:
            say(f"{good('=')} {bold(table)} {dim('as it should be')}")
            continue
        say(f"{bad('≠')} {bold(table)} {dim(plural(len(items), 'difference'))}")
        what = ""
        for item in items:
            if item.what != what:
                what = item.what
                say(f"  {bold(what)}")
            about = dim(f"  {item.about}") if item.about else ""
            if item.have:
                say(f"    {bad('- ' + item.have)}{about}")
            if item.want:
                say(f"    {good('+ ' + item.want)}{about}")

"""The nftables door against the real kernel, in a namespace of its own."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from netplane.kernel import netns
from netplane.kernel.nft import Nft, NftError
from netplane.nft import elements, expr, types
from netplane.nft.elements import Change, Transaction, Value
from netplane.nft.objects import Chain, Hook, Map, Set, Table, canonical, ensure_text, rule

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-nft-{os.getpid():x}"


def table(family: types.Family) -> Table:
    frontend = (family.address, types.INET_PROTO, types.INET_SERVICE)
    key = f"{family.nft} daddr . meta l4proto . th dport . numgen random mod 65536"
    return Table(
        family,
        "npt",
        (
            Set("plain", (family.address,)),
            Set("ranges", (family.address,), ("interval",)),
            Set("sources", (*frontend, family.address), ("interval",)),
            Map("services", frontend),
            Map(
                "endpoints",
                (*frontend, types.INTEGER),
                declared=f"typeof {key} : {family.nft} daddr . tcp dport",
                data=(family.address, types.INET_SERVICE),
            ),
        ),
        (
            Chain("lb_0", (rule(expr.DnatRandom(expr.FRONTEND, 1, "endpoints")),)),
            Chain("lb_3", (rule(expr.DnatRandom(expr.FRONTEND, 3, "endpoints")),)),
            Chain("refuse", (rule(expr.Reject(tcp_reset=True)), rule(expr.Reject()))),
            Chain(
                "pre",
                (
                    rule(expr.In(("saddr",), "ranges", negated=True), expr.SetMark(0x4000)),
                    rule(expr.In((*expr.FRONTEND, "saddr"), "sources"), expr.Go(types.DROP)),
                    rule(expr.Vmap(expr.FRONTEND, "services")),
                    rule(expr.Iif("veth*", negated=True), expr.FibLocal("saddr"), expr.Go(types.goto("refuse"))),
                ),
                Hook("nat", "prerouting", "dstnat"),
            ),
            Chain("out", (rule(expr.Vmap(expr.FRONTEND, "services")),), Hook("nat", "output", "-100")),
            Chain(
                "post",
                (
                    rule(expr.Marked(0x4000), expr.FlipMark(0x4000), expr.Masquerade()),
                    rule(expr.Dnatted(), expr.In(("saddr",), "plain"), expr.Masquerade()),
                ),
                Hook("nat", "postrouting", "srcnat"),
            ),
        ),
        "made by a test",
    )


def content(family: types.Family) -> dict[str, dict[bytes, Value]]:
    pods, one = ("10.0.0.0/8", "10.96.0.1") if family == types.IPV4 else ("fd00::/64", "fd00:96::1")
    web = types.pack((family.address, types.INET_PROTO, types.INET_SERVICE), one, "tcp", 80)
    low, high = elements.cidr_range(family, pods)
    data = (family.address, types.INET_SERVICE)
    return {
        "plain": {family.address.pack(one): None},
        "ranges": elements.cidr_elements(family, [pods, "11.0.0.0/16", "fd01::7/128"]),
        "sources": {web + low + web + high: None},
        "services": {web: types.goto("lb_3")},
        "endpoints": {web + types.INTEGER.pack(i): types.pack(data, one, 8080 + i) for i in range(3)},
    }


@pytest.fixture
def nft() -> Iterator[Nft]:
    netns.create(NAMESPACE)
    try:
        with netns.opened(NAMESPACE) as fd:
            door = Nft(fd)
            try:
                yield door
            finally:
                door.close()
    finally:
        netns.delete(NAMESPACE)


def nft_command(*arguments: str, stdin: str = "") -> str:
    command = ["ip", "netns", "exec", NAMESPACE, "nft", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def load(nft: Nft, made: Table) -> dict[str, dict[bytes, Value]]:
    nft.run_text(ensure_text(made))
    want = content(made.family)
    nft.commit(Transaction(made, tuple(Change(made.set(n), (), list(items.items())) for n, items in want.items())))
    return want


@pytest.mark.parametrize("family", types.FAMILIES, ids=lambda family: family.name)
def test_a_table_is_listed_exactly_as_it_prints(nft: Nft, family: types.Family) -> None:
    made = table(family)
    load(nft, made)
    assert canonical(nft.list_table(made) or "") == str(made)
    nft.run_text(ensure_text(made))
    assert canonical(nft.list_table(made) or "") == str(made), "making it so twice changes nothing"


@pytest.mark.parametrize("family", types.FAMILIES, ids=lambda family: family.name)
def test_elements_are_dumped_as_they_were_sent(nft: Nft, family: types.Family) -> None:
    made = table(family)
    want = load(nft, made)
    assert {owner.name: nft.list_elements(made, owner) for owner in made.sets} == want
    removals = tuple(Change(made.set(name), list(items)) for name, items in want.items())
    nft.commit(Transaction(made, removals))
    assert {owner.name: nft.list_elements(made, owner) for owner in made.sets} == {name: {} for name in want}


@pytest.mark.parametrize("family", types.FAMILIES, ids=lambda family: family.name)
def test_text_and_netlink_give_the_same_content(nft: Nft, family: types.Family) -> None:
    made = table(family)
    nft.run_text(elements.listing(made, content(family)))
    assert {owner.name: nft.list_elements(made, owner) for owner in made.sets} == content(family)
    removals = tuple(Change(made.set(name), list(items)) for name, items in content(family).items())
    nft.run_text(str(Transaction(made, removals)))
    assert {owner.name: nft.list_elements(made, owner) for owner in made.sets} == {n: {} for n in content(family)}


@pytest.mark.parametrize("family", types.FAMILIES, ids=lambda family: family.name)
def test_list_reload_list_with_the_nft_command_changes_nothing(nft: Nft, family: types.Family) -> None:
    load(nft, table(family))
    listed = nft_command("list", "ruleset")
    nft_command("-f", "-", stdin=f"flush ruleset\n{listed}")
    assert canonical(nft_command("list", "ruleset")) == canonical(listed)
    rules = nft_command("--debug=netlink", "list", "ruleset")
    (used,) = re.findall(rf"^{family.nft} npt lb_3 \d+\n(.*?)\n\n", rules, re.DOTALL | re.MULTILINE)
    assert "lookup" in used
    assert "cmp eq" not in used, "the reloaded lb_3 must serve every protocol"


def test_a_refused_batch_names_the_element_and_changes_nothing(nft: Nft) -> None:
    made = table(types.IPV4)
    want = load(nft, made)
    services = made.set("services")
    new = types.pack(services.key, "10.96.0.9", "udp", 53)
    (web,) = want["services"]
    for change, words in (
        (Change(services, (), [(new, types.DROP), (web, types.DROP)]), "10.96.0.1 . tcp . 80 }: EEXIST"),
        (Change(services, [web, new]), "10.96.0.9 . udp . 53 }: ENOENT"),
        (Change(services, (), [(new, types.goto("nowhere"))]), "10.96.0.9 . udp . 53 }: ENOENT"),
    ):
        with pytest.raises(NftError, match=words.replace(".", r"\.")):
            nft.commit(Transaction(made, (Change(made.set("plain"), list(want["plain"])), change)))
        assert nft.list_elements(made, services) == want["services"]
        assert nft.list_elements(made, made.set("plain")) == want["plain"]


def test_what_is_not_there_is_none_and_bad_text_is_an_error(nft: Nft) -> None:
    made = table(types.IPV4)
    assert nft.list_table(made) is None
    assert nft.list_elements(made, made.set("plain")) is None
    assert nft.tables() == []
    with pytest.raises(NftError, match="syntax error"):
        nft.run_text("add tabel ip x")


def test_forty_thousand_elements_are_dumped_whole_while_their_hash_table_grows(nft: Nft) -> None:
    made = table(types.IPV4)
    nft.run_text(ensure_text(made))
    endpoints = made.set("endpoints")
    items = [
        (types.pack(endpoints.key, i.to_bytes(4, "big"), "tcp", 80, j), i.to_bytes(4, "big") + b"\0\x50\0\0")
        for i in range(10_000)
        for j in range(4)
    ]
    nft.commit(Transaction(made, (Change(endpoints, (), items),)))
    assert nft.list_elements(made, endpoints) == dict(items)


def test_a_socket_of_events_hears_of_changes(nft: Nft) -> None:
    with nft.events() as events:
        nft.run_text(ensure_text(table(types.IPV4)))
        assert any(message.type >> 8 == 10 for message in events.receive())

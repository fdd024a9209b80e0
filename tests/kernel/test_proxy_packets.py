"""Real packets: the tracer and the kernel agree, shares are even, nobody is refused while endpoints churn."""

import itertools
import math
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from netplane.api.objects import EndpointConditions, EndpointSlice
from netplane.kernel import netns
from netplane.nft.packet import Trace, packet
from netplane.nft.trace import Ruleset
from netplane.nft.types import FAMILIES
from proxy.plan.ledger import Ledger
from proxy.plan.model import ROW_SHARDS
from tests import packet_hosts as at
from tests import strategies as moves
from tests.cluster_model import Cluster
from tests.packet_hosts import Answer, Hosts, Probe, Protocol
from tests.proxied import Proxy, endpoints, proxy, service

pytestmark = pytest.mark.privileged
FRONTENDS = {
    4: ("10.96.0.1", "10.96.0.2", "10.96.0.77", "198.51.100.1", "198.51.100.2"),
    6: ("fd00:96::1", "fd00:96::2", "fd00:96::77", "2001:db8:f::1"),
}
SOURCES = ("client", "e1", "e2", "node", "out")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


# Tracer and kernel ---------------------------------------------------------------------------------------------


ASKED: tuple[tuple[int, Protocol], ...] = ((80, "tcp"), (53, "tcp"), (53, "udp"))


def probes() -> list[Probe]:
    found = []
    for source in SOURCES:
        for version, addresses in FRONTENDS.items():
            found += [Probe(source, address, port, proto) for address in addresses for port, proto in ASKED]
            node = at.ADDRESSES["node"][version]
            found += [Probe(source, node, port, "tcp") for port in at.NODE_PORTS]
    return found


def traced(rules: Mapping[int, Ruleset], probe: Probe) -> Trace:
    version = probe.family.version
    mine = probe.source == "node"
    source = at.ADDRESSES[probe.source][version]
    return rules[version].trace(packet(source, probe.destination, probe.port, probe.protocol, local=mine))


def agree(trace: Trace, probe: Probe, answer: Answer) -> bool:
    if trace.outcome != "dnat":
        return trace.outcome == answer.outcome
    source = at.ADDRESSES[probe.source][probe.family.version]
    possible = {str(endpoint): endpoint for endpoint in trace.endpoints}
    # A pod that is sent to itself with its own source never hears the answer: only this node's pods are masqueraded.
    to_itself = any(endpoint.address == source and not endpoint.masquerade for endpoint in trace.endpoints)
    if answer.outcome != "dnat" or answer.endpoint not in possible:
        return to_itself and answer.outcome == "drop"
    return (answer.client != source) == possible[answer.endpoint].masquerade


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(moves.actions, min_size=6, max_size=20))
def test_the_kernel_does_with_packets_what_the_tracer_says(hosts: Hosts, actions: list[moves.Action]) -> None:
    cluster = Cluster(moves.NODE)
    with proxy(hosts) as made:
        for action in actions:
            if not isinstance(action, moves.Move | moves.Sync):
                cluster.apply(action, made.syncer)
        made.sync()
        rules = made.rulesets()
        for probe, answer in hosts.ask(probes()).items():
            trace = traced(rules, probe)
            # Node to node: masquerading a packet that stays on the host gives it the address it had.
            assert agree(trace, probe, answer) or (probe.source == "node" and trace.outcome == answer.outcome), (
                f"{probe}: the kernel says {answer}, the tracer\n{trace}"
            )


# Shares ---------------------------------------------------------------------------------------------------------


def chi_square_bound(kinds: int, z: float = 4.5) -> float:
    """Upper bound of a chi-square value with kinds-1 degrees of freedom (Wilson and Hilferty, 1931).

    z = 4.5 standard deviations: a fair balancer fails a check once in about 300,000 runs.
    """
    degrees = kinds - 1
    return degrees * (1 - 2 / (9 * degrees) + z * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("source", ["client", "node", "out"])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_shares_are_even_and_nobody_else_answers(hosts: Hosts, source: str, count: int) -> None:
    tries = 150 * count
    with proxy(hosts) as made:
        made.put(service(externalIPs=["198.51.100.1"]), endpoints(*range(1, count + 1)))
        probe = Probe(source, "198.51.100.1" if source == "out" else "10.96.0.1", 80, "tcp")
        answers = (hosts.ask([probe], patience_s=2.0)[probe] for _ in range(tries))
        shares = Counter(answer.endpoint for answer in answers)
    assert set(shares) == {f"10.1.0.{n}:8080" for n in range(1, count + 1)}
    expected = tries / count
    statistic = sum((seen - expected) ** 2 / expected for seen in shares.values())
    assert statistic < chi_square_bound(count), shares


# Behaviours -------------------------------------------------------------------------------------------------------


def test_hairpin_reaches_the_pod_itself_through_its_service(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        made.put(service(), endpoints(1))
        probe = Probe("e1", "10.96.0.1", 80, "tcp")
        answer = hosts.ask([probe])[probe]
        assert (answer.outcome, answer.endpoint) == ("dnat", "10.1.0.1:8080")
        assert answer.client != "10.1.0.1", "the reply must find its way back through the node"


def test_no_endpoints_refuse_at_once_and_wrong_ports_too(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        made.put(service())
        expected = {
            Probe("client", "10.96.0.1", 80, "tcp"): "reject",
            Probe("client", "10.96.0.1", 53, "udp"): "reject",
            Probe("client", "10.96.0.1", 81, "tcp"): "reject",
            Probe("node", "10.96.0.1", 80, "tcp"): "reject",
            Probe("client", "10.96.0.200", 80, "tcp"): "drop",
        }
        answers = hosts.ask(list(expected), patience_s=0.5)
        assert {probe: answer.outcome for probe, answer in answers.items()} == expected


def test_udp_clients_are_moved_off_endpoints_that_go(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        made.put(service(), endpoints(1))
        with hosts.connect(Probe("client", "10.96.0.1", 53, "udp")) as sock:
            assert sock.recv(64).startswith(b"10.1.0.1:8053")
            made.put(None, endpoints(2))
            sock.send(b"?")
            assert sock.recv(64).startswith(b"10.1.0.2:8053"), "the same socket, another endpoint"
            made.put(None, endpoints())
            sock.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(64)


def test_tcp_stays_with_a_terminating_endpoint_and_is_reset_when_it_is_gone(hosts: Hosts) -> None:
    with proxy(hosts) as made, server_that_waits(hosts, "e1") as port:
        made.put(service(), endpoints(1, port=port))
        with hosts.connect(Probe("client", "10.96.0.1", 80, "tcp")) as sock:
            assert sock.recv(16) == b"hello"
            made.put(None, endpoints(1, port=port, ready=False, serving=True, terminating=True))
            sock.send(b"still here")
            assert sock.recv(16) == b"still here"
            made.put(None, endpoints(2))
            # The reset answers the client's next packet: these bytes, or an ACK that it had put off.
            sock.settimeout(10)
            with told_where_flows_go(made), pytest.raises(ConnectionResetError):
                echoed(sock, b"anyone?")


@contextmanager
def told_where_flows_go(made: Proxy) -> Iterator[None]:
    """Name the tracked TCP flows when what happens inside waits in vain."""
    try:
        yield
    except TimeoutError as error:
        error.add_note("\n".join(str(flow) for flow in made.conntrack.flows(FAMILIES[0], 6)) or "no flow is tracked")
        raise


def echoed(sock: socket.socket, data: bytes) -> bytes:
    """Send, and what comes back."""
    sock.send(data)
    return sock.recv(16)


@contextmanager
def server_that_waits(hosts: Hosts, name: str) -> Iterator[int]:
    """A TCP server that says hello and then echoes."""
    listener = netns.socket_in(hosts.fds[name], socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((at.ADDRESSES[name][4], 0))
    listener.listen()
    listener.settimeout(10)

    accepted: list[socket.socket] = []

    def serve() -> None:
        connection, _ = listener.accept()
        accepted.append(connection)
        with connection:
            connection.settimeout(10)
            connection.sendall(b"hello")
            try:
                while data := connection.recv(16):
                    connection.sendall(data)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for connection in accepted:
            with suppress(OSError):  # a peer whose flow was cut never says that it is gone
                connection.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def churned(ready: set[int]) -> EndpointSlice:
    """All six endpoints, these ready and the others on their way out, as a rolling update has them."""
    item = endpoints(*at.ENDPOINTS)
    assert item.endpoints is not None
    said = [EndpointConditions(ready=n in ready, serving=n in ready, terminating=n not in ready) for n in at.ENDPOINTS]
    changed = [msgspec.structs.replace(e, conditions=c) for e, c in zip(item.endpoints, said, strict=True)]
    return msgspec.structs.replace(item, endpoints=changed)


def as_family(item: EndpointSlice, version: int) -> EndpointSlice:
    """The same endpoints by their addresses of a family."""
    moved = [
        msgspec.structs.replace(e, addresses=[at.ADDRESSES[f"e{n}"][version]])
        for e, n in zip(item.endpoints or (), at.ENDPOINTS, strict=True)
    ]
    return msgspec.structs.replace(item, address_type=f"IPv{version}", endpoints=moved)


@pytest.mark.parametrize(
    ("version", "port", "protocol", "affinity", "restarts"),
    [
        (4, 80, "tcp", "None", False),
        (6, 80, "tcp", "None", True),
        (4, 53, "udp", "None", True),
        (6, 53, "udp", "None", False),
        (4, 80, "tcp", "ClientIP", True),
        (6, 80, "tcp", "ClientIP", False),
    ],
)
def test_no_connection_fails_while_endpoints_churn(
    hosts: Hosts, version: int, port: int, protocol: Protocol, affinity: str, restarts: bool
) -> None:
    """Endpoints come and go without pause, and the proxy itself too; every connection made meanwhile is answered."""
    answers: list[Answer] = []
    stop = threading.Event()
    address = FRONTENDS[version][0]
    made_for = service(clusterIP=address, sessionAffinity=affinity)

    def hammer(source: str) -> None:
        probe = Probe(source, address, port, protocol)
        while not stop.is_set():
            answers.append(hosts.ask([probe], patience_s=3.0)[probe])
            stop.wait(0.004)  # UDP flows outlive their sockets: unpaced, looking through them takes all the time

    with proxy(hosts) as made:
        made.put(made_for, as_family(churned({1}), version))
        threads = [threading.Thread(target=hammer, args=(source,)) for source in ("client", "client", "out")]
        for thread in threads:
            thread.start()
        for turn in range(25 if restarts or protocol == "udp" else 100):
            item = as_family(churned({1 + (turn * 7 + i) % 6 for i in range(1 + turn % 6)}), version)
            if restarts:
                made.restart(made_for, item)
            else:
                made.put(None, item)
        stop.set()
        for thread in threads:
            thread.join()
    assert [answer for answer in answers if answer.outcome != "dnat"] == []
    assert len(answers) > 50
    assert len({answer.endpoint for answer in answers}) > 2


def test_no_connection_fails_while_maps_of_rows_fill_and_empty(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours come and go, processes too, each with another idea of how much a map may hold."""
    sizes = itertools.cycle((2, 1000, 5, 1))
    monkeypatch.setattr("proxy.plane.Ledger", lambda table: Ledger(table, next(sizes)))
    answers: list[Answer] = []
    used: set[str] = set()
    stop = threading.Event()

    def hammer() -> None:
        probe = Probe("client", "10.96.0.1", 80, "tcp")
        while not stop.is_set():
            answers.append(hosts.ask([probe], patience_s=3.0)[probe])

    with proxy(hosts) as made:
        for n in range(1, 5):
            made.put(service(f"s{n}", clusterIP=f"10.96.0.{n + 1}"), endpoints(1, 2, name=f"s{n}-0"))
        made.put(service(), churned({1}))
        threads = [threading.Thread(target=hammer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(40):
            item = churned({1 + (turn * 7 + i) % 6 for i in range(1 + turn % 6)})
            if turn % 10 == 9:
                made.restart(service(), item)  # knows nothing of the neighbours, so they go
            neighbour = f"s{turn % 4 + 1}"
            made.put(service(neighbour, clusterIP=f"10.96.0.{turn % 4 + 2}"))
            made.put(None, item, endpoints(*range(1, 1 + turn % 3), name=f"{neighbour}-0"))
            table = made.planes[0].table
            used |= {name for name in ROW_SHARDS if made.nft.list_elements(table, table.set(name))}
        stop.set()
        for thread in threads:
            thread.join()
        assert made.sync(full=True).applied.elements == 0
    assert len(used) > 2
    assert [answer for answer in answers if answer.outcome != "dnat"] == []
    assert len(answers) > 50

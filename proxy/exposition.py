"""Per-service numbers as Prometheus' text, written here: the library takes ten times as long, and services are many.

Source: Prometheus' text exposition format 0.0.4.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

from proxy.counters import Count, ServicePort

PART_SAMPLES = 500

Kind = Literal["counter", "gauge"]


def exposition(counts: Mapping[ServicePort, Count]) -> Iterator[str]:
    """The text, in parts that take about a millisecond each."""
    labels = {port: _labels(port) for port in counts}
    yield from _metric(
        "connections_total",
        "counter",
        "Connections led to an endpoint",
        ((labels[port], said.connections) for port, said in counts.items()),
    )
    yield from _metric(
        "rejects_total",
        "counter",
        "Connections refused: no endpoints",
        ((labels[port], said.rejects) for port, said in counts.items()),
    )
    yield from _metric(
        "drops_total",
        "counter",
        "Connections dropped, by reason",
        (
            (f'{labels[port]},reason="{reason}"', count)
            for port, said in counts.items()
            for reason, count in (("no-local-endpoints", said.local_drops), ("source-ranges", said.source_drops))
            if count
        ),
    )
    yield from _metric(
        "endpoints",
        "gauge",
        "Endpoints that the ClusterIP leads to",
        ((labels[port], said.endpoints) for port, said in counts.items()),
    )


def _metric(name: str, kind: Kind, about: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP netplane_service_{name} {about}\n# TYPE netplane_service_{name} {kind}\n"
    lines = (f"netplane_service_{name}{{{labels}}} {value:.1f}\n" for labels, value in samples)
    while part := "".join(islice(lines, PART_SAMPLES)):
        yield part


def _labels(port: ServicePort) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(port._fields, port, strict=True))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

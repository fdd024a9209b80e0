"""The limits' figures for /metrics, read when they are asked for: the requests themselves pay nothing for them."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from netplane.apiserver.limits.fairness import Gate
from netplane.apiserver.limits.levels import Limits

_LABELS = ["priority_level", "flow_schema"]
_EXECUTING, _WAITING, _SEATS = "current_executing_requests", "current_inqueue_requests", "nominal_limit_seats"


class LimitsCollector:
    """A collector of prometheus_client, with the names kube-apiserver gives its figures."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        """All figures as they are now."""
        inflight = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests under way, without watches.", labels=["request_kind"]
        )
        for kind, count in zip(("readOnly", "mutating"), self._limits.under_way(), strict=True):
            inflight.add_metric([kind], count)
        yield inflight
        yield CounterMetricFamily(
            "apiserver_request_terminations", "Requests given up because they took too long.", self._limits.timed_out
        )
        yield from self._gauges()
        yield from self._counters()

    def _gates(self) -> list[tuple[str, str, Gate]]:
        """(priority level, flow schema, gate)"""
        levels = (("system", self._limits.system), ("global-default", self._limits.default))
        gates = [
            (name, schema, gate)
            for name, level in levels
            for schema, gate in ((f"{name}-read", level.reading), (f"{name}-write", level.changing))
        ]
        return [*gates, ("describing", "describing", self._limits.describing)]

    def _gauges(self) -> Iterator[Metric]:
        for name, words in (
            (_EXECUTING, "Requests that hold a seat."),
            (_WAITING, "Requests that wait for a seat."),
            (_SEATS, "Seats."),
        ):
            family = GaugeMetricFamily(f"apiserver_flowcontrol_{name}", words, labels=_LABELS)
            for level, schema, gate in self._gates():
                value = {_EXECUTING: gate.executing, _WAITING: gate.waiting, _SEATS: gate.seats}[name]
                family.add_metric([level, schema], value)
            yield family

    def _counters(self) -> Iterator[Metric]:
        dispatched = CounterMetricFamily(
            "apiserver_flowcontrol_dispatched_requests", "Requests that were let in.", labels=_LABELS
        )
        waited = SummaryMetricFamily(
            "apiserver_flowcontrol_request_wait_duration_seconds", "Time spent waiting for seats.", labels=_LABELS
        )
        rejected = CounterMetricFamily(
            "apiserver_flowcontrol_rejected_requests", "Requests refused with 429.", labels=[*_LABELS, "reason"]
        )
        for level, schema, gate in self._gates():
            dispatched.add_metric([level, schema], gate.dispatched)
            waited.add_metric([level, schema], gate.dispatched, gate.waited_s)
            for reason, count in gate.rejected.items():
                rejected.add_metric([level, schema, reason.value], count)
        yield from (dispatched, waited, rejected)

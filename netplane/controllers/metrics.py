"""What the controllers measure, under the names that dashboards of Kubernetes' controllers know (workqueue_*)."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from netplane.controllers.queue import KeyQueue
from netplane.obs import metrics

# From 10 ns to 10 s, ten-fold, as Kubernetes has them.
BUCKETS_S = tuple(10.0**n for n in range(-8, 2))
Queues = Callable[[], Mapping[str, KeyQueue]]


class Meter:
    """Histograms that the runtime feeds, and the state of its queues, read when asked."""

    def __init__(self, registry: metrics.CollectorRegistry, queues: Queues, clock: Callable[[], float]) -> None:
        self._waited = metrics.Histogram(
            "workqueue_queue_duration_seconds",
            "How long keys wait for a worker.",
            ["name"],
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._worked = metrics.Histogram(
            "workqueue_work_duration_seconds",
            "How long working on a key takes.",
            ["name"],
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._queues, self._clock = queues, clock
        registry.register(self)

    def worked(self, name: str, waited_s: float, took_s: float) -> None:
        """A key was worked on."""
        self._waited.labels(name).observe(waited_s)
        self._worked.labels(name).observe(took_s)

    def collect(self) -> Iterable[Metric]:
        """The queues now."""
        adds = CounterMetricFamily("workqueue_adds_total", "Keys that were added.", labels=["name"])
        retries = CounterMetricFamily("workqueue_retries_total", "Keys that are tried again.", labels=["name"])
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait for a worker.", labels=["name"])
        busy = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Work that is under way, added up.", labels=["name"]
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "The longest work that is under way.", labels=["name"]
        )
        for name, queue in self._queues().items():
            running = queue.running_s(self._clock())
            adds.add_metric([name], queue.adds)
            retries.add_metric([name], queue.retries)
            depth.add_metric([name], len(queue))
            busy.add_metric([name], sum(running))
            longest.add_metric([name], max(running, default=0.0))
        return [adds, retries, depth, busy, longest]

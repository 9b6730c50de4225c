"""What a node exports to Prometheus: read from the node's own counts when somebody asks, so that counting is free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from pipeline.serve.node import ServingNode

# From what a decision takes to where a caller gives up.
BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
UNANSWERED = "none."


class NodeMetrics(Collector):
    """A node's counts as metrics, in a registry of its own."""

    def __init__(self, node: ServingNode) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "pipeline_request_seconds",
            "Time to answer a request.",
            ["operation", "status"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._node = node
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what the node has counted."""
        yield from self._answers()
        yield from self._snapshots()
        yield from self._delivery()

    def _answers(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "pipeline_decisions", "Decisions, by what decided: policy, or a fallback.", labels=["reason"]
        )
        unanswered = CounterMetricFamily(
            "pipeline_unanswered", "Requests to decide that left nothing to show.", labels=["reason"]
        )
        for reason, count in dict(self._node.answers).items():
            if reason.startswith(UNANSWERED):
                unanswered.add_metric([reason.removeprefix(UNANSWERED)], count)
            else:
                decisions.add_metric([reason], count)
        yield decisions
        yield unanswered
        changed = CounterMetricFamily(
            "pipeline_guardrails", "Decisions that each guardrail changed.", labels=["guardrail"]
        )
        for name, count in dict(self._node.guardrails).items():
            changed.add_metric([name], count)
        yield changed
        yield CounterMetricFamily("pipeline_outcomes", "Outcomes taken.", value=self._node.outcomes_taken)

    def _snapshots(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "pipeline_snapshot_age_seconds", "Since the live snapshot was published.", labels=["policy"]
        )
        version = GaugeMetricFamily("pipeline_snapshot_version", "Of the live snapshot.", labels=["policy"])
        for policy, live in self._node.live_snapshots().items():
            age.add_metric([policy], live.age_ms / 1000.0)
            version.add_metric([policy], live.version)
        yield age
        yield version
        yield CounterMetricFamily(
            "pipeline_snapshots_refused", "Snapshots that could not be loaded.", value=self._node.follower.refused
        )

    def _delivery(self) -> Iterator[Metric]:
        delivery = self._node.delivery
        records = CounterMetricFamily(
            "pipeline_delivery_records", "Decisions and outcomes on their way to the broker.", labels=["fate"]
        )
        records.add_metric(["delivered"], delivery.delivered)
        records.add_metric(["shed"], delivery.dropped)
        yield records
        yield GaugeMetricFamily("pipeline_delivery_waiting", "Records that wait.", value=delivery.undelivered)
        yield GaugeMetricFamily("pipeline_delivery_spilled", "Those that wait on disk.", value=delivery.spilled)
        yield GaugeMetricFamily(
            "pipeline_delivery_spilled_bytes", "What they take up there.", value=delivery.spilled_bytes
        )
        yield CounterMetricFamily(
            "pipeline_delivery_failures", "Times that something had to be sent again.", value=delivery.failures
        )

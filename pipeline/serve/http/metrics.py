"""What a node exports to Prometheus: read from the node's own counts when somebody asks, so that counting is free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pipeline.metrics.bounded import BoundedCounts
from pipeline.metrics.times import Times

if TYPE_CHECKING:
    from pipeline.serve.http.edge import Edge
    from pipeline.serve.node import ServingNode

# From what a decision takes to where a caller gives up.
BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class NodeMetrics(Collector):
    """A node's counts as metrics, in a registry of its own."""

    def __init__(self, node: ServingNode, edge: Edge | None = None) -> None:
        self._edge = edge
        self.registry = CollectorRegistry()
        self._requests = Times(
            "pipeline_request_seconds", "Time to answer a request.", ["operation", "status"], BUCKETS_S
        )
        self._node = node
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def observe(self, operation: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.observe((operation, str(status)), seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield what the node has counted."""
        yield self._requests.family()
        yield from self._answers()
        yield from self._snapshots()
        yield from self._delivery()
        if self._edge is not None:
            yield from _connections(self._edge)

    def _answers(self) -> Iterator[Metric]:
        journal = self._node.journal
        yield _counted(
            "pipeline_decisions",
            "Decisions, by what decided: policy, holdout, or a fallback.",
            ["policy", "reason"],
            journal.decisions,
        )
        yield _counted(
            "pipeline_unanswered",
            "Requests to decide that left nothing to show.",
            ["policy", "reason"],
            journal.unanswered,
        )
        yield _counted(
            "pipeline_arm_decisions", "Decisions, by what was shown.", ["policy", "segment", "arm"], journal.arms
        )
        changed = CounterMetricFamily(
            "pipeline_guardrails", "Decisions that each guardrail changed.", labels=["guardrail"]
        )
        for name, count in dict(journal.guardrails).items():
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
            "pipeline_snapshots_refused",
            "Snapshots that were not what the publisher sends, or could not be loaded.",
            value=self._node.follower.refused,
        )
        yield GaugeMetricFamily(
            "pipeline_snapshots_from_disk",
            "Policies that are decided by what a restart found on disk.",
            value=len(self._node.follower.from_disk),
        )

    def _delivery(self) -> Iterator[Metric]:
        delivery = self._node.delivery
        records = CounterMetricFamily(
            "pipeline_delivery_records", "Decisions and outcomes on their way to the broker.", labels=["fate"]
        )
        records.add_metric(["delivered"], delivery.delivered)
        records.add_metric(["shed"], delivery.dropped)
        records.add_metric(["lost"], delivery.lost)
        yield records
        yield GaugeMetricFamily("pipeline_delivery_waiting", "Records that wait.", value=delivery.undelivered)
        yield GaugeMetricFamily("pipeline_delivery_spilled", "Those that wait on disk.", value=delivery.spilled)
        yield GaugeMetricFamily(
            "pipeline_delivery_spilled_bytes", "What they take up there.", value=delivery.spilled_bytes
        )
        yield CounterMetricFamily(
            "pipeline_delivery_failures", "Times that something had to be sent again.", value=delivery.failures
        )
        yield GaugeMetricFamily(
            "pipeline_delivery_stuck", "Partitions that take nothing while others do.", value=len(delivery.stuck)
        )


def _counted(name: str, text: str, labels: list[str], counts: BoundedCounts) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family


def _connections(edge: Edge) -> Iterator[Metric]:
    yield GaugeMetricFamily("pipeline_connections", "Open connections.", value=len(edge.places))
    yield GaugeMetricFamily(
        "pipeline_connections_strangers", "Those that have shown no key yet.", value=edge.places.strangers
    )
    refused = CounterMetricFamily(
        "pipeline_connections_refused", "Requests and connections refused or cut off by a limit.", labels=["reason"]
    )
    for word, count in dict(edge.refused).items():
        refused.add_metric([word], count)
    yield refused

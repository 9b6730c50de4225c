"""docs/metrics.md, made of what a worker's and a node's registries say of themselves.

python -m tests.harness.metric_tables > docs/metrics.md
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from pipeline.serve.http.edge import Edge
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.limits import Limits
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.metrics import WorkerMetrics

HEAD = """# Metrics

What a worker and a node tell Prometheus, each on its `--metrics-port` (a node on `/metrics` of its own port too, to a
key with the right `operate`). This page is made of their registries, and a test holds it to them. Beside these are
`process_*`: CPU, memory, open files. Policies, segments and arms are labels as far as a bound (2,000 rows of policies,
5,000 of arms); what comes beyond it is counted together under `(others)`; a policy that nobody declared is `(unknown)`.

A worker's port also answers `/healthz` (alive: its loop answers; if not, start it again), `/readyz` (every partition
that it was given is claimed, restored and read) and `/caughtup` (no stage is more than 10 s behind), 200 or 503, with
the reason as JSON.
"""


class Told(NamedTuple):
    """A metric, as Prometheus names it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_section("A worker", worker_registry()), *_section("A node", node_registry())])


def every_metric() -> list[Told]:
    """Return what either tells."""
    return [*metrics_of(worker_registry()), *metrics_of(node_registry())]


def worker_registry() -> CollectorRegistry:
    return WorkerMetrics().registry


def node_registry() -> CollectorRegistry:
    async def make() -> CollectorRegistry:  # an edge knows its loop's time
        return NodeMetrics(ServingNode(ServeSettings("kafka:9092")), Edge(Limits())).registry

    return asyncio.run(make())


def metrics_of(registry: CollectorRegistry) -> list[Told]:
    """Return the metrics of our own, whether anything was counted yet or not."""
    return [_told(metric) for metric in registry.collect() if metric.name.startswith("pipeline_")]


def _told(metric: Metric) -> Told:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    return Told(name, metric.type, tuple(getattr(metric, "_labelnames", ())), metric.documentation)


def _section(title: str, registry: CollectorRegistry) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| metric | kind | labels | what it says |"
    yield "|---|---|---|---|"
    for each in metrics_of(registry):
        yield f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.text} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(page())

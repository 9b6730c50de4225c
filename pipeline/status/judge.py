"""What is wrong with a deployment, each with the next step. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.status.facts import DeploymentFacts, NodeFacts, WorkerFacts


class Fault(NamedTuple):
    """Something that somebody should look at."""

    what: str
    seen: str
    next_step: str


def faults_of(facts: DeploymentFacts, behind_s: float) -> Iterator[Fault]:
    """Yield what is wrong; `behind_s` is how old a stage's state may be."""
    for topic, seen in facts.topics.items():
        if not seen.partitions:
            yield Fault(f"topic {topic}", "there is none, or it can't be read", "pipeline doctor")
    for worker in facts.workers:
        yield from _of_worker(worker, behind_s)
    answering = [worker for worker in facts.workers if not worker.fault]
    latest = {policy: version for worker in answering for policy, version in worker.published.items()}
    for node in facts.nodes:
        yield from _of_node(node, latest)


def _of_worker(worker: WorkerFacts, behind_s: float) -> Iterator[Fault]:
    if worker.fault:
        yield Fault(f"worker {worker.url}", worker.fault, "ops/runbooks/worker-down.md")
        return
    for stage, seen in worker.stages.items():
        if seen.failed:
            where = ", ".join(seen.failed)
            yield Fault(f"{stage} of {worker.url}", f"partition {where} stands still", "ops/runbooks/lane-stopped.md")
        if seen.lag_s > behind_s:
            words = f"{seen.lag_records} records, {seen.lag_s:.0f} s behind; {behind_s:g} s are allowed"
            yield Fault(f"{stage} of {worker.url}", words, "ops/runbooks/workers-more-or-fewer.md")
    for stream, told in worker.streams.items():
        if told.unaccounted:
            yield Fault(
                f"{stream} of {worker.url}",
                f"{told.unaccounted} records are unaccounted for",
                "pipeline verify; ops/runbooks/proof-differs.md",
            )
    for policy, state in worker.alarms.items():
        waits = "; it is not published until they are as they were" if policy in worker.waiting else ""
        yield Fault(f"outcomes of {policy}", f"have {state}, says {worker.url}{waits}", "ops/runbooks/label-rate.md")
    yield from _of_monitors(worker)


def _of_monitors(worker: WorkerFacts) -> Iterator[Fault]:
    for policy, told in worker.monitors.items():
        for name, one in told.items():
            if one.is_red:
                seen = ", ".join(f"{figure.name} {figure.of} {figure.value:.3g}" for figure in one.figures[:2])
                yield Fault(f"monitor {name} of {policy}", f"is red: {seen}", "ops/runbooks/monitors.md")


def _of_node(node: NodeFacts, latest: dict[str, int]) -> Iterator[Fault]:
    if node.fault:
        yield Fault(f"node {node.url}", node.fault, "ops/runbooks/node-down.md")
    elif node.status != "ok":
        runbook = "broker-down" if node.status == "degraded" else "stale-snapshots"
        yield Fault(f"node {node.url}", f"says {node.status}", f"ops/runbooks/{runbook}.md")
    for policy, version in (node.versions or {}).items():
        # One may be on its way; two are not.
        if version < latest.get(policy, 0) - 1:
            seen = f"decides {policy} by version {version}, {latest[policy]} is published"
            yield Fault(f"node {node.url}", seen, "ops/runbooks/stale-snapshots.md")

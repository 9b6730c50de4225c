"""Serving nodes and workers, asked over HTTP now and then: what each has live, and what it counts.

They are asked as `pipeline status` asks them, but in the background, so that one that hangs keeps no page waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.status.asking import ask_node, ask_worker, session
from pipeline.status.facts import STAGES, MonitorFacts, NodeFacts, WorkerFacts

EVERY_S = 2.0
NOT_YET = "not asked yet"


class Conservation(NamedTuple):
    """What workers read of a stream, and what became of it (law 5)."""

    stream: str
    fates: Mapping[str, int]
    """By fate, `read` among them."""
    unaccounted: int
    """Always 0."""


class Nodes:
    """Asks until cancelled."""

    def __init__(self, nodes: Sequence[str], node_key: str, workers: Sequence[str]) -> None:
        self.nodes: dict[str, NodeFacts] = {url: NodeFacts(url, NOT_YET) for url in nodes}
        self.workers: dict[str, WorkerFacts] = {url: WorkerFacts(url, NOT_YET) for url in workers}
        self._node_key = node_key

    def versions(self, policy: str) -> dict[str, int | None]:
        """Return by node which version of a policy decides there; None: none, or it does not answer."""
        return {url: (seen.versions or {}).get(policy) for url, seen in self.nodes.items()}

    def alarm(self, policy: str) -> tuple[str, bool] | None:
        """Return in which way outcomes are not as they were, and whether publishing waits; None: they are."""
        for seen in self.workers.values():
            if policy in seen.alarms:
                return seen.alarms[policy], policy in seen.waiting
        return None

    def label_rate(self, policy: str) -> float | None:
        """Return what came of a policy's decisions in the last look, over what was expected; None: it is not told."""
        told = (seen.label_rates.get(policy) for seen in self.workers.values())
        return next((ratio for ratio in told if ratio is not None), None)

    def monitors(self, policy: str) -> Mapping[str, MonitorFacts]:
        """Return what a policy's monitors said last; the one worker that publishes it tells."""
        return next((seen.monitors[policy] for seen in self.workers.values() if policy in seen.monitors), {})

    def conservation(self) -> list[Conservation]:
        """Return what all workers together read, and what became of it."""
        found = []
        for stream in STAGES["join"]:
            told = [seen.streams[stream] for seen in self.workers.values() if stream in seen.streams]
            fates: Counter[str] = Counter()
            for one in told:
                fates.update(one.fates)
            if fates:
                found.append(Conservation(stream, fates, sum(one.unaccounted for one in told)))
        return found

    async def run(self) -> None:
        """Ask again and again."""
        async with session() as http:
            while True:
                workers = asyncio.gather(*(ask_worker(http, url) for url in self.workers))
                nodes = asyncio.gather(*(ask_node(http, url, self._node_key) for url in self.nodes))
                self.workers = {seen.url: seen for seen in await workers}
                self.nodes = {seen.url: seen for seen in await nodes}
                await asyncio.sleep(EVERY_S)

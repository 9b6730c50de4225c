"""Serving nodes and workers, asked over HTTP now and then: what each has live, and what it counts.

They are asked in the background, each within a second, so that one that hangs keeps no page waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

log = logging.getLogger(__name__)

EVERY_S = 2.0
WITHIN_S = 1.0
MAX_ANSWER_BYTES = 4 << 20
STREAMS = ("decisions", "outcomes")


class Seen(NamedTuple):
    """What one of them answered last."""

    url: str
    at_s: float
    """By the monotonic clock."""
    answer: Mapping[str, Any] | None
    """None: it did not."""
    why: str
    """Why not."""


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
        self.nodes: dict[str, Seen] = {url: Seen(url, 0.0, None, "not asked yet") for url in nodes}
        self.workers: dict[str, Seen] = {url: Seen(url, 0.0, None, "not asked yet") for url in workers}
        self._headers = {"authorization": f"Bearer {node_key}"} if node_key else {}

    def versions(self, policy: str) -> dict[str, int | None]:
        """Return by node which version of a policy decides there; None: none, or it does not answer."""
        found: dict[str, int | None] = {}
        for url, seen in self.nodes.items():
            live = (seen.answer or {}).get("snapshots", {}).get(policy)
            found[url] = None if live is None else int(live["version"])
        return found

    def conservation(self) -> list[Conservation]:
        """Return what all workers together read, and what became of it."""
        fates: dict[str, dict[str, int]] = {stream: {} for stream in STREAMS}
        lost = dict.fromkeys(STREAMS, 0)
        for seen in self.workers.values():
            for stream, fate, value in (seen.answer or {}).get("records", ()):
                fates.setdefault(stream, {})[fate] = fates.get(stream, {}).get(fate, 0) + value
            for stream, value in (seen.answer or {}).get("unaccounted", ()):
                lost[stream] = lost.get(stream, 0) + value
        return [Conservation(stream, fates[stream], lost[stream]) for stream in STREAMS if fates[stream]]

    async def run(self) -> None:
        """Ask again and again."""
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                asked = [self._ask(http, self.nodes, url, f"{url}/healthz", orjson.loads) for url in self.nodes]
                asked += [self._ask(http, self.workers, url, f"{url}/metrics", counts_of) for url in self.workers]
                await asyncio.gather(*asked)
                await asyncio.sleep(EVERY_S)

    async def _ask(self, http: aiohttp.ClientSession, into: dict[str, Seen], name: str, url: str, read: Any) -> None:
        answer, why = None, ""
        try:
            async with http.get(url, headers=self._headers if into is self.nodes else {}) as response:
                raw = await response.content.read(MAX_ANSWER_BYTES)
                answer = read(raw) if response.status in {200, 503} else None
                why = "" if answer is not None else f"answers {response.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = f"does not answer: {error or type(error).__name__}"
        into[name] = Seen(name, time.monotonic(), answer, why)


def counts_of(raw: bytes) -> dict[str, list[tuple[Any, ...]]]:
    """Return JOIN's counts from a worker's metrics.

    >>> counts_of(b'pipeline_records{stream="decisions",fate="read",partition="0"} 3')["records"]
    [('decisions', 'read', 3)]
    """
    found: dict[str, list[tuple[Any, ...]]] = {"records": [], "unaccounted": []}
    for family in text_string_to_metric_families(raw.decode("utf-8", "replace")):
        for sample in family.samples:
            if sample.name == "pipeline_records":
                found["records"].append((sample.labels["stream"], sample.labels["fate"], int(sample.value)))
            elif sample.name == "pipeline_records_unaccounted":
                found["unaccounted"].append((sample.labels["stream"], int(sample.value)))
    return found

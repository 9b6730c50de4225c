"""Visitors come to the serving nodes over HTTP, are shown an arm, and do what they do, in real time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp
import numpy as np
import orjson

from pipeline.demo.failure import DemoError
from pipeline.demo.freshness import Freshness
from pipeline.demo.visitors import ARMS, SEGMENTS, Act, Visitors

ANSWERED_WITHIN_S = 10.0
IN_FLIGHT = 64
"""Requests at a time: visitors who come while so many wait for an answer come later."""
RECENT = 200
"""Decisions of a segment that its shares are of."""
_DOOR_S = 0.02


class Play:
    """One play: who was shown what, and what came of it."""

    def __init__(self, visitors: Visitors, policy: str, nodes: Sequence[str], freshness: Freshness) -> None:
        self.visitors = visitors
        self.choices = np.full(len(visitors), -1, np.int64)
        """(N,) index of the arm that each visitor was shown; -1: not yet."""
        self.decisions = 0
        self.acts = 0
        """Outcomes that the nodes have taken."""
        self.last_decided_ms = 0.0
        self.is_open = True
        """Whether more visitors come."""
        self._policy = policy
        self._nodes = nodes
        self._freshness = freshness
        self._recent = {segment: deque[int](maxlen=RECENT) for segment in SEGMENTS}
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def run(self, play_s: float, longest_s: float, may_come: Callable[[], bool]) -> None:
        """Let visitors come evenly, all of them in `play_s` seconds, and wait until the last has acted.

        While they may not come, they wait at the door, and so do those behind them; whoever has not come after
        `longest_s` never does.

        Raises:
            DemoError: a node does not answer, or not as it should.
        """
        timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=2 * IN_FLIGHT)
        started_s = time.monotonic()
        closes_s = started_s + longest_s
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
                asyncio.TaskGroup() as tasks,
            ):
                for visitor in range(len(self.visitors)):
                    await _sleep_until(started_s + visitor * play_s / len(self.visitors))
                    while not may_come():
                        await asyncio.sleep(_DOOR_S)
                        started_s += _DOOR_S
                    if time.monotonic() > closes_s:
                        break
                    await self._slots.acquire()
                    tasks.create_task(self._visit(http, visitor))
                self.is_open = False
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def shares(self) -> Mapping[str, Mapping[str, float]]:
        """Return how often each arm was shown to the last visitors of each segment."""
        shares = {}
        for segment, recent in self._recent.items():
            counts = Counter(recent)
            shares[segment] = {arm: counts[place] / max(len(recent), 1) for place, arm in enumerate(ARMS)}
        return shares

    async def _visit(self, http: aiohttp.ClientSession, visitor: int) -> None:
        home, other = self._nodes[visitor % len(self._nodes)], self._nodes[(visitor + 1) % len(self._nodes)]
        try:
            answer = await _post(
                http, f"{home}/v1/policies/{self._policy}/decide", {"context": self.visitors.context(visitor)}
            )
        finally:
            self._slots.release()
        decided_s = time.monotonic()
        arm = self._note(visitor, answer, decided_s * 1000)
        for number, act in enumerate(self.visitors.acts(visitor, arm)):
            await _sleep_until(decided_s + act.delay_ms / 1000)
            # Any node takes an outcome, not only the one that decided.
            await self._act(http, other, answer["action_id"], act, number)

    def _note(self, visitor: int, answer: Mapping[str, Any], at_ms: float) -> int:
        segment = SEGMENTS[self.visitors.segments[visitor]]
        if answer["segment"] != segment or answer["arm"] not in ARMS:
            raise DemoError(f"a visitor of segment {segment} got {answer}: the policy file has other segments or arms")
        arm = ARMS.index(answer["arm"])
        self.choices[visitor] = arm
        self.decisions += 1
        self.last_decided_ms = at_ms
        self._recent[segment].append(arm)
        self._freshness.note_decided(answer["snapshot_version"], at_ms)
        return arm

    async def _act(self, http: aiohttp.ClientSession, node: str, action_id: str, act: Act, number: int) -> None:
        outcome_id = f"{action_id}-{number}"
        outcome = {
            "outcome_id": outcome_id,
            "action_id": action_id,
            "kind": act.kind,
            "occurred_at_ms": time.time_ns() // 1_000_000,
        }
        self._freshness.note_sent(outcome_id, time.monotonic() * 1000)
        await _post(http, f"{node}/v1/outcomes", outcome)
        self.acts += 1


async def snapshots_of(node: str) -> Mapping[str, Any]:
    """Return the live snapshots of a node by policy; none while it is not up."""
    timeout = aiohttp.ClientTimeout(total=1.0)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{node}/healthz") as response:
            health: Mapping[str, Any] = orjson.loads(await response.read())
            snapshots: Mapping[str, Any] = health["snapshots"]
            return snapshots
    except (aiohttp.ClientError, TimeoutError):
        return {}


async def _sleep_until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))


async def _post(http: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = {"content-type": "application/json"}
    try:
        async with http.post(url, data=orjson.dumps(body), headers=headers) as response:
            raw = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DemoError(f"POST {url}: no answer within {ANSWERED_WITHIN_S:.0f} s: {error!r}") from error
    if response.status != HTTPStatus.OK:
        raise DemoError(f"POST {url}: {response.status} {raw.decode(errors='replace')[:500]}")
    answer: Mapping[str, Any] = orjson.loads(raw)
    return answer

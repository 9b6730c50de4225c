"""How fast each topic grows and how far behind each stage is: asked of the brokers now and then, in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from pipeline.doctor.facts import Deployment
from pipeline.errors import PipelineError
from pipeline.status.gather import deployment_of
from pipeline.stream.log.offsets import LATEST_MS
from pipeline.stream.log.reader import LogReader
from pipeline.stream.log.topics import (
    DEAD_LETTERS,
    DECISIONS,
    OUTCOMES,
    REWARDS,
    SNAPSHOT_HISTORY,
    SNAPSHOTS,
    STATISTICS,
)
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

TOPICS = (DECISIONS, OUTCOMES, REWARDS, STATISTICS, SNAPSHOTS, SNAPSHOT_HISTORY, DEAD_LETTERS)
EVERY_S = 2.0
LOOK_EVERY_S = 10.0
WINDOW_S = 10.0
"""Rates are of so long."""


@dataclass(slots=True)
class TopicFlow:
    """One topic."""

    ends: list[tuple[float, int]] = field(default_factory=list)
    """Moments of the monotonic clock, each with all partitions' ends together."""

    @property
    def end(self) -> int | None:
        """All partitions' ends together: records, and what a transaction leaves beside them."""
        return self.ends[-1][1] if self.ends else None

    @property
    def rate_per_s(self) -> float | None:
        """How many offsets a second it grows by; None until it was seen twice."""
        if len(self.ends) < 2:
            return None
        (then_s, before), (now_s, after) = self.ends[0], self.ends[-1]
        return (after - before) / (now_s - then_s)

    def note(self, now_s: float, end: int) -> None:
        """Take in an end."""
        self.ends.append((now_s, end))
        while len(self.ends) > 2 and now_s - self.ends[0][0] > WINDOW_S:
            self.ends.pop(0)


class Flow:
    """Looks until cancelled."""

    def __init__(self, broker: Address, app_id: str) -> None:
        self.topics: dict[str, TopicFlow] = {name: TopicFlow() for name in TOPICS}
        self.deployment: Deployment | None = None
        self.why_no_lag = "not looked at yet"
        """Why there is no deployment to show."""
        self.away = ""
        """Why topics can't be asked at present."""
        self._broker = broker
        self._app_id = app_id

    async def run(self) -> None:
        """Look again and again, at topics often, at the group now and then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_ends())
            tasks.create_task(self._look())

    async def _watch_ends(self) -> None:
        while True:
            reader = LogReader(self._broker)
            try:
                await reader.start()
                places = {name: await reader.partitions_of(name) for name in TOPICS}
                while True:
                    ends = await reader.offsets([each for found in places.values() for each in found], LATEST_MS)
                    now_s = time.monotonic()
                    for name, found in places.items():
                        self.topics[name].note(now_s, sum(ends[each] for each in found))
                    self.away = ""
                    await asyncio.sleep(EVERY_S)
            except (PipelineError, KafkaError) as error:
                if self.away != str(error):
                    log.warning("ends-not-seen error=%s", error)
                self.away = str(error)
            finally:
                await reader.stop()
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> None:
        while True:
            try:
                self.deployment = await asyncio.to_thread(deployment_of, self._broker, self._app_id)
                self.why_no_lag = "" if self.deployment else "this broker tells nothing of consumer groups"
            except PipelineError as error:
                self.why_no_lag = str(error)
            await asyncio.sleep(LOOK_EVERY_S)


def lag_of(deployment: Deployment | None) -> Mapping[str, int | None]:
    """Return how far behind the stages that read each topic are."""
    return {} if deployment is None else deployment.lag

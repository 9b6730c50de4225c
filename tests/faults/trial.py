"""One scenario: streams that flow, workers, faults that are counted, and the examination at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.stream.log.topics import REWARDS
from tests.faults.table import Row
from tests.harness.client import Client
from tests.harness.exactness import Examination
from tests.harness.flow import Flow, Raw
from tests.harness.known import Traffic, homepage, linear, now
from tests.harness.membership import all_are_dead, members
from tests.harness.place import Place
from tests.harness.supervised import Supervised
from tests.harness.worker import Worker
from tests.samples import define

RECOVERED_WITHIN_S = 120.0
LONGEST_MOMENT_S = 0.3


class Form(NamedTuple):
    """How much of a scenario is played."""

    name: str
    actions: int
    """Decisions of each of its two policies."""
    is_long: bool


class Trial:
    """A scenario while it runs; made by `trial` below."""

    def __init__(self, name: str, form: Form, place: Place, folder: Path, client: Client, seed: int) -> None:
        self.name = name
        self.form = form
        self.place = place
        self.folder = folder
        self.client = client
        self.seed = seed
        self.rng = random.Random(f"{name} {seed}")  # noqa: S311  nothing is kept secret with it
        self.faults = 0
        self.forgotten: Counter[tuple[str, int]] = Counter()
        """By topic and partition: how many records were read that it holds no more."""
        self._over_at_s = time.monotonic()
        self.row: Row | None = None
        self.silent_s: float | None = None
        self.at_the_end = ExitStack()

    def streams(self, actions: int | None = None) -> tuple[Traffic, ...]:
        """Give the two streams that most scenarios play, of so many decisions each."""
        actions = actions or self.form.actions
        now_ms = now()
        return homepage(self.seed, actions, now_ms=now_ms), linear(self.seed + 1_000, actions, now_ms=now_ms)

    @asynccontextmanager
    async def flow(self, *streams: Traffic, among: Mapping[int, Sequence[Raw]] | None = None) -> AsyncIterator[Flow]:
        """Put the streams' policies in force, and be ready to send them."""
        for stream in streams:
            await self.client.apply(define(stream.policy))
        async with Flow(self.client, *streams, among=among) as flow:
            yield flow

    def worker(self, name: str = "0", **options: Any) -> Worker:
        """Give a worker that is not started yet; it ends with the trial at the latest."""
        worker = self.place.worker(self.folder / name, **options)
        self.at_the_end.callback(worker.kill)
        return worker

    def supervised(self, name: str = "0", *, alone: bool = False, **options: Any) -> Supervised:
        """Give a worker that is started again whenever it ends; one that is `alone` need not wait for its session."""
        between = self.forget_the_dead if alone else _nothing
        return Supervised(self.worker(name, **options), between=between)

    def forget_the_dead(self) -> None:
        """Tell the broker that all members are gone, which it would find out when their sessions are over."""
        all_are_dead(self.place.broker, self.place.app_id)

    def injected(self, count: int = 1) -> None:
        """Count a fault."""
        self.faults += count
        self._over_at_s = time.monotonic()

    def is_over(self) -> None:
        """Note that a fault is over: from here on the recovery is timed."""
        self._over_at_s = time.monotonic()

    async def moment(self, longest_s: float = LONGEST_MOMENT_S) -> None:
        """Let a random moment pass: a fault may come at any."""
        await asyncio.sleep(self.rng.uniform(0.0, longest_s))

    async def lasts(self, seconds: float) -> None:
        """Let a fault last: its length is what it is about."""
        await asyncio.sleep(seconds)

    async def work_goes_on(self, ends_before: int | None = None) -> None:
        """Wait until the ledger grows."""
        before = await self.ledger_end() if ends_before is None else ends_before

        async def has_grown() -> bool:
            return await self.client.end(REWARDS) > before

        await self.client.until(has_grown, what="the ledger to grow", within_s=RECOVERED_WITHIN_S)

    async def ledger_end(self) -> int:
        """Return how long the ledger is."""
        return await self.client.end(REWARDS)

    async def has_members(self, count: int) -> None:
        """Wait until the consumer group has so many members."""

        async def is_so() -> bool:
            return await members(self.place.broker, self.place.app_id) == count

        await self.client.until(is_so, what=f"{count} members", within_s=RECOVERED_WITHIN_S)

    async def settle(
        self, *streams: Traffic, refused: Mapping[str, int] | None = None, places: Mapping[str, int] | None = None
    ) -> None:
        """Wait until all is settled, examine it, and fail with everything that is wrong."""
        examination = Examination(self.client, self.place.app_id, streams, refused or {}, places, self.forgotten)
        finding = await examination.look(within_s=RECOVERED_WITHIN_S, seed=self.seed)
        settled_s = examination.settled_at_s - self._over_at_s
        self.row = Row(
            self.seed,
            self.name,
            finding.events,
            self.faults,
            finding.redelivered,
            finding.lost,
            finding.doubled,
            finding.is_hash_equal,
            max(0.0, settled_s),
            finding.complaints,
            self.silent_s,
        )
        problems = "\n".join(finding.complaints)
        assert (finding.lost, finding.doubled, problems) == (0, 0, ""), f"lost, doubled, and what is wrong:\n{problems}"


def _nothing() -> None:
    pass

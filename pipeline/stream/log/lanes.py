"""A stage's partitions, each in a lane of its own: read, handle, acknowledge; never wait for another.

    open the state ─▶ read on from where it ends ─▶ take what has come ─▶ handle ─▶ acknowledge ─▶ take …
          ▲                                                                 │ fails
          └──────────────── close the state, pause ◀────────────────────────┘      again and again: the lane stops

What a lane reads begins where its stage's state ends, so nothing is missed or passed over, and there is nothing to
seek. Batches of different partitions overlap: one's round trips to the broker are another's time to compute. What comes
while a lane is busy, or before its pace allows the next step, is one batch of the next: steps grow with the load by
themselves.

A handler that fails leaves a state in memory that nobody knows. So the partition is closed, opened from what is durable
and read again; nothing of what failed is acknowledged. Brokers that are away come back, however long they take: that is
waited for. What else fails again and again is in the partition itself, or in what it is written to: the lane stops,
says so, and leaves the others alone. What ends the process instead is a state
that can't be trusted, and a worker whose place another has taken. Why: ops/decisions/0028-a-lane-that-fails.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple, Protocol

from aiokafka import TopicPartition

from pipeline.errors import StateError
from pipeline.stream.failpoints import Reach, pass_by
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.reader import LogReader
from pipeline.stream.log.reading import Reading
from pipeline.stream.refusals import is_away

log = logging.getLogger(__name__)

EXIT_CRASHED = 70
EXIT_LANE_FAILED = 75
ATTEMPTS = 5
"""To go on from the same place, the first included; those that find brokers away do not count."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
"""Between two; twice as long each time."""
LONGEST_AWAY_PAUSE_S = 2.0
"""Where brokers are away: an attempt costs a question or two then, and who sleeps when they are back is late."""
REST_WITHIN_S = 10.0
"""A longer step is cut off, as a crash would: what it has not made durable is done again by the next owner."""
BEHIND_AFTER_S = 1.0
"""What waits for longer makes whoever writes it wait: four times LEARN's pace, a third of how old snapshots may be."""
STUCK_AFTER_S = 10.0
"""Who is at one step for so long waits for a broker, not for a turn: nobody waits for him."""
LOOK_AGAIN_S = 0.1


class Stage(Protocol):
    """JOIN, LEARN or PUBLISH."""

    name: str

    @property
    def partitions(self) -> Any:
        """Those that are open."""

    async def open(self, number: int) -> Any:
        """Claim, restore and load a partition, unless that was done since it was assigned."""

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that is not in the partition's state."""

    async def handle(self, *batches: Batch) -> None:
        """Do all that comes of batches of one partition number, a topic each, durably."""


class Rests(Protocol):
    """What works on partitions beside their lanes."""

    async def rest(self, *numbers: int) -> frozenset[int]:
        """Let the work on some partitions, or on all, come to an end; return those where it was cut off."""


class OnState(Protocol):
    """Is told of a lane."""

    def __call__(self, stage: str, number: int, /, *, has_failed: bool) -> None:
        """Take note of one that begins, or has stopped for good."""


class Standing(NamedTuple):
    """How far a lane is with one of its topics."""

    stage: str
    topic: str
    partition: int
    lag_records: int
    """Offsets up to the stable end that are not in the stage's state yet."""
    handled_ms: int
    """When the broker took the newest record that the stage has handled; before the first, when the lane opened."""
    waiting_bytes: int
    """Fetched, and not taken yet."""

    def lag_ms(self, now_ms: int) -> int:
        """Return how old the state is; 0 where nothing is newer."""
        return max(0, now_ms - self.handled_ms) if self.lag_records else 0


class Lanes:
    """The lanes of one stage."""

    def __init__(
        self,
        stage: Stage,
        topics: Sequence[str],
        reader: LogReader,
        acknowledge: Callable[[TopicPartition, int], None],
        *,
        on_state: OnState,
        pace_s: Callable[[], float] = lambda: 0.0,
        observe: Callable[[float], None] = lambda _: None,
        reach: Reach = pass_by,
    ) -> None:
        """Say what they do.

        Args:
            stage: handles batches.
            topics: that it reads.
            reader: reads them.
            acknowledge: is told the offset below which all that comes of a partition is durable.
            on_state: told of each lane that begins, or stops for good.
            pace_s: says how soon, of a partition, a step may begin after the one before, unless enough waits.
            observe: told how many seconds each step took.
            reach: where a test may stop the process.
        """
        self.stage = stage
        self.topics = topics
        self.reader = reader
        self.acknowledge = acknowledge
        self.chores: list[Rests] = []
        """What works on open partitions beside them (`chores.py`)."""
        self.pace_s = pace_s
        self.observe = observe
        self.on_state = on_state
        self.reach = reach
        self.downstream: Lanes | None = None
        """Those of the stage that reads what this one writes, by the same partition numbers: lanes keep from running
        ahead of them."""
        self._lanes: dict[int, _Lane] = {}
        self._resting: dict[int, _Lane] = {}
        """Those that were told to end and have not yet."""
        self.handled: Counter[str] = Counter()
        """Records by topic."""

    def start(self, numbers: Iterable[int]) -> None:
        """Begin a lane for each partition number that has none."""
        for number in numbers:
            if number not in self._lanes:
                self._lanes[number] = _Lane(self, number)
                self.on_state(self.stage.name, number, has_failed=False)

    async def rest(self) -> None:
        """End all lanes, each behind the step that it is at. What is open afterwards is as it is on the broker."""
        self._resting |= self._lanes
        self._lanes = {}
        lanes = self._resting
        await asyncio.gather(*(lane.rest() for lane in lanes.values()))
        cut_off = await self.rest_chores()
        await self.stage.partitions.settle()
        # Of what was cut off, or has failed and was not begun anew, nobody knows what memory holds.
        broken = [number for number, lane in lanes.items() if number in cut_off or not lane.is_sound]
        await self.stage.partitions.close(*broken)
        for number in list(lanes):
            self._resting.pop(number, None)

    async def keep(self, numbers: Iterable[int]) -> None:
        """Close what is open, but for these; lanes rest."""
        await self.stage.partitions.close(*(self.stage.partitions.numbers - frozenset(numbers)))

    async def rest_chores(self, *numbers: int) -> frozenset[int]:
        """Wait for who works on some partitions, or on all, beside their lanes; return those where it was cut off.

        None begins on one that is not open.
        """
        return frozenset(chain.from_iterable(await asyncio.gather(*(one.rest(*numbers) for one in self.chores))))

    def is_open(self, number: int) -> bool:
        """Whether a partition's state is open and its lane goes on: others may work on it."""
        return number in self._lanes and self._lanes[number].is_open

    def is_behind(self, number: int) -> bool:
        """Whether what has come to a lane waits too long, though it gets on: there are not turns enough for all."""
        return number in self._lanes and self._lanes[number].is_behind

    async def next_step(self, number: int) -> None:
        """Wait until a lane has made a step, or a moment."""
        has_stepped = self._lanes[number].has_stepped
        has_stepped.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await has_stepped.wait()

    def standings(self) -> list[Standing]:
        """Return how far each lane is that is open."""
        return [standing for lane in self._lanes.values() if lane.is_open for standing in lane.standings()]

    def fail(self, number: int, error: Exception) -> None:
        """Let a lane fail by what another did with its partition."""
        lane = self._lanes.get(number) or self._resting.get(number)
        if lane is not None:
            lane.fail(error)

    @property
    def has_failed(self) -> Mapping[int, bool]:
        """By partition number: whether its lane has stopped for good."""
        return {number: lane.has_failed for number, lane in self._lanes.items()}


class _Lane:
    """One partition number."""

    def __init__(self, lanes: Lanes, number: int) -> None:
        self._lanes = lanes
        self._number = number
        self._has_come = asyncio.Event()
        self._has_enough = asyncio.Event()
        self.has_stepped = asyncio.Event()
        self._step_began_s = 0.0
        self._is_resting = False
        self._is_stepping = False
        self._fault: Exception | None = None
        self._attempts = self._failures = 0
        self._readings: list[Reading] = []
        self._handled_ms: dict[str, int] = {}
        self.is_open = False
        self.has_failed = False
        self._is_whole = True
        """Whether memory holds of the partition what is durable, or nothing."""
        self._task = asyncio.create_task(self._run())

    def fail(self, error: Exception) -> None:
        self._fault = error
        self._has_come.set()

    @property
    def is_sound(self) -> bool:
        return self._is_whole and self._fault is None

    async def rest(self) -> None:
        self._is_resting = True
        self._has_come.set()
        self._has_enough.set()
        if self._is_stepping:
            await asyncio.wait({self._task}, timeout=REST_WITHIN_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._is_resting:
            try:
                await self._go_on()
            except StateError as error:
                crash(self._lanes.stage.handle, error)
            except Exception as error:  # noqa: BLE001  whatever it is, it is this partition's
                await self._recover(error)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001
                crash(self._lanes.stage.handle, error)
            if self.has_failed:
                return

    async def _go_on(self) -> None:
        """Read and handle, from where the state ends, until asked to rest."""
        stage, reader, number = self._lanes.stage, self._lanes.reader, self._number
        self._fault = None
        await stage.open(number)
        readings = self._readings = []
        try:
            for topic in self._lanes.topics:
                self._handled_ms.setdefault(topic, time.time_ns() // 1_000_000)
                tp, position = TopicPartition(topic, number), stage.position(topic, number)
                readings.append(reader.begin(tp, position, self._has_come, self._has_enough))
                self._lanes.acknowledge(tp, position)
            self.is_open = True
            while True:
                await self._let_downstream_follow()
                await self._has_come.wait()
                if self._is_resting:
                    return
                if self._fault is not None:
                    raise self._fault
                began_s = time.monotonic()
                self._has_come.clear()
                self._has_enough.clear()
                if batches := [batch for reading in readings if (batch := reading.take()) is not None]:
                    await self._step(batches)
                await self._pause(began_s + self._lanes.pace_s() - time.monotonic())
        finally:
            self.is_open = False
            for reading in readings:
                reader.finish(reading)

    @property
    def is_behind(self) -> bool:
        if not self.is_open or all(reading.waits_s <= BEHIND_AFTER_S for reading in self._readings):
            return False
        return not self._is_stepping or time.monotonic() - self._step_began_s < STUCK_AFTER_S

    async def _let_downstream_follow(self) -> None:
        """Begin no step while what came of the ones before waits for too long to be taken."""
        downstream = self._lanes.downstream
        while downstream is not None and downstream.is_behind(self._number) and not self._is_resting:
            await downstream.next_step(self._number)

    async def _step(self, batches: Sequence[Batch]) -> None:
        lanes = self._lanes
        self._step_began_s = began_s = time.monotonic()
        self._is_stepping, self._is_whole = True, False
        try:
            await lanes.stage.handle(*batches)
            self._is_whole = True
        finally:
            self._is_stepping = False
        self._attempts = self._failures = 0
        for reading in self._readings:
            reading.note_handled()
        self.has_stepped.set()
        lanes.observe(time.monotonic() - began_s)
        lanes.reach(f"{lanes.stage.name}.batch-done")
        for batch in batches:
            self._note(batch)
            lanes.acknowledge(TopicPartition(batch.topic, batch.partition), batch.resume_offset)

    def _note(self, batch: Batch) -> None:
        self._lanes.handled[batch.topic] += len(batch.records)
        if batch.records:
            self._handled_ms[batch.topic] = batch.records[-1].timestamp

    def standings(self) -> Iterator[Standing]:
        stage = self._lanes.stage
        for reading in self._readings:
            topic, number = reading.partition
            if reading.end is not None:
                lag_records = max(0, reading.end.stable_offset - stage.position(topic, number))
                yield Standing(stage.name, topic, number, lag_records, self._handled_ms[topic], reading.waiting_bytes)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_enough.wait(), seconds)

    async def _recover(self, error: Exception) -> None:
        """Go back to what is durable; after so many attempts that brokers are not to blame for, stop."""
        stage, number = self._lanes.stage, self._number
        is_brokers = is_away(error)
        self._attempts += 1
        self._failures += not is_brokers
        await self._lanes.rest_chores(number)
        await stage.partitions.close(number)
        self._is_whole, self._fault = True, None
        if self._failures >= ATTEMPTS:
            self.has_failed = True
            log.error(
                "lane-stopped stage=%s partition=%s attempts=%s error=%r advice=%r",
                stage.name,
                number,
                self._failures,
                error,
                "nothing of it is acknowledged, other lanes go on; mend what it says, then start the worker again",
                exc_info=error,
            )
            self._lanes.on_state(stage.name, number, has_failed=True)
            return
        longest_s = LONGEST_AWAY_PAUSE_S if is_brokers else LONGEST_PAUSE_S
        pause_s = min(FIRST_PAUSE_S * 2 ** min(self._attempts - 1, ATTEMPTS), longest_s)
        log.warning(
            "lane-failed stage=%s partition=%s attempt=%s again_in_s=%g error=%r",
            stage.name,
            number,
            self._attempts,
            pause_s,
            error,
        )
        await asyncio.sleep(pause_s)


async def keep_running(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a background loop; its failure ends the process."""
    try:
        await loop()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001
        crash(loop, error)


def crash(where: Callable[..., Any], error: BaseException) -> None:
    """Say what happened and end the process without acknowledging or committing anything."""
    log.critical("stage-crashed where=%s error=%r", getattr(where, "__qualname__", where), error, exc_info=error)
    end_process(EXIT_CRASHED)


def end_process(code: int) -> None:
    """End it now, without a word to the broker."""
    logging.shutdown()
    os._exit(code)

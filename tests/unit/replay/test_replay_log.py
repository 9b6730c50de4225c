from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.errors import ConfigError, StateError
from pipeline.join.step import STEP_BYTES
from pipeline.replay.recounting.cuts import parse_offsets
from pipeline.replay.recounting.log import Log
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.offsets import EARLIEST_MS
from pipeline.stream.log.reading import Reading
from tests.kafka_log import Read

# Offsets 3 and 4 are a gap, as markers of transactions leave one; 6 is very large.
SIZES = {0: 10, 1: 10, 2: 10, 5: 10, 6: STEP_BYTES, 7: 10, 8: 10}
END = 9


class Fed(Reading):
    """A reading of which so many offsets come whenever somebody takes."""

    at_once: int

    @property
    def has_waiting(self) -> bool:
        return True

    def take(self) -> Batch | None:
        offsets = range(self.position, min(END, self.position + self.at_once))
        found = [
            SimpleNamespace(offset=offset, timestamp=0, timestamp_type=1, key=b"k", value=bytes(SIZES[offset]))
            for offset in offsets
            if offset in SIZES
        ]
        self.put([Read(found)], offsets.stop)
        return super().take()


class Reader:
    """What a replay asks of a reader."""

    def __init__(self, at_once: int, first: int = 0) -> None:
        self.at_once = at_once
        self.first = first

    def begin(self, place: TopicPartition, offset: int, has_come: asyncio.Event, has_enough: asyncio.Event) -> Reading:
        reading = Fed(place, offset, has_come, has_enough, asyncio.Event())
        reading.at_once = self.at_once
        return reading

    def finish(self, reading: Reading) -> None: ...

    async def offsets(self, places: list[TopicPartition], moment_ms: int) -> dict[TopicPartition, int]:
        assert moment_ms == EARLIEST_MS
        return dict.fromkeys(places, self.first)


def log_of(reader: Any) -> Log:
    return Log(reader, ["decisions"], [0])


@pytest.mark.parametrize("at_once", [1, 2, 4, 100])
async def test_which_records_a_step_has_does_not_depend_on_how_they_are_fetched(at_once):
    """
    offset   0 1 2 · · 5 6 7 8
    steps    ├─────┤ ├───┤├──┤     up to 4, then up to 8 but 6 is large, then the rest
    """
    log = log_of(Reader(at_once))
    await log.open(0, {"decisions": 0})
    steps = [await log.read("decisions", *where) for where in ((0, 4), (4, 8), (7, 8), (8, 9))]
    assert [[record[0] for record in step.records] for step in steps] == [[0, 1, 2], [5, 6], [7], [8]]
    assert [step.is_complete for step in steps] == [True, False, True, True]


async def test_records_that_retention_has_removed_are_said_to_be_missing():
    log = log_of(Reader(1, first=5))
    with pytest.raises(StateError, match="begins at offset 5, 4 is needed"):
        await log.open(0, {"decisions": 4})


@pytest.mark.parametrize("text", ["decisions/0", "rewards/0=1", "decisions/x=1", ""])
def test_offsets_of_another_form_are_refused(text):
    with pytest.raises(ConfigError, match="TOPIC/PARTITION=OFFSET"):
        parse_offsets(text, ["decisions", "outcomes"])

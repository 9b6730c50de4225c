from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from pipeline.errors import ConfigError, StateError
from pipeline.join.step import STEP_BYTES
from pipeline.replay.recounting.cuts import parse_offsets
from pipeline.replay.recounting.log import Log

TP = TopicPartition("decisions", 0)
# Offsets 3 and 4 are a gap, as markers of transactions leave one; 6 is very large.
SIZES = {0: 10, 1: 10, 2: 10, 5: 10, 6: STEP_BYTES, 7: 10, 8: 10}
END = 9


class Consumer:
    """A consumer that fetches so many offsets at a time."""

    def __init__(self, at_once: int, begin: int = 0) -> None:
        self.at_once = at_once
        self.begin = begin
        self.at = 0
        self.assigned: list[TopicPartition] = []

    def assignment(self) -> list[TopicPartition]:
        return self.assigned

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def pause(self, *_: TopicPartition) -> None: ...

    def resume(self, *_: TopicPartition) -> None: ...

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.begin)

    async def position(self, _: TopicPartition) -> int:
        return self.at

    async def getmany(self, tp: TopicPartition, *, timeout_ms: int) -> dict[TopicPartition, list[SimpleNamespace]]:
        assert timeout_ms
        offsets = range(self.at, min(END, self.at + self.at_once))
        self.at = offsets.stop
        found = [
            SimpleNamespace(offset=offset, timestamp=0, timestamp_type=1, key=b"k", value=bytes(SIZES[offset]))
            for offset in offsets
            if offset in SIZES
        ]
        return {tp: found} if found else {}


@pytest.mark.parametrize("at_once", [1, 2, 4, 100])
async def test_which_records_a_step_has_does_not_depend_on_how_they_are_fetched(at_once):
    """
    offset   0 1 2 · · 5 6 7 8
    steps    ├─────┤ ├───┤├──┤     up to 4, then up to 8 but 6 is large, then the rest
    """
    log = Log({"decisions": Consumer(at_once)}, [0])
    await log.open(0, {"decisions": 0})
    steps = [await log.read("decisions", *where) for where in ((0, 4), (4, 8), (7, 8), (8, 9))]
    assert [[record[0] for record in step.records] for step in steps] == [[0, 1, 2], [5, 6], [7], [8]]
    assert [step.is_complete for step in steps] == [True, False, True, True]


async def test_records_that_retention_has_removed_are_said_to_be_missing():
    log = Log({"decisions": Consumer(1, begin=5)}, [0])
    with pytest.raises(StateError, match="begins at offset 5, 4 is needed"):
        await log.open(0, {"decisions": 4})


@pytest.mark.parametrize("text", ["decisions/0", "rewards/0=1", "decisions/x=1", ""])
def test_offsets_of_another_form_are_refused(text):
    with pytest.raises(ConfigError, match="TOPIC/PARTITION=OFFSET"):
        parse_offsets(text, ["decisions", "outcomes"])

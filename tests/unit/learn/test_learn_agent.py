from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.errors import DecodeError
from pipeline.learn.agent import FORGET_ROWS, LearnAgent
from pipeline.learn.columns import STEP_BYTES, STEP_RECORDS, fold_piece, pieces
from pipeline.learn.memory import FoldState, expires_of, statistics_to_bytes
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import Batch
from tests.doubles import MemoryBroker, MemoryTable

PARTITION = 2


def reward(
    action_id, *, policy="homepage", revision=1, reward=1, expires_at_ms=1_000, event_time_ms=0, **others
) -> bytes:
    return avro.encode(
        "reward",
        {
            "action_id": action_id,
            "revision": revision,
            "is_settled": False,
            "policy": policy,
            "generation": 1,
            "segment": "new",
            "arm": "a",
            "reward": reward,
            "reward_exponent": 15,
            "context_vector": b"",
            "decided_at_ms": 0,
            "bucket": 0,
            "expires_at_ms": expires_at_ms,
            "event_time_ms": event_time_ms,
            "attribution": "",
            "outcomes": [],
            "decision": b"",
            **others,
        },
    )


class Bench:
    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.table = MemoryTable(self.broker, "changelog", expires_of)
        self.agent = LearnAgent(self.table, self.broker)
        self.length = 0

    async def fold(self, *values: bytes | None) -> None:
        records = [SimpleNamespace(offset=self.length + i, value=value) for i, value in enumerate(values)]
        self.length += len(values)
        await self.agent.handle(Batch(topics.REWARDS, PARTITION, records[0].offset, records, self.length))

    @property
    def remembered(self) -> set[str]:
        return {key[1:].decode() for key in self.table.partition(PARTITION).stored if key[:1] == b"r"}

    @property
    def emitted(self) -> list[tuple[str, dict]]:
        return [avro.decode(value) for value in self.broker.values(topics.STATISTICS)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_changed_rows_are_sent_with_the_fold_s_offset_and_a_mark_behind_them(bench):
    await bench.fold(reward("x", reward=3), reward("y", reward=4, event_time_ms=7))
    row, mark = bench.emitted
    assert row[0] == "statistics"
    assert (row[1]["source_partition"], row[1]["ledger_offset"], row[1]["dimension"]) == (PARTITION, 2, 0)
    # n = 2, Σr = 7, Σr² = 25, as int64 little-endian
    assert row[1]["sums"] == b"".join(number.to_bytes(8, "little") for number in (2, 7, 25))
    expected = {"policy": "homepage", "generation": 1, "source_partition": 2, "ledger_offset": 2, "event_time_ms": 7}
    assert mark == ("statistics_mark", expected)


async def test_every_policy_s_rows_go_to_its_own_partition_with_a_mark_each(bench):
    await bench.fold(reward("x"), reward("y", policy="checkout"))
    for policy in ("homepage", "checkout"):
        log = bench.broker.logs[topics.STATISTICS, topics.partition_for(policy, 4)]
        names = [avro.decode(record.value)[0] for record in log if avro.decode(record.value)[1]["policy"] == policy]
        assert names == ["statistics", "statistics_mark"]


async def test_a_repeat_sends_nothing(bench):
    await bench.fold(reward("x"))
    await bench.fold(reward("x"))
    assert len(bench.emitted) == 2


async def test_an_action_is_forgotten_when_no_revision_can_come_any_more(bench):
    """
    event time   0        99  100  101
                 x ─ expires 100 ┤  ▲ forgotten
    """
    await bench.fold(reward("x", expires_at_ms=100))
    await bench.fold(reward("y", event_time_ms=100))
    assert bench.remembered == {"x", "y"}
    await bench.fold(reward("z", event_time_ms=101))
    assert bench.remembered == {"y", "z"}
    assert bench.table.partition(PARTITION).due(100, 10) == []


async def test_a_repeat_of_a_forgotten_action_does_not_count_again(bench):
    await bench.fold(reward("x", expires_at_ms=100), reward("y", event_time_ms=101))
    await bench.fold(reward("z", event_time_ms=102))
    await bench.fold(reward("x", expires_at_ms=100))
    assert "x" not in bench.remembered
    rows = [fields for name, fields in bench.emitted if name == "statistics"]
    assert int.from_bytes(rows[-1]["sums"][:8], "little") == 3  # x, y and z


async def test_an_id_that_comes_again_is_another_action_however_late_the_first_is_forgotten(bench):
    """
    event time   0        99  100       120      200
                 x ─ expires 100 ┤ x again ─ expires 200 ┤
    """
    await bench.fold(reward("x", expires_at_ms=100, reward=3))
    await bench.fold(reward("x", expires_at_ms=200, event_time_ms=100, reward=5))
    rows = [fields for name, fields in bench.emitted if name == "statistics"]
    # n = 2, Σr = 3 + 5, Σr² = 9 + 25
    assert rows[-1]["sums"] == b"".join(number.to_bytes(8, "little") for number in (2, 8, 34))
    # The first one's place in the order of what falls due is gone with it: 120 does not take the second away.
    await bench.fold(reward("y", expires_at_ms=300, event_time_ms=120))
    assert bench.remembered == {"x", "y"}
    await bench.fold(reward("x", revision=2, expires_at_ms=200, event_time_ms=121, reward=6))
    rows = [fields for name, fields in bench.emitted if name == "statistics"]
    assert int.from_bytes(rows[-1]["sums"][8:16], "little") == 3 + 6 + 1  # y's


async def test_forgetting_keeps_pace_with_folding():
    assert FORGET_ROWS >= STEP_RECORDS


def test_steps_cut_a_batch_by_records_and_by_the_statistics_they_touch():
    def sizes(count: int, rows: int, dimension: int) -> list[int]:
        records = [(i, reward(f"x{i}", bucket=i % rows, context_vector=bytes(2 * dimension))) for i in range(count)]
        cut = list(pieces(records))
        assert [offset for piece in cut for offset in piece.offsets] == list(range(count))
        assert all(piece.bound_bytes <= STEP_BYTES for piece in cut)
        return [len(piece.offsets) for piece in cut]

    assert sizes(STEP_RECORDS + 1, 3, 0) == [STEP_RECORDS, 1]
    # d = 256: 3 + 256 + 256 · 257 / 2 = 33,155 integers of 8 bytes; 16 such rows are over 4 MiB, so 32 are cut twice
    assert sizes(32, 32, 256) == [8, 8, 8, 8]
    assert sizes(32, 8, 256) == [32]
    assert sizes(0, 1, 0) == []


def test_the_names_of_tallies_count_among_what_a_step_writes():
    """Each decision in a context of its own, whose name of 1,000 characters stands in the key of a row and in the
    action's own: 2 × 1,000 × 5,000 is more than a record batch of 8 MiB."""
    records = []
    for number in range(STEP_RECORDS):
        tally = {"row": f"context:{number}".ljust(1_000, ","), "width": 2, "column": 0, "amount": 1}
        records.append((number, reward(f"x{number}", tallies=[tally])))
    cut = list(pieces(records))
    assert [offset for piece in cut for offset in piece.offsets] == list(range(STEP_RECORDS))
    for piece in cut:
        done = fold_piece(piece, [None] * len(piece.action_ids), (), FoldState())
        written = sum(len(one) + len(counted.to_bytes()) for one, counted in done.fold.counted.items())
        written += sum(len(key.to_bytes()) + len(statistics_to_bytes(row)) for key, row in done.fold.deltas.items())
        assert written <= piece.bound_bytes <= STEP_BYTES


@pytest.mark.parametrize(("value", "seen"), [(None, "first bytes ,"), (b"{}", "first bytes 7b7d")])
async def test_what_is_no_ledger_record_stops_with_the_place_where_it_stands(bench, value, seen):
    await bench.fold(reward("x"))
    with pytest.raises(DecodeError, match=f"at offset 1 of the ledger: {seen}"):
        await bench.fold(value)


async def test_actions_with_the_longest_ids_fit_their_steps(bench):
    """5,000 ids of 256 characters of four bytes, all of which expire and are forgotten in one later step."""
    ids = [f"{number}-".ljust(256, "𝄞") for number in range(STEP_RECORDS)]
    await bench.fold(*(reward(name, expires_at_ms=10) for name in ids))
    later = [f"later-{name}"[:256] for name in ids]
    await bench.fold(*(reward(name, event_time_ms=11) for name in later))
    await bench.fold(*(reward(f"last-{name}"[:256], event_time_ms=12) for name in ids))
    assert len(bench.remembered) == 2 * STEP_RECORDS

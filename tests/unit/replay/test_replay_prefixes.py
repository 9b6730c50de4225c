from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from pipeline.checkpoint.head import Head
from pipeline.checkpoint.parts import cut, list_of
from pipeline.checkpoint.state import LedgerState, lines_of
from pipeline.learn.ledger import LedgerRecord, fold_ledger
from pipeline.learn.memory import RowKey
from pipeline.replay.proof.prefixes import WAVE_PREFIXES, Prefix, PrefixFold, PrefixRows, Rows, waves
from tests.ledger_fold import LedgerFold

LENGTH = 60
POLICIES = ("homepage", "search")


def ledger(partition: int) -> list[LedgerRecord]:
    """Records of two policies; an action has up to three revisions."""
    rng = random.Random(partition)  # noqa: S311  nothing is kept secret with it
    revisions: dict[str, int] = {}
    records = []
    for offset in range(LENGTH):
        number = rng.randrange(LENGTH // 2)
        action_id = f"{partition}-{number}"
        revisions[action_id] = revisions.get(action_id, 0) + 1
        key = RowKey(POLICIES[number % 2], 1, "other", "ab"[number % 3 % 2], number % 2)
        records.append(LedgerRecord(offset, action_id, key, revisions[action_id], rng.randrange(9), b"", 10**9, offset))
    return records


LEDGER = {partition: ledger(partition) for partition in range(3)}


def afresh(policy: str, ends: Mapping[int, int]) -> Rows:
    """Fold one prefix alone."""
    fold = LedgerFold(policy, 1)
    for partition, end in ends.items():
        fold.add(partition, LEDGER[partition][:end])
    return fold.rows()


def all_prefixes(prefixes: list[Prefix], batch: int) -> dict[str, PrefixRows]:
    """Fold up to the farthest ends, `batch` records of each partition in turn."""
    fold = PrefixFold(prefixes)
    done = []
    ends = waves(prefixes)[-1] if prefixes else {}
    for start in range(0, LENGTH, batch):
        for partition, end in ends.items():
            done += list(fold.add(partition, LEDGER[partition][start : min(end, start + batch)]))
    done += list(fold.finish())
    assert len(done) == len(prefixes)
    return {one.prefix.name: one for one in done}


@pytest.mark.parametrize("batch", [1, 7, LENGTH])
def test_every_prefix_is_the_fold_of_its_own_prefix(batch):
    rng = random.Random(batch)  # noqa: S311
    prefixes = [
        Prefix(str(number), rng.choice(POLICIES), 1, {partition: rng.randrange(LENGTH + 1) for partition in LEDGER})
        for number in range(40)
    ]
    done = all_prefixes(prefixes, batch)
    for prefix in prefixes:
        assert list(done[prefix.name].rows) == afresh(prefix.policy, prefix.ends)
        assert done[prefix.name].ledger_records == sum(prefix.ends.values())


def test_prefixes_of_equal_offsets_are_each_answered():
    prefixes = [Prefix(name, name, 1, {0: 9, 1: 4}) for name in POLICIES]
    done = all_prefixes(prefixes, 5)
    assert [list(done[name].rows) for name in POLICIES] == [afresh(name, {0: 9, 1: 4}) for name in POLICIES]


def test_a_prefix_of_nothing_is_empty():
    assert all_prefixes([Prefix("none", "homepage", 1, {}), Prefix("zero", "homepage", 1, {0: 0})], 5) == {
        name: PrefixRows(Prefix(name, "homepage", 1, ends), [], 0) for name, ends in (("none", {}), ("zero", {0: 0}))
    }


def test_a_prefix_whose_last_offset_holds_no_record_is_complete_at_the_end():
    """Offsets 7 and 8 are not the log's to give: a prefix at 9 has the records below 7."""
    fold = PrefixFold([Prefix("x", "homepage", 1, {0: 9})])
    assert list(fold.add(0, LEDGER[0][:7])) == []
    (done,) = fold.finish()
    assert list(done.rows) == afresh("homepage", {0: 7})


def test_another_generation_is_another_policy():
    assert all_prefixes([Prefix("x", "homepage", 2, {0: 9})], 5)["x"].rows == []


def test_waves_rise_to_the_farthest_ends_a_few_prefixes_at_a_time():
    prefixes = [Prefix("", "homepage", 1, {0: number, 1: 500 - number}) for number in range(WAVE_PREFIXES + 1)]
    # All sums are equal, so they stay in order: the first wave has the ends of numbers 0 to WAVE_PREFIXES - 1.
    assert waves(prefixes) == [{0: WAVE_PREFIXES - 1, 1: 500}, {0: WAVE_PREFIXES, 1: 500}]


def test_memory_is_that_of_the_actions_that_are_open_at_one_time():
    """An action a millisecond, each open for 50 ms and told three times, the last time when it is long over."""
    key = RowKey("homepage", 1, "other", "a", 0)
    records: list[LedgerRecord] = []
    for at_ms in range(2_000):
        for age_ms, revision in ((0, 1), (40, 2), (500, 3)):
            if (number := at_ms - age_ms) >= 0:
                name, until_ms = f"x{number}", number + 50
                records.append(LedgerRecord(len(records), name, key, revision, revision, b"", until_ms, at_ms))
    fold, most = PrefixFold([Prefix("all", "homepage", 1, {0: len(records)})]), 0
    found = []
    for start in range(0, len(records), 10):
        found += list(fold.add(0, records[start : start + 10]))
        most = max(most, fold.remembered)
    (whole,) = found
    # Σr: 2 of each that was told at 40 ms, 1 of the last 40; what came at 500 ms changes nothing.
    (row,) = [statistics for _, statistics in whole.rows]
    assert (row.n, row.reward_sum) == (2_000, 2 * 1_960 + 40)
    # 51 are open at one time, and a batch of ten records has up to four new ones.
    assert most <= 60


def head_at(partition: int, end: int, topic_id: str = "") -> tuple[Head, LedgerState]:
    """Return the checkpoint of a prefix, folded by itself, and what it says."""
    state = LedgerState()
    fold = fold_ledger(LEDGER[partition][:end], {}, state.fold)
    state.counted, state.rows = fold.counted, fold.deltas
    names = [part.name for part in cut(lines_of(state.fold.watermark_ms, state.counted, state.rows))]
    return Head(topic_id, partition, end, state.fold.watermark_ms, "", list_of(names).name, len(names)), state


@pytest.mark.parametrize("batch", [1, 7, LENGTH])
def test_a_prefix_from_a_checkpoint_is_that_from_the_start_and_so_is_a_checkpoint_on_the_way(batch):
    prefixes = [Prefix(name, name, 1, {0: 50, 1: 40}) for name in POLICIES]
    (_, begun), (on_the_way, _), (other, _) = head_at(0, 20), head_at(0, 33), head_at(1, 12)
    changed = other._replace(state="another")
    fold = PrefixFold(prefixes, {0: begun}, {0: [on_the_way], 1: [other, changed]})
    done = []
    for start in range(0, LENGTH, batch):
        for partition, begin, end in ((0, 20, 50), (1, 0, 40)):
            done += list(fold.add(partition, LEDGER[partition][max(begin, start) : min(end, start + batch)]))
    done += list(fold.finish())
    for one in done:
        assert list(one.rows) == afresh(one.prefix.policy, one.prefix.ends)
        assert one.ledger_records == 30 + 40
    assert {(passed.head, passed.is_equal) for passed in fold.passed} == {
        (on_the_way, True),
        (other, True),
        (changed, False),
    }

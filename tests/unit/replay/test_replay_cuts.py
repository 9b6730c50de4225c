from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from pipeline.learn.ledger import LedgerRecord
from pipeline.learn.memory import RowKey
from pipeline.replay.cuts import WAVE_CUTS, Cut, CutFold, CutRows, Rows, waves
from pipeline.replay.fold import LedgerFold

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


def all_cuts(cuts: list[Cut], batch: int) -> dict[str, CutRows]:
    """Fold up to the farthest ends, `batch` records of each partition in turn."""
    fold = CutFold(cuts)
    done = []
    ends = waves(cuts)[-1] if cuts else {}
    for start in range(0, LENGTH, batch):
        for partition, end in ends.items():
            done += list(fold.add(partition, LEDGER[partition][start : min(end, start + batch)]))
    done += list(fold.finish())
    assert len(done) == len(cuts)
    return {one.cut.name: one for one in done}


@pytest.mark.parametrize("batch", [1, 7, LENGTH])
def test_every_cut_is_the_fold_of_its_own_prefix(batch):
    rng = random.Random(batch)  # noqa: S311
    cuts = [
        Cut(str(number), rng.choice(POLICIES), 1, {partition: rng.randrange(LENGTH + 1) for partition in LEDGER})
        for number in range(40)
    ]
    done = all_cuts(cuts, batch)
    for cut in cuts:
        assert list(done[cut.name].rows) == afresh(cut.policy, cut.ends)
        assert done[cut.name].ledger_records == sum(cut.ends.values())


def test_cuts_of_equal_offsets_are_each_answered():
    cuts = [Cut(name, name, 1, {0: 9, 1: 4}) for name in POLICIES]
    done = all_cuts(cuts, 5)
    assert [list(done[name].rows) for name in POLICIES] == [afresh(name, {0: 9, 1: 4}) for name in POLICIES]


def test_a_cut_of_nothing_is_empty():
    assert all_cuts([Cut("none", "homepage", 1, {}), Cut("zero", "homepage", 1, {0: 0})], 5) == {
        name: CutRows(Cut(name, "homepage", 1, ends), [], 0) for name, ends in (("none", {}), ("zero", {0: 0}))
    }


def test_a_cut_whose_last_offset_holds_no_record_is_complete_at_the_end():
    """Offsets 7 and 8 are not the log's to give: a cut at 9 has the records below 7."""
    fold = CutFold([Cut("x", "homepage", 1, {0: 9})])
    assert list(fold.add(0, LEDGER[0][:7])) == []
    (done,) = fold.finish()
    assert list(done.rows) == afresh("homepage", {0: 7})


def test_another_generation_is_another_policy():
    assert all_cuts([Cut("x", "homepage", 2, {0: 9})], 5)["x"].rows == []


def test_waves_rise_to_the_farthest_ends_a_few_cuts_at_a_time():
    cuts = [Cut("", "homepage", 1, {0: number, 1: 500 - number}) for number in range(WAVE_CUTS + 1)]
    # All sums are equal, so they stay in order: the first wave has the ends of numbers 0 to WAVE_CUTS - 1.
    assert waves(cuts) == [{0: WAVE_CUTS - 1, 1: 500}, {0: WAVE_CUTS, 1: 500}]

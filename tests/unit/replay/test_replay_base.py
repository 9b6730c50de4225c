from __future__ import annotations

import numpy as np

from pipeline.codec import avro
from pipeline.join.step import Limits
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, width
from pipeline.replay.recounting.base import SOURCE_BYTES, FindBase, base_key, base_record, source_batches
from pipeline.replay.recounting.cuts import from_positions, to_positions
from pipeline.replay.recounting.journal import Journal, journal_of, read_journal
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.stream.log.outbox import BUILDER_BYTES
from tests.samples import define, plain_policy

PLAN = ReplayPlan(define(plain_policy(generation=2)), "events", (1,), Limits())
CUTS = [
    {"decisions": {0: 0, 1: 3}, "outcomes": {0: 0, 1: 0}},
    {"decisions": {0: 9, 1: 5}, "outcomes": {0: 2, 1: 0}},
]


def rows(count: int, dimension: int = 0) -> dict[RowKey, Statistics]:
    """Give rows of rising bucket, each with its bucket as n."""
    found = {}
    for bucket in range(1, count + 1):
        sums = np.zeros(width(dimension), np.int64)
        sums[0] = bucket
        found[RowKey("homepage", 2, "new", "a", bucket)] = Statistics(dimension, sums)
    return found


def test_what_is_sent_is_found_again():
    finding = FindBase("homepage", 2)
    sent = [*source_batches(PLAN, rows(3).items(), -1, 7), *source_batches(PLAN, rows(5).items(), -2, 7)]
    for offset, (key, value) in enumerate(pair for batch in sent for pair in batch.items()):
        finding.see(0, offset, key, value)
    assert finding.found is None
    finding.see(0, 90, base_key("homepage", 2), base_record(PLAN, CUTS, -2, 1, 7))
    finding.see(0, 91, base_key("homepage", 3), base_record(PLAN, CUTS, -9, 1, 7))
    finding.see(0, 92, b'["homepage",2,"new","a",1]@0', b"learned, not replayed")
    found = finding.found
    assert found is not None
    assert dict(found.rows) == rows(5)
    assert (found.offset, found.cuts, found.next_source) == (90, CUTS, -3)
    assert journal_of(found) == Journal(PLAN, CUTS, sent=1, next_source=-3)


def test_a_source_is_one_record_batch_that_publish_can_write_as_one_too():
    # d = 256: a row takes 8 · (3 + 256 + 256 · 257 / 2) bytes, 265 kB; seven of them are below 2 MB, eight are not.
    batches = source_batches(PLAN, rows(20, dimension=256).items(), -1, 7)
    assert [len(batch) - 1 for batch in batches] == [7, 7, 6]
    assert max(sum(len(key) + len(value) for key, value in batch.items()) for batch in batches) < SOURCE_BYTES + 1_000
    assert SOURCE_BYTES + (2 << 20) < BUILDER_BYTES
    marks = [avro.decode_as("statistics_mark", list(batch.values())[-1]) for batch in batches]
    assert [mark["source_partition"] for mark in marks] == [-1, -2, -3]


def test_cuts_are_read_back_as_they_were_written():
    assert [from_positions(to_positions(cut)) for cut in CUTS] == CUTS


def test_a_journal_is_read_back_as_it_was_written(tmp_path):
    assert read_journal(tmp_path) is None
    journal = Journal(PLAN, CUTS)
    assert journal.is_unfinished
    journal.note_sent(-1, 2)
    journal.write(tmp_path / "work")
    found = read_journal(tmp_path / "work")
    assert found == Journal(PLAN, CUTS, sent=1, next_source=-3)
    assert not found.is_unfinished


def test_a_source_of_an_interrupted_run_is_used_by_no_other():
    finding = FindBase("homepage", 2)
    assert finding.free_source == -1
    # Two sources, and killed before the base.
    for offset, (key, value) in enumerate(
        pair for batch in source_batches(PLAN, rows(20, dimension=256).items(), -1, 7)[:2] for pair in batch.items()
    ):
        finding.see(0, offset, key, value)
    assert finding.free_source == -3
    finding.see(0, 90, base_key("homepage", 2), base_record(PLAN, CUTS, -3, 0, 7))
    assert finding.free_source == -4

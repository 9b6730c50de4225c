"""However changes come, in whatever order and batches, the rows by age are those of all buckets summed up at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learn.memory import RowKey
from pipeline.models.sums.spans import span_for
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.derivation import Derivation
from pipeline.publish.merging import weigh_buckets
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.snapshot import snapshot_fields
from tests.samples import define, plain_policy

BUCKETS = st.integers(24_000, 24_600) | st.integers(0, 30_000)
FORGETTING: list[dict[str, Any]] = [
    {},
    {"half_life": "20m"},
    {"window": "30m"},
    {"half_life": "1h", "window": "4h"},
]


class Change(NamedTuple):
    """What one ledger record changes."""

    source: int
    arm: str
    bucket: int
    n: int
    reward: int
    square: int


@st.composite
def logs(draw: st.DrawFn) -> list[list[Change]]:
    """Draw batches of decisions, corrections of old ones, and decisions taken back, in up to three partitions."""
    batches = []
    actions: list[tuple[int, str, int, int]] = []
    for _ in range(draw(st.integers(1, 5))):
        batch = []
        for _ in range(draw(st.integers(1, 10))):
            what = draw(st.sampled_from(("decision", "correction", "erasure"))) if actions else "decision"
            if what == "decision":
                actions.append((draw(st.integers(0, 2)), draw(st.sampled_from("ab")), draw(BUCKETS), 0))
                batch.append(Change(*actions[-1][:3], 1, 0, 0))
                continue
            source, arm, bucket, r = actions.pop(draw(st.integers(0, len(actions) - 1)))
            after = 0 if what == "erasure" else draw(st.integers(0, 9))
            batch.append(Change(source, arm, bucket, -(what == "erasure"), after - r, after * after - r * r))
            if what == "correction":
                actions.append((source, arm, bucket, after))
        batches.append(batch)
    return batches


def keyed(arm: str, bucket: int) -> RowKey:
    return RowKey("homepage", 1, "other", arm, bucket)


@settings(max_examples=60, deadline=None)
@given(log=logs(), forgetting=st.sampled_from(FORGETTING))
def test_what_is_kept_up_with_changes_is_what_all_buckets_come_to(log, forgetting):
    definition = define(plain_policy(**({"forgetting": forgetting} if forgetting else {})))
    partials, known = Partials(), Derivation()
    latest: dict[PartialKey, Statistics] = {}
    for number, batch in enumerate(log, 1):
        for one in batch:
            key = PartialKey(keyed(one.arm, one.bucket), one.source)
            change = Statistics(0, np.array([one.n, one.reward, one.square], np.int64))
            latest[key] = latest[key] + change if key in latest else change
            partials.stage(key, number, latest[key])
        marks = {source: Mark(number, 1) for source in range(3)}
        for source, mark in marks.items():
            partials.mark(source, mark)
        rows: dict[RowKey, Statistics] = {}
        for key, row in latest.items():
            rows[key.row] = rows[key.row] + row if key.row in rows else row
        went_on, anew = partials.aged_rows(), AgedRows(sorted(rows.items()))
        assert went_on.rows() == anew.rows()
        assert went_on.ever == anew.ever
        assert went_on.newest == anew.newest == max((key.bucket for key, row in rows.items() if row.n), default=0)
        fields = snapshot_fields(definition, went_on, marks, number, "", None, known)
        assert fields == snapshot_fields(definition, anew, marks, number, "")


@settings(max_examples=200, deadline=None)
@given(bucket=st.integers(0, 10**6), age=st.integers(0, 10**6), later=st.integers(0, 10**6))
def test_a_span_counts_as_a_bucket_near_all_of_its_own_and_only_ever_joins_others(bucket, age, later):
    newest = bucket + age
    place = span_for(bucket, newest)
    assert abs(place.middle - bucket) * 32 <= max(age, 31)
    assert span_for(place.middle, newest) == span_for(place.last, newest) == place
    # Whoever is together with it stays so.
    assert span_for(place.last, newest + later) == span_for(bucket, newest + later)


def test_there_are_as_many_spans_as_the_logarithm_of_age_asks_for():
    # 32 of one bucket; then 16 of each doubling of age: 32 + 16 · log2(17,520 / 32) = 177.6, and where ends don't meet.
    counts = {hours: len({span_for(bucket, hours) for bucket in range(hours + 1)}) for hours in (48, 720, 17_520)}
    assert counts[17_520] <= 32 + 16 * np.log2(17_520 / 32) + 5
    assert counts[48] <= 48


def test_what_a_span_errs_by_is_within_what_is_said_of_it():
    """No decision counts by more than 0.012 of a new one more or less; together it is far less, as they err both ways.

    With u = ln 2 · age / half-life, a decision of weight e^-u counts e^(u/32) of that at most: e^-u (e^(u/32) - 1) is
    largest at u = 32 ln(32/31) = 1.016, where it is 0.01168. On average over an even stream errors cancel.
    """
    definition = define(plain_policy(forgetting={"half_life": "1h"}))  # 180 buckets of 20 s
    newest = 20_000
    weights = np.array([definition.forgetting.weight_for(age * 20_000) for age in range(newest + 1)])
    spans = [span_for(newest - age, newest) for age in range(newest + 1)]
    counted = np.array([definition.forgetting.weight_for((newest - place.middle) * 20_000) for place in spans])
    assert np.abs(counted - weights).max() <= 0.0118
    assert abs(counted.sum() / weights.sum() - 1.0) < 0.002
    rows = [(keyed("a", bucket), Statistics(0, np.array([1, 0, 0], np.int64))) for bucket in range(newest + 1)]
    assert weigh_buckets(definition, rows)["other", "a"].n == pytest.approx(counted.sum(), rel=1e-12)

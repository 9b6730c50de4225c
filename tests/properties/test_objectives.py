"""Where outcome kinds are counted apart, other worths are what learning anew by them would have come to."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learn.memory import RowKey
from pipeline.models.sums.importance import ImportanceSums
from pipeline.models.sums.objectives import columns_for, compose, entries
from pipeline.models.sums.statistics import HEAD, Statistics
from pipeline.policy.changes import check_change
from pipeline.policy.tallies import OBJECTIVES_ROW
from pipeline.publish.merging import weigh_buckets
from pipeline.publish.snapshot import posterior_sha256, segment_posteriors
from tests.naive.fold import (
    NaiveEntry,
    naive_ledger,
    reward_exponent,
    sha256_of,
    sum_up,
    weighted_reward,
)
from tests.samples import define
from tests.traffic import Rolled, Traffic, policies, traffic_of

pytestmark = pytest.mark.timeout(600)


@st.composite
def weighted_traffic(draw: st.DrawFn) -> Traffic:
    policy = draw(policies(is_weighted=True))
    policy["attribution"]["settle"] = "optimistic"
    return traffic_of(policy, draw(st.integers(1, 40)), 120_000, Rolled(draw(st.integers(0, 2**32))))


def with_worths(policy: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Draw other worths, that come to no more than the bounds: at least 0 to 0.75."""
    new = copy.deepcopy(policy)
    for rule in new["reward"]["outcomes"]:
        largest = 0.7 / len(new["reward"]["outcomes"])
        sign = -1.0 if rule["worth"] < 0.0 else 1.0
        if rule["worth"]:
            size = 8.0 if rule.get("times_value") else 1.0
            rule["worth"] = sign * draw(st.floats(0.0, largest)) / size
    return new


def rows_of(policy: dict[str, Any], entries_: list[NaiveEntry]) -> list[tuple[RowKey, Statistics]]:
    dimension = 3 if "context" in policy else 0
    rows = []
    for (segment, arm, bucket, *tally), sums in sum_up(entries_).items():
        key = RowKey("homepage", 1, segment, arm, bucket, *tally)
        rows.append((key, Statistics(-len(sums) if tally else dimension, np.array(sums, np.int64))))
    return rows


def earned(policy: dict[str, Any], entries_: list[NaiveEntry]) -> dict[tuple[str, str], list[Fraction]]:
    """Learn anew, decision by decision: [Σr, Σr², b…] of each segment and arm, in grid steps, exact."""
    step = Fraction(2) ** reward_exponent(policy)
    found: dict[tuple[str, str], list[Fraction]] = {}
    for entry in entries_:
        r = weighted_reward(policy, entry.amounts) * step
        known = found.setdefault(entry.key[:2], [Fraction(0)] * (2 + len(entry.vector)))
        found[entry.key[:2]] = [a + b for a, b in zip(known, [r, r * r, *(r * x for x in entry.vector)], strict=True)]
    return found


def worths_by_propensity(policy: dict[str, Any], entry: NaiveEntry) -> Fraction:
    """Weigh what one decision counts for by 1 / propensity, in grid steps, exact."""
    _, *amounts = entry.importance
    return weighted_reward(policy, tuple(amounts)) * Fraction(2) ** reward_exponent(policy)


@settings(max_examples=60)
@given(data=weighted_traffic(), draw=st.data())
def test_other_worths_are_what_learning_anew_by_them_comes_to_to_the_integer(data: Traffic, draw: Any) -> None:
    new = with_worths(data.policy, draw.draw)
    definition, other = define(data.policy), define(new)
    check_change(definition, other)  # no new generation
    records = ([one.record for one in arrivals] for arrivals in (data.decisions, data.outcomes))
    # What is counted knows nothing of worths: the ledger of the old ones is that of the new.
    ledger = [entry for entry in naive_ledger(data.policy, *records).values() if not entry.is_analysis]
    rows = rows_of(data.policy, ledger)
    for policy in (data.policy, new):
        now = define(policy)
        by_arm: dict[tuple[str, str], Any] = {}
        for key, row in rows:
            if key.tally == OBJECTIVES_ROW:
                known = by_arm.get((key.segment, key.arm))
                by_arm[key.segment, key.arm] = row if known is None else known + row
        exact = earned(policy, ledger)
        for place, row in by_arm.items():
            composed = compose(row.sums, now.reward.weights, now.dimension)
            one = 1 << composed.bits
            got = [composed.reward_sum, composed.reward_square_sum / Fraction(one), *composed.moments]
            assert [Fraction(value) / one for value in got] == exact[place]
        if now.forgetting.is_none:
            weighed = weigh_buckets(now, rows)
            for place, sums in exact.items():
                known_sums: Any = weighed[place]
                if isinstance(known_sums, ImportanceSums):
                    steps = sum((worths_by_propensity(policy, entry) for entry in ledger if entry.key[:2] == place), 0)
                    assert known_sums.earned == float(steps)
                    known_sums = known_sums.sums
                found = known_sums.sums  # each the nearest float64 to what is exact
                assert found[1:HEAD].tolist() == [float(value) for value in sums[:2]]
                assert found[HEAD : HEAD + now.dimension].tolist() == [float(value) for value in sums[2:]]
        told = {
            (segment["segment"], arm): total
            for segment in segment_posteriors(now, rows)
            for arm, total in zip(segment["arms"], segment["reward_sums"], strict=True)
        }
        assert {place: told[place] for place in exact} == {place: round(sums[0]) for place, sums in exact.items()}
        plain = policy | {"algorithm": {"name": now.algorithm.name, **now.algorithm.parameters}}
        assert posterior_sha256(now, rows) == sha256_of(plain, now.reward_exponent, sum_up(ledger))
    is_same = definition.reward.weights == other.reward.weights
    assert (posterior_sha256(definition, rows) == posterior_sha256(other, rows)) == is_same


@given(
    decisions=st.lists(
        st.tuples(st.tuples(*[st.integers(-(2**15), 2**15)] * 3), st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 2)),
        max_size=6,
    )
)
def test_a_row_of_kinds_adds_up_and_is_taken_back(decisions: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    width = columns_for(3, 2)
    row = [0] * width
    for amounts, x in decisions:
        for column, amount in entries(amounts, x):
            assert amount
            row[column] += amount
    expected = [sum(c[k] for c, _ in decisions) for k in range(3)]
    expected += [sum(c[k] * c[j] for c, _ in decisions) for k in range(3) for j in range(k, 3)]
    expected += [sum(c[k] * x[j] for c, x in decisions) for k in range(3) for j in range(2)]
    assert row == expected

"""sent            snapshot 2 contains it    decided on 2
│ 100 ms                               │ 400 ms
└──────────────── 300 ms ──────────────┘
"""

from __future__ import annotations

import pytest

from pipeline.demo.freshness import Freshness, FreshnessReport

FOREVER_MS = 10_000.0


def measured(freshness: Freshness, place: tuple[int, int] | None, until_ms: float = FOREVER_MS) -> FreshnessReport:
    report = freshness.report({} if place is None else {"o": place}, until_ms, FOREVER_MS)
    assert report is not None
    return report


def played(*, offsets: dict[int, dict[int, int]], decided: list[tuple[int, float]]) -> Freshness:
    freshness = Freshness()
    freshness.note_sent("o", 100.0)
    for version, of_version in offsets.items():
        freshness.note_snapshot(version, of_version)
    for version, at_ms in decided:
        freshness.note_decided(version, at_ms)
    return freshness


def test_an_outcome_is_known_by_the_first_decision_on_a_snapshot_that_contains_it() -> None:
    # Offset 5 is in where the next offset not in is 6: version 2.
    freshness = played(offsets={1: {0: 5}, 2: {0: 6}}, decided=[(1, 200.0), (2, 400.0), (2, 500.0)])
    assert measured(freshness, (0, 5)).p50_ms == pytest.approx(400.0 - 100.0)


def test_a_later_version_knows_it_too() -> None:
    freshness = played(offsets={1: {0: 5}, 2: {0: 6}, 3: {0: 9}}, decided=[(1, 200.0), (3, 450.0)])
    assert measured(freshness, (0, 5)).p50_ms == pytest.approx(350.0)


def test_an_answer_of_a_node_that_is_behind_comes_too_early_to_count() -> None:
    freshness = played(offsets={1: {0: 0}, 2: {0: 6}}, decided=[(2, 300.0), (1, 310.0)])
    assert measured(freshness, (0, 5)).p50_ms == pytest.approx(200.0)


def test_each_ledger_partition_has_offsets_of_its_own() -> None:
    # Partition 1 is first heard of in version 2, and has the outcome in version 3.
    offsets = {1: {0: 50}, 2: {0: 60, 1: 2}, 3: {0: 60, 1: 4}}
    freshness = played(offsets=offsets, decided=[(2, 200.0), (3, 600.0)])
    assert measured(freshness, (1, 3)).p50_ms == pytest.approx(500.0)


def test_a_snapshot_that_is_published_twice_counts_once() -> None:
    freshness = played(offsets={1: {0: 5}}, decided=[])
    freshness.note_snapshot(1, {0: 99})
    freshness.note_snapshot(2, {0: 6})
    freshness.note_decided(1, 200.0)
    freshness.note_decided(2, 300.0)
    assert measured(freshness, (0, 5)).p50_ms == pytest.approx(200.0)


@pytest.mark.parametrize("place", [None, (0, 99), (7, 0)], ids=["not credited", "in no snapshot", "other partition"])
def test_an_outcome_that_no_decision_came_to_know_counts_up_to_the_last_decision(place: tuple[int, int] | None) -> None:
    freshness = played(offsets={1: {0: 6}}, decided=[(1, 300.0)])
    report = measured(freshness, place)
    assert report.unknown == 1
    assert report.p50_ms == pytest.approx(FOREVER_MS - 100.0)


def test_outcomes_of_the_last_seconds_are_left_out_known_or_not() -> None:
    freshness = played(offsets={1: {0: 6}}, decided=[(1, 300.0)])
    freshness.note_sent("late", 9_000.0)
    report = freshness.report({"o": (0, 5)}, 5_000.0, FOREVER_MS)
    assert report is not None
    assert (report.outcomes, report.unknown) == (1, 0)


def test_without_outcomes_nothing_is_measured() -> None:
    assert Freshness().report({}, FOREVER_MS, FOREVER_MS) is None

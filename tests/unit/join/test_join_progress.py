from __future__ import annotations

from collections import Counter

import orjson
import pytest

from pipeline.errors import StateError
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress, imbalance, progress_from_bytes

NEITHER: frozenset[str] = frozenset()
BOTH = frozenset({DECISIONS, OUTCOMES})


def at(decisions_ms: int, outcomes_ms: int, event_time_ms: int = -1) -> Progress:
    return Progress(watermarks_ms={DECISIONS: decisions_ms, OUTCOMES: outcomes_ms}, event_time_ms=event_time_ms)


@pytest.mark.parametrize(
    ("at_end", "expected"),
    [
        (NEITHER, 20),  # the smaller one: what is not read yet may be as old
        ({OUTCOMES}, 50),  # outcomes are all read
        ({DECISIONS}, 20),  # outcomes lag behind
        (BOTH, 50),
    ],
)
def test_the_slower_topic_holds_event_time_back_until_it_is_at_its_end(at_end, expected):
    assert at(50, 20).next_event_time_ms(frozenset(at_end)) == expected


def test_a_topic_that_was_never_read_holds_event_time_back():
    assert at(50, -1).next_event_time_ms(NEITHER) == -1


def test_event_time_never_falls():
    assert at(50, 20, event_time_ms=40).next_event_time_ms(NEITHER) == 40
    assert at(50, 20, event_time_ms=60).next_event_time_ms(BOTH) == 60


def test_stored_progress_is_read_back():
    progress = Progress({DECISIONS: 3, OUTCOMES: 4}, {DECISIONS: 50, OUTCOMES: 20}, 20, Counter({"decisions.read": 3}))
    assert progress_from_bytes(progress.to_bytes()) == progress
    assert progress_from_bytes(Progress().to_bytes()) == Progress()


def test_progress_of_an_unknown_version_stops_the_worker():
    with pytest.raises(StateError, match="version 9"):
        progress_from_bytes(orjson.dumps([9, "whatever"]))


def test_what_is_read_less_what_became_of_it_is_the_imbalance():
    counts = Counter(
        {"decisions.read": 9, "decisions.open": 4, "decisions.settled": 2, "decisions.rejected.unknown-arm": 2}
    )
    assert imbalance(counts, DECISIONS) == 1  # 9 - 4 - 2 - 2: one is lost
    assert imbalance(counts, OUTCOMES) == 0

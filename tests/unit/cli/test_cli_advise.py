from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.cli.advise import Found, SegmentAdvice, advise_segments, earlier
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.learn.memory import RowKey
from pipeline.models.advice import Rule
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.guardrails import Switches
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot
from tests.samples import define, plain_policy

ONE = 2**15
HOUR_MS = 3_600_000


def published(plain: dict[str, Any], tallies: dict[str, tuple[int, int]], at_ms: int, version: int = 1) -> bytes:
    """Publish clicks and decisions of the arms in segment `other`."""
    rows = [
        (RowKey("homepage", 1, "other", arm, 0), Statistics(0, np.array([n, r * ONE, r * ONE * ONE], np.int64)))
        for arm, (r, n) in tallies.items()
    ]
    return build_snapshot(define(plain), rows, {0: Mark(1, at_ms)}, version, "")


def advice_on(content: bytes, before: bytes | None = None) -> list[SegmentAdvice]:
    earlier_record = None if before is None else avro.decode_as("snapshot", before)
    return advise_segments(load_snapshot(content), avro.decode_as("snapshot", content), earlier_record, Rule())


def test_a_segment_without_decisions_is_left_out():
    (one,) = advice_on(published(plain_policy(), {"a": (900, 10_000), "b": (100, 10_000)}, HOUR_MS))
    assert one.segment == "other"
    assert one.to_plain()["leader"] == "a"
    assert one.advice.may_stop
    assert (one.needed, one.counts) == (0, [10_000, 10_000])


@pytest.mark.parametrize(
    ("clicks", "code", "words"), [(None, 1, "no decision yet"), (100, 0, "compared over all time")]
)
def test_a_policy_that_nobody_was_shown_is_not_told_to_stop(clicks, code, words, monkeypatch: pytest.MonkeyPatch):
    tallies = {} if clicks is None else {"a": (900, 10_000), "b": (clicks, 10_000)}
    segments = advice_on(published(plain_policy(), tallies, HOUR_MS))

    async def found(*_: object, **__: object) -> Found:
        return Found(3, segments)

    monkeypatch.setattr(sys.modules["pipeline.cli.advise"], "advise_policy", found)
    told = CliRunner().invoke(cli, ["advise", "homepage"])
    assert (told.exit_code, words in told.output) == (code, True)
    assert CliRunner().invoke(cli, ["advise", "homepage", "--json"]).exit_code == code


def test_the_time_it_takes_is_that_of_the_present_traffic():
    now = published(plain_policy(), {"a": (30, 330), "b": (36, 346)}, 3 * HOUR_MS, 2)
    before = published(plain_policy(), {"a": (10, 100), "b": (10, 100)}, HOUR_MS)
    (one,) = advice_on(now, before)
    assert not one.advice.may_stop
    assert one.needed is not None
    assert one.needed == round((one.advice.growth - 1) * 676)
    # 676 - 200 decisions came in two hours.
    assert one.needed_ms == pytest.approx(one.needed * 2 * HOUR_MS / 476, abs=1)


def test_without_an_earlier_snapshot_only_the_decisions_are_told():
    (one,) = advice_on(published(plain_policy(), {"a": (30, 330), "b": (36, 346)}, HOUR_MS))
    assert one.needed is not None
    assert one.needed_ms is None


def test_evidence_that_fades_never_adds_up():
    plain = plain_policy(forgetting={"half_life": "1m"})
    (one,) = advice_on(published(plain, {"a": (30, 330), "b": (36, 346)}, HOUR_MS))
    assert one.needed is None


def test_traffic_is_measured_from_the_oldest_snapshot_that_is_near_enough():
    at = [(1, 0), (2, 5), (3, 8), (4, 10)]
    history = [{"policy": "p", "generation": 1, "version": v, "event_time_ms": t * HOUR_MS} for v, t in at]
    history.append({"policy": "p", "generation": 2, "version": 5, "event_time_ms": 6 * HOUR_MS})
    found = earlier(history, history[3], 6 * HOUR_MS)
    assert found is not None
    assert found["version"] == 2
    assert earlier(history, history[0], 6 * HOUR_MS) is None


def days(cells: dict[tuple[str, int], tuple[int, int]]) -> list[tuple[RowKey, Statistics]]:
    """Decisions and clicks of arms, by day."""
    return [
        (RowKey("homepage", 1, "other", arm, day), Statistics(0, np.array([n, r * ONE, r * ONE * ONE], np.int64)))
        for (arm, day), (n, r) in cells.items()
    ]


def advise_on_days(
    plain: dict[str, Any], cells: dict[tuple[str, int], tuple[int, int]], *, by_day: bool = True, **others: Any
) -> SegmentAdvice:
    rows = days(cells)
    content = build_snapshot(define(plain), rows, {0: Mark(1, 48 * HOUR_MS)}, 1, "")
    record = avro.decode_as("snapshot", content)
    (one,) = advise_segments(load_snapshot(content), record, None, Rule(), rows if by_day else (), **others)
    return one


def test_a_level_that_moves_while_shares_move_is_no_difference_of_arms():
    # b is better on both days, 12 % to 10 % and 3 % to 2 %; pooled it has 3.9 % to 9.2 %, since its day was the worse.
    cells = {("a", 0): (9_000, 900), ("b", 0): (1_000, 120), ("a", 1): (1_000, 20), ("b", 1): (9_000, 270)}
    one = advise_on_days(plain_policy(), cells)
    assert one.arms[one.advice.leader] == "b"
    assert one.means == pytest.approx([0.06, 0.075])  # the mean of both days, which had the same traffic
    assert one.to_plain()["basis"] == "within 2 stretches of time"
    assert advise_on_days(plain_policy(), cells, by_day=False).advice.leader == 0


def test_an_arm_that_came_later_is_compared_since_then():
    cells = {("a", 0): (5_000, 1_000), ("a", 1): (2_000, 100), ("b", 1): (2_000, 120)}
    one = advise_on_days(plain_policy(), cells)
    assert one.means == pytest.approx([0.05, 0.06])
    assert one.basis == "within 1 stretches of time, since the last of the arms came (5,000 decisions before)"


def test_an_arm_that_is_killed_or_kept_from_some_is_no_choice():
    cells = {("a", 0): (9_000, 900), ("b", 0): (9_000, 400)}
    killed = advise_on_days(plain_policy(), cells, switches=Switches(arms=("a",)))
    assert (killed.arms, killed.left_out) == (("b",), {"a": "is killed"})
    ruled = plain_policy(guardrails={"eligibility": [{"arms": ["a"], "only_when": {"age": {"at_least": 18}}}]})
    kept = advise_on_days(ruled, cells)
    assert (kept.arms, kept.left_out) == (("b",), {"a": "is kept from some visitors by a rule"})
    with pytest.raises(ConfigError, match="no other arm is left"):
        advise_on_days(plain_policy(), cells, switches=Switches(arms=("a", "b")))

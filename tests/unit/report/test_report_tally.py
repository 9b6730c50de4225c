from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.cli.report import in_words
from pipeline.codec.wire import decode_event
from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.report.picture import save_picture
from pipeline.report.report import report_of
from pipeline.report.tally import tally
from tests.samples import define, plain_decision, plain_policy

Plain = dict[str, Any]


def entry(action_id: str, reward: float = 0.0, *, is_settled: bool = True, **others: Any) -> Entry:
    plain = plain_decision(action_id, **{"snapshot_version": 3, **others})
    decision = decode_event(orjson.dumps(plain), "decision", {})
    assert isinstance(decision, Decision)
    return Entry(1, is_settled, reward, decision.segment, decision)


HOLDOUT = {"reason": "holdout", "guardrails": ["holdout"]}
ENTRIES = [
    entry("1", 1.0, subject_hash="ada"),
    entry("2", 0.0, subject_hash="ada", arm="b"),
    entry("3", 1.0, reason="fallback", segment="new"),
    entry("4", 0.5, subject_hash="bob", **HOLDOUT),
    entry("5", 0.0, subject_hash="eve", **HOLDOUT),
    entry("6", 1.0, reason="fallback", snapshot_version=0),
    entry("7", 1.0, is_settled=False),
    Entry(9, is_settled=True, reward=1.0, segment="other", decision=None),
]


def test_groups_are_the_holdout_and_all_others_that_a_snapshot_was_there_for():
    counted = tally(ENTRIES)
    groups = {name: side.group for name, side in counted.groups.items()}
    assert {name: (group.subjects, group.decisions.sum()) for name, group in groups.items()} == {
        "policy": (2, 3),
        "analysis": (0, 0),
        "holdout": (2, 2),
        "no_snapshot": (1, 1),
    }
    assert groups["policy"].mean == pytest.approx(2 / 3)
    assert groups["holdout"].mean == 0.25
    assert counted.reasons == {"policy": 2, "fallback": 2, "holdout": 2}
    assert counted.guardrails == {"holdout": 2}
    assert (counted.open_count, counted.unread) == (1, 1)


def test_decisions_whose_context_gave_no_vector_count_on_their_side_and_are_told_by_reason():
    missing = [
        entry("8", 1.0, subject_hash="dan", reason="fallback")._replace(undecodable="missing-feature"),
        entry("9", 0.5, subject_hash="fay", **HOLDOUT)._replace(undecodable="missing-feature"),
    ]
    report = report_of(define(plain_policy(**held(0.5))), tally([*ENTRIES, *missing]))
    # Beside those of ENTRIES: 3 decisions of 2 subjects, and 2 of the holdout's 2.
    assert [(report["groups"][name]["decisions"]) for name in ("policy", "holdout")] == [4, 3]
    assert report["undecodable"] == {"missing-feature": 2}
    assert "not learned from, as their context could not be encoded: missing-feature 2" in in_words(report)


def test_the_analysis_group_is_a_part_of_the_policy_s_and_may_stand_against_the_holdout_alone():
    learned_not = [entry("8", 1.0, subject_hash="dan", is_analysis=True), entry("9", 0.5, is_analysis=True)]
    both = entry("10", 1.0, subject_hash="fay", is_analysis=True, **HOLDOUT)
    counted = tally([*ENTRIES, *learned_not, both])
    sides = {name: (side.group.subjects, side.decisions) for name, side in counted.groups.items()}
    # One who is held out is not of the analysis group, whatever a producer says.
    assert sides == {"policy": (4, 5), "analysis": (2, 2), "holdout": (3, 3), "no_snapshot": (1, 1)}
    assert counted.decisions == 9
    report = report_of(define(plain_policy(**held(0.5))), counted, of="analysis")
    # (1 + .5) / 2 of the group, (.5 + 0 + 1) / 3 of the holdout.
    assert report["lift"]["difference"]["value"] == pytest.approx(0.75 - 0.5)
    assert "lift of analysis: +0.25" in in_words(report)
    assert "analysis: 0.75 a decision" in in_words(report)
    missing = report_of(define(plain_policy(**held(0.5))), tally(ENTRIES), of="analysis")
    assert missing["lift"] is None
    assert any("[analysis] share" in doubt for doubt in missing["doubts"])


def test_open_decisions_count_where_they_are_asked_for():
    assert tally(ENTRIES, include_open=True).groups["policy"].decisions == 4


def held(share: float) -> Plain:
    return {"guardrails": {"holdout": {"share": share}}}


def test_a_report_has_means_lift_arms_and_segments_as_json_takes_them():
    report = report_of(define(plain_policy(**held(0.5))), tally(ENTRIES))
    assert orjson.loads(orjson.dumps(report)) == report
    assert report["lift"]["difference"]["value"] == pytest.approx(2 / 3 - 0.25)
    arms = report["arms"]["policy"]
    assert {name: (row["decisions"], row["share"], row["mean_reward"]) for name, row in arms.items()} == {
        "a": (2, 2 / 3, 1.0),
        "b": (1, 1 / 3, 0.0),
    }
    assert arms["b"]["interval"] is None  # of one subject
    assert {name: row["decisions"] for name, row in report["segments"]["policy"].items()} == {"new": 1, "other": 2}
    share = report["holdout_share"]
    assert (share["declared"], share["seen"], share["p_value"], share["p_value_always"]) == (0.5, 0.5, 1.0, 1.0)
    assert report["unit"] == "subject"
    words = in_words(report)
    assert "policy: 0.66667 a decision" in words
    assert "however often one looks" in words
    assert "1 decisions are still open" in words
    assert "by action for 2 of 6 decisions" in words
    assert "the holdout group is worth 1.0 rewards of one size" in words


def test_groups_of_another_size_than_declared_are_doubted():
    entries = [entry(f"p{i}", i % 2, subject_hash=f"p{i}", propensity=1.0) for i in range(900)]
    entries += [entry(f"h{i}", i % 2, subject_hash=f"h{i}", **HOLDOUT) for i in range(100)]
    assert report_of(define(plain_policy(**held(0.1))), tally(entries))["doubts"] == []
    # 100 where 200 are expected.
    (doubt,) = report_of(define(plain_policy(**held(0.2))), tally(entries))["doubts"]
    assert doubt.startswith("10.00% of the subjects are held out where 20.00% were to be")
    # All of them came while a tenth was to be held out.
    assert report_of(define(plain_policy(**held(0.2))), tally(entries, {3: 0.1}))["doubts"] == []


def test_forty_people_who_come_back_are_forty_and_not_two_thousand():
    # Half of them held out, as declared; each comes sixty times, and likes it or not.
    entries = [
        entry(f"{person}-{visit}", person % 4 // 2, subject_hash=f"{person}", **(HOLDOUT if person % 2 else {}))
        for person in range(40)
        for visit in range(60)
    ]
    report = report_of(define(plain_policy(**held(0.5))), tally(entries))
    assert report["groups"]["policy"]["subjects"] == report["groups"]["holdout"]["subjects"] == 20
    assert report["holdout_share"]["p_value"] == 1.0
    # Twenty yes or no: about ± 0.3 each.
    assert report["lift"]["difference"]["high"] > 0.25


def test_where_nobody_is_named_it_says_that_it_goes_by_action():
    report = report_of(define(plain_policy(**held(0.5))), tally([entry("1"), entry("2", 1.0), entry("3", **HOLDOUT)]))
    assert report["unit"] == "action"
    assert "by action" in in_words(report).splitlines()[0]
    assert any("by action for 3 of 3 decisions" in doubt for doubt in report["doubts"])


def two_days() -> list[Entry]:
    """A twentieth is held out on a day that pays .1, half on one that pays .3; the policy earns no more than it."""
    entries = []
    for version, policy, held_out, rate in ((1, 950, 50, 0.1), (2, 500, 500, 0.3)):
        for reason, subjects in (("policy", policy), ("holdout", held_out)):
            for i in range(subjects):
                who = f"{version}-{reason}-{i}"
                entries.append(
                    entry(who, float(i < rate * subjects), subject_hash=who, reason=reason, snapshot_version=version)
                )
    return entries


def test_a_share_that_moved_with_the_level_makes_no_difference_of_its_own():
    counted = tally(two_days(), {1: 0.05, 2: 0.5})
    report = report_of(define(plain_policy(**held(0.5))), counted)
    # Pooled, the policy has 245 of 1,450 and the holdout 155 of 550.
    pooled = report["groups"]["policy"]["mean_reward"] - report["groups"]["holdout"]["mean_reward"]
    assert pooled == pytest.approx(245 / 1450 - 155 / 550)
    lift = report["lift"]["difference"]
    assert lift["value"] == pytest.approx(0.0, abs=1e-12)
    # Both days weigh a half; variances .09/950 + .09/50 and .21/500 twice: 1.96 sqrt((.00189 + .00084) / 4) = .051.
    assert lift["high"] - lift["low"] == pytest.approx(2 * 0.051, rel=0.1)
    assert report["lift"]["always"]["low"] < lift["low"]
    assert "within 2 shares of the holdout" in in_words(report)


def test_a_time_without_a_holdout_is_compared_with_nobody_and_told():
    before = [entry(f"b{i}", 1.0, subject_hash=f"b{i}", snapshot_version=1) for i in range(70)]
    since = [one for one in two_days() if one.decision is not None and one.decision.snapshot_version == 2]
    report = report_of(define(plain_policy(**held(0.5))), tally([*before, *since], {1: 0.0, 2: 0.5}))
    assert report["lift"]["difference"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert report["doubts"][0].startswith("70 decisions are not compared: under the holdout's share of that time")
    assert [one["is_compared"] for one in report["strata"]] == [False, True]


def test_who_was_held_out_for_a_while_is_told():
    twice = [entry("1", subject_hash="ada"), entry("2", subject_hash="ada", **HOLDOUT)]
    doubts = report_of(define(plain_policy(**held(0.5))), tally(twice))["doubts"]
    assert any(doubt.startswith("1 subjects were held out for a part of the time") for doubt in doubts)


def test_a_policy_without_a_holdout_is_told_how_to_have_one():
    report = report_of(define(plain_policy()), tally(ENTRIES[:3]))
    assert report["lift"] is None
    assert "add [guardrails.holdout] share = 0.05" in in_words(report)
    assert "lift: not known" in in_words(report)


@pytest.mark.parametrize("entries", [ENTRIES, [], ENTRIES[:3]])
def test_a_picture_is_drawn_of_whatever_there_is(entries, tmp_path: Path):
    report = report_of(define(plain_policy(**held(0.5))), tally(entries))
    path = tmp_path / "deep" / "lift.png"
    save_picture(report, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    in_words(report)


def test_decisions_of_nobody_known_are_said_to_count_by_action():
    report = report_of(define(plain_policy(**held(0.1))), tally(ENTRIES))
    assert report["without_subject"] == 2
    assert any(doubt.startswith("by action for 2 of 6 decisions") for doubt in report["doubts"])


def days(cells: Mapping[tuple[str, int], tuple[int, int]]) -> list[Entry]:
    """Decisions and clicks by arm and day, each with the share of its arm on its day as its propensity."""
    of_day: Counter[int] = Counter()
    for (_, day), (n, _) in cells.items():
        of_day[day] += n
    return [
        entry(
            f"{arm}-{day}-{place}",
            float(place < clicks),
            arm=arm,
            propensity=n / of_day[day],
            decided_at_ms=day * 86_400_000,
            subject_hash=f"{arm}-{day}-{place}",
        )
        for (arm, day), (n, clicks) in cells.items()
        for place in range(n)
    ]


def test_a_level_that_moves_while_shares_move_is_no_difference_of_arms():
    # b is better on both days, 12 % to 10 % and 3 % to 2 %; pooled it has 3.9 % to 9.2 %, since its day was the worse.
    cells = {("a", 0): (900, 90), ("b", 0): (100, 12), ("a", 1): (100, 2), ("b", 1): (900, 27)}
    report = report_of(define(plain_policy()), tally(days(cells)))
    arms = report["arms"]["policy"]
    # Both days had the same traffic: (10 + 2) / 2 and (12 + 3) / 2 in a hundred.
    assert {name: row["mean_reward"] for name, row in arms.items()} == pytest.approx({"a": 0.06, "b": 0.075})
    assert {name: row["mean_as_shown"] for name, row in arms.items()} == pytest.approx({"a": 0.092, "b": 0.039})
    assert {name: row["reach"] for name, row in arms.items()} == pytest.approx({"a": 1.0, "b": 1.0})
    for row in arms.values():
        assert row["interval"]["low"] < row["mean_reward"] < row["interval"]["high"]
    assert "a 1,000 (50.0%, 0.06 (95 %: 0.0" in in_words(report)
    assert ", as shown 0.092)" in in_words(report)
    assert not any("stand for" in doubt for doubt in report["doubts"])


def test_an_arm_that_was_shown_more_often_than_was_logged_is_told_by_both_shares():
    # a in every decision, each time with a propensity of a half.
    entries = [entry(f"{place}", subject_hash=f"s{place}", arm="a", propensity=0.5) for place in range(1_000)]
    (doubt,) = (one for one in report_of(define(plain_policy()), tally(entries))["doubts"] if "propensit" in one)
    assert doubt.startswith("a was shown in 100.0% of the decisions, where its logged propensities come to 50.0%")


def test_an_arm_that_could_not_be_shown_to_everybody_is_told_apart():
    # b came on the second day.
    report = report_of(
        define(plain_policy()), tally(days({("a", 0): (1_000, 90), ("a", 1): (500, 10), ("b", 1): (500, 15)}))
    )
    assert report["arms"]["policy"]["b"]["reach"] == pytest.approx(0.5)
    assert any(doubt.startswith("the decisions that showed b stand for 50.0% of all") for doubt in report["doubts"])

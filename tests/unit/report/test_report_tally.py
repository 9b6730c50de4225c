from __future__ import annotations

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
    means = {name: group.mean for name, group in counted.groups.items()}
    assert {name: (mean.subjects, mean.decisions) for name, mean in means.items()} == {
        "policy": (2, 3),
        "holdout": (2, 2),
        "no_snapshot": (1, 1),
    }
    assert means["policy"].value == pytest.approx(2 / 3)
    assert means["holdout"].value == 0.25
    assert counted.reasons == {"policy": 2, "fallback": 2, "holdout": 2}
    assert counted.guardrails == {"holdout": 2}
    assert (counted.open_count, counted.unread) == (1, 1)


def test_open_decisions_count_where_they_are_asked_for():
    assert tally(ENTRIES, include_open=True).groups["policy"].mean.decisions == 4


def held(share: float) -> Plain:
    return {"guardrails": {"holdout": {"share": share}}}


def test_a_report_has_means_lift_arms_and_segments_as_json_takes_them():
    report = report_of(define(plain_policy(**held(0.5))), tally(ENTRIES))
    assert orjson.loads(orjson.dumps(report)) == report
    assert report["lift"]["difference"]["value"] == pytest.approx(2 / 3 - 0.25)
    assert report["arms"]["policy"] == {
        "a": {"decisions": 2, "share": 2 / 3, "mean_reward": 1.0},
        "b": {"decisions": 1, "share": 1 / 3, "mean_reward": 0.0},
    }
    assert {name: row["decisions"] for name, row in report["segments"]["policy"].items()} == {"new": 1, "other": 2}
    assert report["holdout_share"] == {"declared": 0.5, "seen": 0.5, "p_value": 1.0}
    words = in_words(report)
    assert "policy: 0.66667 a decision" in words
    assert "1 decisions are still open" in words
    assert "the holdout group has 2 subjects" in words


def test_groups_of_another_size_than_declared_are_doubted():
    entries = [entry(f"p{i}", i % 2, subject_hash=f"p{i}") for i in range(900)]
    entries += [entry(f"h{i}", i % 2, subject_hash=f"h{i}", **HOLDOUT) for i in range(100)]
    assert report_of(define(plain_policy(**held(0.1))), tally(entries))["doubts"] == []
    # 100 where 200 are expected: z = -100 / sqrt(1000 · 0.2 · 0.8) = -7.9.
    (doubt,) = report_of(define(plain_policy(**held(0.2))), tally(entries))["doubts"]
    assert doubt.startswith("10.00% of the subjects are held out where 20.00% are declared (p = 2.7e-15)")


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

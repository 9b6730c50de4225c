from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.demo.freshness import FreshnessReport
from pipeline.demo.picture import save_picture, spread_labels
from pipeline.demo.progress import Frame, Progress, line
from pipeline.demo.report import ArmRow, Curves, VisitorsReport
from pipeline.demo.table import visitors_table

SNAPSHOT = {"policy": "homepage", "version": 7, "id": "ab", "posterior_sha256": "cd"}


def row(segment: str, arm: str, share: float, *, is_best: bool) -> ArmRow:
    return ArmRow(segment, arm, is_best, share, 0.4 if is_best else 0.1, 0.39, 0.35, 0.43)


def report(*, policy: float = 20.0, uniform: float = 100.0, share: float = 0.9) -> VisitorsReport:
    ends = (policy, uniform, 30.0)
    return VisitorsReport(
        visitors=10,
        decisions=10,
        settled=10,
        rejected=0,
        seconds=1.5,
        arms=[row("new", "a", share, is_best=True), row("new", "b", 1.0 - share, is_best=False)],
        curves=Curves(*(np.linspace(0.0, end, 10) for end in ends)),
        freshness=FreshnessReport(250.04, 700.0, 5, 0),
        snapshot=SNAPSHOT,
    )


def test_the_json_object_has_the_promised_keys() -> None:
    assert report().to_json() == {
        "decisions": 10,
        "regret": 20.0,
        "regret_uniform": 100.0,
        "regret_ab": 30.0,
        "freshness_ms": {"p50": 250.0, "p99": 700.0},
        "best_arm_share": {"new": 0.9},
        "snapshot": SNAPSHOT,
        "settled": 10,
        "rejected": 0,
        "seconds": 1.5,
    }


def test_a_policy_that_has_learned_has_no_faults() -> None:
    assert report().faults() == []


def test_half_of_chances_regret_is_a_fault() -> None:
    assert report(policy=50.0).faults() == ["its regret of 50 is not below half of chance's 100"]


def test_another_arm_shown_most_is_a_fault() -> None:
    assert report(share=0.4).faults() == ["segment new was shown b most, its best arm is a"]


def test_the_table_marks_the_best_arm_and_says_the_regrets() -> None:
    console = Console(file=io.StringIO(), width=90)
    console.print(visitors_table(report()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a ★" in text
    assert "0.390  0.350 to 0.430" in text
    assert "20%" in text  # of chance's 100, the policy lost 20
    assert "p50 250 ms, p99 700 ms" in text


def test_the_picture_is_a_png_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "out" / "regret.png"
    save_picture(report().curves, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_labels_that_would_touch_are_moved_apart_in_order() -> None:
    assert spread_labels({"policy": 10.0, "test": 11.0, "chance": 100.0}, 9.0) == {
        "policy": 10.0,
        "test": 19.0,
        "chance": 100.0,
    }


def test_progress_that_is_no_terminal_writes_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=40)
    with Progress(console) as progress:
        progress.show(Frame("visitors come", 1_500, 3_000, 20, 4, 7.6, {"new": {"a": 0.25, "b": 0.75}}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.endswith(" visitors come: 1,500 of 3,000 decisions, 20 settled, snapshot 4, new → b 75%, 8 s left\n")


def test_before_anybody_came_no_arm_leads() -> None:
    assert line(Frame("visitors come", 0, 10, 0, 0)) == "visitors come: 0 of 10 decisions, 0 settled, snapshot 0"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_can_say_what_begins(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=80)
    with Progress(console) as progress:
        progress.say("starting the worker")
    assert "starting the worker" in console.file.getvalue()  # type: ignore[attr-defined]

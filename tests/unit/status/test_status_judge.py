"""What is wrong with a deployment is named with its place and the next step; what is well is not named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.status.facts import (
    DeploymentFacts,
    FigureFacts,
    MonitorFacts,
    NodeFacts,
    StageFacts,
    StreamFacts,
    TopicFacts,
    WorkerFacts,
)
from pipeline.status.judge import faults_of
from pipeline.status.metrics_text import worker_facts
from tests.harness.pages import TOP

WORKER = WorkerFacts(
    "w",
    stages={"join": StageFacts(), "learn": StageFacts(lag_records=5, lag_s=30.0)},
    streams={"decisions": StreamFacts({"read": 3, "open": 3}, 0, None)},
    published={"homepage": 7},
)
NODE = NodeFacts("n", "", "ok", {"homepage": 6})
WELL = DeploymentFacts({"decisions": TopicFacts(4, 3, 0.0, 0)}, {}, {}, [WORKER], [NODE])


def told(facts: DeploymentFacts) -> list[tuple[str, str]]:
    faults = list(faults_of(facts, behind_s=30.0))
    for fault in faults:
        for word in fault.next_step.split("; "):
            assert word.startswith("pipeline ") or (TOP / word).is_file(), fault
    return [(fault.what, fault.seen) for fault in faults]


def with_worker(**changes: object) -> DeploymentFacts:
    return replace(WELL, workers=[replace(WORKER, **changes)])  # type: ignore[arg-type]


def test_of_what_is_well_nothing_is_said():
    assert told(WELL) == []


@pytest.mark.parametrize(
    ("facts", "what", "seen"),
    [
        (replace(WELL, topics={"outcomes": TopicFacts(0, 0, 0.0, None)}), "topic outcomes", "there is none"),
        (with_worker(fault="does not answer"), "worker w", "does not answer"),
        (with_worker(stages={"learn": StageFacts(9, 31.0)}), "learn of w", "9 records, 31 s behind; 30 s are allowed"),
        (with_worker(stages={"join": StageFacts(failed=["2", "3"])}), "join of w", "partition 2, 3 stands still"),
        (with_worker(streams={"outcomes": StreamFacts({}, 2, None)}), "outcomes of w", "2 records are unaccounted for"),
        (with_worker(alarms={"homepage": "stopped"}), "outcomes of homepage", "have stopped, says w"),
        (with_worker(alarms={"homepage": "jumped"}, waiting=["homepage"]), "outcomes of homepage", "is not published"),
        (replace(WELL, nodes=[NodeFacts("n", "refused")]), "node n", "refused"),
        (replace(WELL, nodes=[NodeFacts("n", "", "degraded")]), "node n", "says degraded"),
        # 6 may still be on its way to a node when 7 is published; 5 is not.
        (replace(WELL, nodes=[replace(NODE, versions={"homepage": 5})]), "node n", "version 5, 7 is published"),
    ],
)
def test_each_fault_is_said_with_its_place(facts: DeploymentFacts, what: str, seen: str):
    ((told_what, told_seen),) = told(facts)
    assert told_what == what
    assert seen in told_seen


def test_a_worker_s_metrics_are_summed_over_its_partitions():
    text = """
pipeline_lag_records{stage="join",topic="decisions",partition="0"} 3
pipeline_lag_records{stage="join",topic="outcomes",partition="1"} 4
pipeline_lag_seconds{stage="join",topic="decisions",partition="0"} 1.5
pipeline_lag_seconds{stage="join",topic="outcomes",partition="1"} 2.5
pipeline_failed_lanes{stage="learn",partition="10"} 1
pipeline_failed_lanes{stage="learn",partition="9"} 1
pipeline_failed_lanes{stage="learn",partition="8"} 0
pipeline_records{stream="outcomes",fate="credited",partition="0"} 5
pipeline_records{stream="outcomes",fate="credited",partition="1"} 6
pipeline_records_unaccounted{stream="outcomes",partition="0"} 1
pipeline_records_unaccounted{stream="outcomes",partition="1"} -1
pipeline_watermark_timestamp_seconds{stream="outcomes",partition="0"} 1000.5
pipeline_watermark_timestamp_seconds{stream="outcomes",partition="1"} 1001.0
pipeline_held_policies{policy="a"} 1
pipeline_held_policies{policy="b"} 0
pipeline_label_rate_alarm{policy="a",state="stopped"} 0
pipeline_label_rate_alarm{policy="a",state="jumped"} 0
pipeline_label_rate_alarm{policy="b",state="stopped"} 1
pipeline_label_rate_alarm{policy="b",state="jumped"} 0
pipeline_publishing_held{policy="a"} 0
pipeline_publishing_held{policy="b"} 1
pipeline_monitor_alarm{policy="a",monitor="features"} 1
pipeline_monitor_figure{policy="a",monitor="features",figure="stability_index",of="device"} 0.5
pipeline_monitor_withheld{policy="a",monitor="draws",reason="unsampled"} 1
"""
    facts = worker_facts("w", text)
    assert (facts.stages["join"].lag_records, facts.stages["join"].lag_s) == (7, 2.5)
    assert facts.stages["learn"].failed == ["9", "10"]
    outcomes = facts.streams["outcomes"]
    # Too many in one partition and too few in another are two faults, and not none.
    assert (outcomes.fates, outcomes.unaccounted, outcomes.watermark_ms) == ({"credited": 11}, 2, 1_000_500)
    assert facts.held == ["a"]
    assert (facts.alarms, facts.waiting) == ({"b": "stopped"}, ["b"])
    figure = FigureFacts("stability_index", "device", 0.5)
    told = {"features": MonitorFacts(is_red=True, figures=[figure]), "draws": MonitorFacts(withheld="unsampled")}
    assert facts.monitors == {"a": told}
    (fault,) = [one for one in faults_of(replace(WELL, workers=[facts]), 60.0) if one.what == "monitor features of a"]
    assert (fault.seen, fault.next_step) == ("is red: stability_index device 0.5", "ops/runbooks/monitors.md")


def test_what_is_no_worker_is_refused():
    with pytest.raises(ValueError, match="is this its --metrics-port"):
        worker_facts("w", "up 1\n")

from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.exposures import count_exposures
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.replay.proof.compare import first_difference
from tests.samples import define, plain_policy

# Buckets of 20 s.
CAPS = [{"arm": "a", "share": 0.5, "window": "20s"}, {"arm": "b", "share": 0.5, "window": "1m"}]


@pytest.fixture
def capped() -> PolicyDefinition:
    return define(plain_policy(guardrails={"caps": CAPS}))


def row(arm: str, bucket: int, n: int, segment: str = "other") -> tuple[RowKey, Statistics]:
    sums = b"".join(number.to_bytes(8, "little") for number in (n, 0, 0))
    return RowKey("homepage", 1, segment, arm, bucket), Statistics.from_bytes(0, sums)


def test_a_window_is_counted_in_whole_buckets_over_all_segments(capped):
    #  bucket      0        1        2        3        4
    #  from ms     0        20,000   40,000   60,000   80,000      until 85,000
    #  20 s back to 65,000: buckets 3 and 4;  1 m back to 25,000: buckets 1 to 4
    rows = [row("a", bucket, 10**bucket) for bucket in range(5)] + [row("b", 4, 7), row("b", 4, 5, "new")]
    assert count_exposures(capped, rows, 85_000) == [
        {"window_ms": 20_000, "until_ms": 85_000, "counts": [11_000, 12]},
        {"window_ms": 60_000, "until_ms": 85_000, "counts": [11_110, 12]},
    ]


def test_a_policy_without_caps_or_budget_counts_nothing():
    assert count_exposures(define(plain_policy()), [row("a", 0, 1)], 5) == []


def test_a_snapshot_says_until_when_it_counted_and_a_wrong_count_is_found(capped):
    rows = [row("a", 0, 3), row("b", 0, 1)]
    marks = {0: Mark(4, 9_000), 1: Mark(2, 12_000)}
    snapshot: dict[str, Any] = avro.decode_as("snapshot", build_snapshot(capped, rows, marks, 1, ""))
    assert [(one["until_ms"], one["counts"]) for one in snapshot["exposures"]] == [(12_000, [3, 1])] * 2
    assert first_difference(snapshot, capped, rows) is None
    snapshot["exposures"][1]["counts"] = [2, 1]
    found = first_difference(snapshot, capped, rows)
    assert found == ("exposures within 60000 ms", "[2, 1]", "[3, 1]")

"""A worker killed at any delivery (`tests/killed_worker.py`): the same posterior, and honest snapshots."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.join.progress import imbalance
from pipeline.learn.memory import RowKey, statistics_from_bytes
from pipeline.learn.owed import OWED, SUMS
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.outline import kept
from pipeline.publish.snapshot import posterior_sha256, snapshot_id
from pipeline.replay.proof.lineage import Lineage
from pipeline.stream.log import topics
from tests.killed_worker import FORGET, Move, history, loop, moves
from tests.naive.fold import naive_fold
from tests.samples import define
from tests.simulation import LearnSimulation
from tests.traffic import GRACE_MS, Arrival, Traffic, traffic

# To make a failing example small may take hypothesis five minutes.
pytestmark = pytest.mark.timeout(600)


@settings(max_examples=120)
@given(data=traffic(), partitions=st.integers(1, 4), plan=moves())
def test_a_worker_killed_anywhere_publishes_the_naive_posterior(
    data: Traffic, partitions: int, plan: list[Move]
) -> None:
    worker = asyncio.run(loop(data, partitions, plan))
    remembered = [d.record for d in data.decisions if d.record["action_id"] not in worker.forgotten]
    naive = naive_fold(data.policy, remembered, [o.record for o in data.outcomes])
    assert avro.decode_as("snapshot", history(worker)[-1])["posterior_sha256"] == naive.sha256
    for partition in worker.join.partitions:
        for stream in (topics.DECISIONS, topics.OUTCOMES):
            assert imbalance(partition.progress.counts, stream) == 0
        assert partition.rows.due(2**62, 1) == []
    for partition in worker.learn.partitions:
        assert list(partition.rows.scan(OWED)) == []


@settings(max_examples=120)
@given(data=traffic(), partitions=st.integers(1, 4), plan=moves())
def test_every_snapshot_is_the_fold_of_the_ledger_that_it_names_and_no_version_is_used_twice(
    data: Traffic, partitions: int, plan: list[Move]
) -> None:
    worker = asyncio.run(loop(data, partitions, plan))
    ids: dict[int, str] = {}
    lineage = Lineage("homepage")
    for content in history(worker):
        record = avro.decode_as("snapshot", content)
        assert ids.setdefault(record["version"], snapshot_id(content)) == snapshot_id(content)
        assert record["parent"] == ids.get(record["version"] - 1, "")
        rows: dict[RowKey, Statistics] = {}
        as_of_ms = 0
        for cut in record["ledger_offsets"]:
            ledger = [entry.value for entry in worker.broker.logs[topics.REWARDS, cut["partition"]]]
            source = LearnSimulation(ledger, cut["partition"], forgets=False)
            source.fold(cut["offset"])
            as_of_ms = max(as_of_ms, source.state.watermark_ms)
            for key, row in source.sums().items():
                rows[key] = rows[key] + row if key in rows else row
        assert posterior_sha256(define(data.policy), rows.items(), as_of_ms) == record["posterior_sha256"]
        lineage.add(kept(content))
    assert lineage.fault is None
    # Each directive at most once; one that another came after in time is never acted on.
    assert lineage.rollbacks <= sum(directive.action == "rollback" for directive in worker.directives)


@settings(max_examples=300)
@given(
    data=traffic(),
    plan=moves(),
    late_ms=st.lists(st.sampled_from([0, 0, GRACE_MS, 20_000, 60_000]), min_size=1, max_size=7),
)
def test_what_comes_later_than_the_grace_counts_in_the_ledger_and_in_learn_or_in_neither(
    data: Traffic, plan: list[Move], late_ms: list[int]
) -> None:
    """Whether it counts is a matter of when it is read; but a crash must not make one say yes and the other no."""
    late = data._replace(decisions=later(data.decisions, late_ms[::-1]), outcomes=later(data.outcomes, late_ms))
    worker = asyncio.run(loop(late, 1, [move for move in plan if move.what != FORGET]))
    last: dict[str, dict[str, Any]] = {}
    for raw in worker.broker.values(topics.REWARDS):
        record = avro.decode_as("reward", raw)
        if record["revision"] >= last.get(record["action_id"], record)["revision"]:
            last[record["action_id"]] = record
    told: Counter[tuple[Any, ...]] = Counter()
    for record in last.values():
        if record["is_analysis"]:  # told, and never learned from
            continue
        place = (record["segment"], record["arm"], record["bucket"])
        told.update({(*place, "n"): 1, (*place, "r"): record["reward"]})
    counted: Counter[tuple[Any, ...]] = Counter()
    for stored_key, stored in worker.tables["learn"].partition(0).scan(SUMS):
        key, row = RowKey(*orjson.loads(stored_key[1:])), statistics_from_bytes(stored)
        if not key.tally:
            place = (key.segment, key.arm, key.bucket)
            counted.update({(*place, "n"): row.n, (*place, "r"): row.reward_sum})
    assert +counted == +told
    assert -counted == -told


def later(records: list[Arrival], late_ms: list[int]) -> list[Arrival]:
    """Let records come later, by each of the delays in turn."""
    delays_ms = itertools.cycle(late_ms)
    return [
        one._replace(arrived_ms=one.arrived_ms + delay_ms) for one, delay_ms in zip(records, delays_ms, strict=False)
    ]


@settings(max_examples=60)
@given(data=traffic(), partitions=st.integers(1, 2), plan=moves())
def test_a_disk_holds_what_its_changelog_holds(data: Traffic, partitions: int, plan: list[Move]) -> None:
    worker = asyncio.run(loop(data, partitions, plan))
    for table in worker.tables.values():
        for number in range(partitions):
            disk = {key: value for key, value in table.partition(number).stored.items() if key[:1] != b"d"}
            table.lose()
            restored = {key: value for key, value in table.partition(number).stored.items() if key[:1] != b"d"}
            assert disk == restored

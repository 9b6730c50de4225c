from __future__ import annotations

import asyncio
import time
from collections import Counter
from types import SimpleNamespace

import httpx
import pytest

from pipeline.errors import ConfigError
from pipeline.join.progress import Progress
from pipeline.metrics.listener import Listener
from pipeline.stream.log.lanes import Standing
from pipeline.stream.metrics import WorkerMetrics


def partition(number: int, event_time_ms: int, **counts: int) -> SimpleNamespace:
    named = Counter({name.replace("__", ".").replace("_", "-"): count for name, count in counts.items()})
    progress = Progress(event_time_ms=event_time_ms, counts=named)
    return SimpleNamespace(held=SimpleNamespace(number=number), progress=progress, waits_for_registry=number > 0)


async def scrape(metrics: WorkerMetrics) -> dict[str, float]:
    metrics.belongs_to(asyncio.get_running_loop())
    listener = Listener("127.0.0.1", 0)
    port = listener.start(metrics.registry, {})
    try:
        async with asyncio.timeout(10), httpx.AsyncClient() as client:
            response = await client.get(f"http://127.0.0.1:{port}/metrics")
    finally:
        await listener.stop()
    lines = [line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_every_partition_tells_what_became_of_its_records() -> None:
    metrics = WorkerMetrics()
    balanced = partition(0, -1, decisions__read=5, decisions__open=2, decisions__settled=3)
    lossy = partition(3, 1_000, outcomes__read=4, outcomes__credited=3)
    metrics.watch([balanced, lossy])  # type: ignore[list-item]
    told = await scrape(metrics)
    assert told['pipeline_records{fate="settled",partition="0",stream="decisions"}'] == 3
    assert told['pipeline_records{fate="read",partition="3",stream="outcomes"}'] == 4
    assert told['pipeline_records_unaccounted{partition="0",stream="decisions"}'] == 0
    assert told['pipeline_records_unaccounted{partition="3",stream="outcomes"}'] == 1
    assert told['pipeline_open_actions{partition="0"}'] == 2
    assert [told[f'pipeline_waits_for_registry{{partition="{number}"}}'] for number in (0, 3)] == [0, 1]
    # A partition that has read nothing has no event time; the other one's is of 1970.
    assert 'pipeline_event_time_lag_seconds{partition="0"}' not in told
    assert told['pipeline_event_time_lag_seconds{partition="3"}'] > 1e9


async def test_steps_and_restores_are_timed() -> None:
    metrics = WorkerMetrics()
    metrics.observe_steps("join")(0.003)
    metrics.note_restore("learn", 120, 0.5)
    metrics.note_stall(0.004)
    metrics.note_stall(0.001)
    told = await scrape(metrics)
    assert told['pipeline_step_seconds_count{stage="join"}'] == 1
    assert told['pipeline_step_seconds_sum{stage="join"}'] == pytest.approx(0.003)
    assert told['pipeline_restore_seconds_sum{table="learn"}'] == 0.5
    assert told["pipeline_event_loop_stall_seconds_count"] == 2
    assert told['pipeline_event_loop_stall_seconds_bucket{le="0.002"}'] == 1
    assert told["pipeline_event_loop_longest_stall_seconds"] == 0.004
    assert told['pipeline_restored_records_total{table="learn"}'] == 120


async def test_a_stage_tells_how_far_behind_it_is_in_records_and_in_time() -> None:
    metrics = WorkerMetrics()
    a_minute_ago_ms = time.time_ns() // 1_000_000 - 60_000
    standings = [
        Standing("learn", "rewards", 0, 12, a_minute_ago_ms, 400),
        Standing("learn", "rewards", 1, 0, a_minute_ago_ms, 0),
    ]
    lanes = SimpleNamespace(
        stage=SimpleNamespace(name="learn"), standings=lambda: standings, handled=Counter({"rewards": 30})
    )
    metrics.watch([], [], [lanes])  # type: ignore[list-item]
    told = await scrape(metrics)
    behind, level = (f'{{partition="{number}",stage="learn",topic="rewards"}}' for number in (0, 1))
    assert told[f"pipeline_lag_records{behind}"] == 12
    assert told[f"pipeline_lag_seconds{behind}"] >= 60.0
    # Nothing is newer there: however old its last record is, it is not behind.
    assert told[f"pipeline_lag_records{level}"] == told[f"pipeline_lag_seconds{level}"] == 0
    assert told[f"pipeline_fetched_waiting_bytes{behind}"] == 400
    assert told['pipeline_claimed_partitions{stage="learn"}'] == 2
    assert told['pipeline_handled_records_total{stage="learn",topic="rewards"}'] == 30


async def test_a_port_that_is_taken_is_refused() -> None:
    metrics = WorkerMetrics()
    listener = Listener("127.0.0.1", 0)
    port = listener.start(metrics.registry, {})
    try:
        with pytest.raises(ConfigError, match=f"metrics: 127.0.0.1:{port} can't be listened on"):
            Listener("127.0.0.1", port).start(metrics.registry, {})
    finally:
        await listener.stop()

"""A worker is alive, ready and caught up: three questions, each with an answer of its own."""

from __future__ import annotations

import asyncio
import json

import httpx
from prometheus_client import CollectorRegistry

from pipeline.metrics.listener import Listener
from pipeline.stream.health import CAUGHT_UP_MS, LaneHealth, WorkerHealth, health_pages, worker_health
from pipeline.stream.log.lanes import Standing

OPEN = LaneHealth("join", 0, is_open=True, has_failed=False)
NOW_MS = 1_000_000
LEVEL = Standing("join", "outcomes", 0, 0, 0, 0)


def health(*lanes: LaneHealth, behind: Standing = LEVEL, is_assigned: bool = True) -> WorkerHealth:
    return worker_health(NOW_MS, lanes, [behind], is_assigned=is_assigned)


def test_a_worker_whose_partitions_are_read_is_ready_and_caught_up():
    told = health(OPEN)
    assert (told.is_ready, told.is_caught_up, told.detail) == (True, True, "nothing")


def test_in_a_rebalance_it_is_not_ready():
    told = health(OPEN, is_assigned=False)
    assert not told.is_ready
    assert "are being moved" in told.detail


def test_it_is_not_ready_before_all_that_it_was_given_is_restored():
    told = health(OPEN, LaneHealth("learn", 0, is_open=False, has_failed=False))
    assert not told.is_ready
    assert told.detail == "1 of 2 partitions of stages are being restored"


def test_a_lane_that_stands_still_is_named_with_its_runbook():
    told = health(OPEN, LaneHealth("learn", 3, is_open=False, has_failed=True))
    assert told.failed == ["learn/3"]
    assert "ops/runbooks/lane-stopped.md: learn/3" in told.detail


def test_who_is_behind_is_ready_and_not_caught_up():
    behind = Standing("join", "outcomes", 0, 500, NOW_MS - CAUGHT_UP_MS - 1, 0)
    told = health(OPEN, behind=behind)
    assert (told.is_ready, told.is_caught_up) == (True, False)
    assert told.detail == "join is 500 records, 10.0 s behind"


async def test_each_question_has_a_page_and_a_status():
    now = [health(OPEN)]
    listener = Listener("127.0.0.1", 0)
    port = listener.start(CollectorRegistry(), health_pages(lambda: now[0], asyncio.get_running_loop()))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def statuses() -> list[int]:
                return [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/caughtup")]

            assert await statuses() == [200, 200, 200]
            now[0] = health(OPEN, behind=Standing("join", "outcomes", 0, 500, 0, 0))
            assert await statuses() == [200, 200, 503]
            now[0] = health(OPEN, is_assigned=False)
            assert await statuses() == [200, 503, 503]
            assert json.loads((await client.get("/readyz")).content)["is_ready"] is False
            assert (await client.get("/nothing")).status_code == 404
    finally:
        await listener.stop()

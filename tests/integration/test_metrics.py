"""A worker's and a node's metrics and health, asked for as Prometheus and orchestrators do."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest_asyncio

from pipeline.brokers import EmbeddedBroker
from pipeline.brokers.ports import free_ports
from pipeline.stream.log.topics import DECISIONS
from tests.harness.client import Client
from tests.harness.node import Node
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy

WITHIN_S = 60.0


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


async def test_what_a_worker_and_a_node_have_counted_is_what_is_scraped(
    tmp_path: Path, http: httpx.AsyncClient
) -> None:
    broker = EmbeddedBroker()
    port, node_port = free_ports(2)
    now_ms = time.time_ns() // 1_000_000
    try:
        async with Client(broker.bootstrap_servers) as client:
            await client.apply(define(plain_policy(settle="optimistic")))
            with Worker(broker.bootstrap_servers, tmp_path, metrics_port=str(port)) as worker:
                client.watch(worker)
                await client.decide(plain_decision(f"x{number}", now_ms) for number in range(60))
                await client.observe(plain_outcome(f"x{number}", now_ms + 1) for number in range(0, 90, 2))
                await client.send(DECISIONS, 0, b"no record")
                await client.quiet()
                worker_told = await scrape(http, port)
                health = f"http://127.0.0.1:{port}"
                await until(lambda: is_ok(http, f"{health}/caughtup"))
                assert [(await http.get(f"{health}/{path}")).status_code for path in ("healthz", "readyz")] == [
                    200,
                    200,
                ]
                with Node(broker.bootstrap_servers, tmp_path, "--metrics-port", str(node_port)) as node:
                    policy = define(plain_policy()).name
                    url = f"{node.url}/v1/policies/{policy}/decide"
                    # Answered by the policy, not by a fallback, once the node has its snapshot.
                    await until(lambda: is_ok(http, f"{node.url}/readyz"))
                    statuses = {(await http.post(url, json={"context": {}})).status_code for _ in range(7)}
                    node_told = await scrape(http, node_port)
    finally:
        broker.stop()
    # 60 decisions and one that is none; of 45 outcomes, the 15 for x60 to x88 wait for their decision.
    assert total(worker_told, "decisions", "read") == 61
    assert total(worker_told, "decisions", "open") + total(worker_told, "decisions", "settled") == 60
    assert total(worker_told, "decisions", "rejected.not-decodable") == 1
    assert total(worker_told, "outcomes", "read") == 45
    assert total(worker_told, "outcomes", "credited") == 30
    assert total(worker_told, "outcomes", "awaiting-decision") == 15
    assert {value for name, value in worker_told.items() if name.startswith("pipeline_records_unaccounted")} == {0.0}
    assert summed(worker_told, "pipeline_open_actions") == 60
    for stage in ("join", "learn", "publish"):
        assert worker_told[f'pipeline_step_seconds_count{{stage="{stage}"}}'] > 0
        assert worker_told[f'pipeline_restore_seconds_count{{table="{stage}"}}'] > 0
        assert worker_told[f'pipeline_claimed_partitions{{stage="{stage}"}}'] == 4
    handled = 'pipeline_handled_records_total{stage="join",topic="%s"}'
    assert worker_told[handled % "decisions"] >= 61
    assert worker_told[handled % "outcomes"] >= 45
    # Client.quiet has waited until all was joined and learned.
    assert {value for name, value in worker_told.items() if name.startswith("pipeline_lag_records")} == {0.0}
    assert worker_told[f'pipeline_snapshots_published_total{{policy="{policy}"}}'] >= 1
    assert statuses == {200}
    # What callers waited for, on the listener that Prometheus is pointed at.
    assert node_told['pipeline_request_seconds_count{operation="decide",status="200"}'] == 7
    assert summed(node_told, "pipeline_decisions_total") == summed(node_told, "pipeline_arm_decisions_total") == 7


async def scrape(http: httpx.AsyncClient, port: int) -> dict[str, float]:
    text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(pipeline_.+) (\S+)$", text, re.MULTILINE)}


async def is_ok(http: httpx.AsyncClient, url: str) -> bool:
    return (await http.get(url)).status_code == 200


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await look():  # noqa: ASYNC110  of any condition
            await asyncio.sleep(0.05)


def summed(told: dict[str, float], metric: str) -> float:
    return sum(value for name, value in told.items() if name.startswith(f"{metric}{{"))


def total(told: dict[str, float], stream: str, fate: str) -> float:
    start = f'pipeline_records{{fate="{fate}",'
    return sum(value for name, value in told.items() if name.startswith(start) and f'stream="{stream}"' in name)

"""A worker's metrics, asked for as Prometheus does."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx

from pipeline.brokers import EmbeddedBroker
from pipeline.brokers.ports import free_ports
from pipeline.stream.log.topics import DECISIONS
from tests.harness.client import Client
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy


async def test_the_records_that_were_read_are_those_that_are_accounted_for(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    (port,) = free_ports(1)
    now_ms = time.time_ns() // 1_000_000
    try:
        async with Client(broker.bootstrap_servers) as client, httpx.AsyncClient() as prometheus:
            await client.apply(define(plain_policy(settle="optimistic")))
            with Worker(broker.bootstrap_servers, tmp_path, metrics_port=str(port)) as worker:
                client.watch(worker)
                await client.decide(plain_decision(f"x{number}", now_ms) for number in range(60))
                await client.observe(plain_outcome(f"x{number}", now_ms + 1) for number in range(0, 90, 2))
                await client.send(DECISIONS, 0, b"no record")
                await client.quiet()
                text = (await prometheus.get(f"http://127.0.0.1:{port}/metrics")).text
    finally:
        broker.stop()
    told = {name: float(value) for name, value in re.findall(r"^(pipeline_\S+) (\S+)$", text, re.MULTILINE)}
    # 60 decisions and one that is none; of 45 outcomes, the 15 for x60 to x88 wait for their decision.
    assert total(told, "decisions", "read") == 61
    assert total(told, "decisions", "open") + total(told, "decisions", "settled") == 60
    assert total(told, "decisions", "rejected.not-decodable") == 1
    assert total(told, "outcomes", "read") == 45
    assert total(told, "outcomes", "credited") == 30
    assert total(told, "outcomes", "awaiting-decision") == 15
    assert {value for name, value in told.items() if name.startswith("pipeline_records_unaccounted")} == {0.0}
    assert sum(value for name, value in told.items() if name.startswith("pipeline_open_actions")) == 60
    for stage in ("join", "learn", "publish"):
        assert told[f'pipeline_step_seconds_count{{stage="{stage}"}}'] > 0
        assert told[f'pipeline_restore_seconds_count{{table="{stage}"}}'] > 0


def total(told: dict[str, float], stream: str, fate: str) -> float:
    start = f'pipeline_records{{fate="{fate}",'
    return sum(value for name, value in told.items() if name.startswith(start) and f'stream="{stream}"' in name)

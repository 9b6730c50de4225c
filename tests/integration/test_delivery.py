"""A node's records against a Kafka that goes away: on disk meanwhile, there afterwards, whatever ends the node."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.stream.log.topics import DECISIONS, create_topics, topic_specs

pytestmark = pytest.mark.kafka
WITHIN_S = 60.0
NODE = """
import asyncio, sys
from pathlib import Path
from pipeline.serve.http.server import loop_factory, run_node
from pipeline.serve.settings import ServeSettings
spill_dir = Path(sys.argv[2]) if sys.argv[2] else None
settings = ServeSettings(sys.argv[1], port=0, spill_dir=spill_dir, drain_timeout_s=float(sys.argv[3]))
with asyncio.Runner(loop_factory=loop_factory()) as runner:
    runner.run(run_node(settings, on_listening=lambda url: print(url, flush=True)))
"""
PARTITIONS = 2
# Requests answered while Kafka is frozen, and while it is not, before it is the other way about; some 100 come in a
# second. The producer's patience is 5 s, and a round's is 1 s: some freezes are shorter, some longer than both.
FREEZES = ((30, 50), (150, 20), (70, 100), (700, 50), (250, 300), (20, 10), (900, 200), (400, 5), (120, 30), (650, 100))


@asynccontextmanager
async def node_process(
    servers: str, folder: Path | None, drain_timeout_s: float = 0.1
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, servers, str(folder or ""), str(drain_timeout_s), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert node.stdout is not None
        url = (await node.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url) as client:
            yield node, client
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


async def decide(client: httpx.AsyncClient, *names: str) -> None:
    for name in names:
        body = {"eligible": ["a", "b"], "action_id": name}
        assert (await client.post("/v1/policies/p/decide", json=body)).status_code == 200


async def until(client: httpx.AsyncClient, **health: int) -> None:
    """Wait until /healthz says so; the caller has the deadline."""
    while True:
        told = (await client.get("/healthz")).json()
        if health.items() <= told.items():
            return
        await asyncio.sleep(0.05)


async def arrived(servers: str, wanted: set[str]) -> list[str]:
    """Wait for the decisions of these actions; return all that were there by then."""
    found: list[str] = []
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        consumer.assign([TopicPartition(DECISIONS, number) for number in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        while not wanted <= set(found):
            record = await consumer.getone()
            found.append(record.key.decode())
    return found


async def test_a_node_killed_while_kafka_was_away_loses_nothing_that_was_spilled(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("pipeline", PARTITIONS))
    folder = tmp_path / "spill"
    async with asyncio.timeout(3 * WITHIN_S):
        async with node_process(servers, folder) as (node, client):
            await decide(client, "before")
            await arrived(servers, {"before"})
            await until(client, undelivered=0)
            own_kafka.kill()
            away = [f"away-{number}" for number in range(50)]
            await decide(client, *away)
            await until(client, spilled=50)
            await decide(client, "last")
            await until(client, spilled=51)
            node.kill()
            await node.wait()
        # Another process finds it, still without Kafka, adds to it, and is stopped in order.
        async with node_process(servers, folder) as (node, client):
            assert (await client.get("/healthz")).json()["spilled"] == 51
            await decide(client, "second")
            node.send_signal(signal.SIGTERM)
            assert await node.wait() == 0
        own_kafka.restart()
        async with node_process(servers, folder, drain_timeout_s=WITHIN_S) as (node, client):
            found = await arrived(servers, {"before", *away, "last", "second"})
            node.send_signal(signal.SIGTERM)
            assert await node.wait() == 0
        assert set(found) == {"before", *away, "last", "second"}
        assert list(folder.glob("*.spill")) == []


async def test_a_frozen_kafka_is_away_too_and_records_arrive_when_it_thaws(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("pipeline", PARTITIONS))
    async with asyncio.timeout(2 * WITHIN_S), node_process(servers, tmp_path) as (_, client):
        await decide(client, "before")
        await arrived(servers, {"before"})
        await until(client, undelivered=0)
        own_kafka.pause()
        try:
            await decide(client, "one", "two")
            await until(client, spilled=2)
        finally:
            own_kafka.resume()
        await arrived(servers, {"before", "one", "two"})
        await until(client, undelivered=0)


@pytest.mark.slow
@pytest.mark.parametrize("has_disk", [True, pytest.param(False, marks=pytest.mark.faults)])
async def test_a_kafka_that_freezes_and_thaws_again_and_again_costs_a_node_neither_its_life_nor_a_decision(
    own_kafka: LocalKafka, tmp_path: Path, has_disk: bool
) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("pipeline", PARTITIONS))
    folder = tmp_path if has_disk else None
    async with asyncio.timeout(6 * WITHIN_S), node_process(servers, folder, WITHIN_S) as (node, client):
        answered: list[str] = []
        asking = asyncio.create_task(ask_steadily(client, answered))
        try:
            for frozen, thawed in FREEZES:
                own_kafka.pause()
                try:
                    await until_more(answered, frozen, asking)
                finally:
                    own_kafka.resume()
                await until_more(answered, thawed, asking)
        finally:
            asking.cancel()
        await until(client, undelivered=0, dropped=0)
        assert node.returncode is None
        await arrived(servers, set(answered))
        node.send_signal(signal.SIGTERM)
        assert await node.wait() == 0


async def ask_steadily(client: httpx.AsyncClient, answered: list[str]) -> None:
    """Ask a hundred times a second, whatever it takes; nothing but 200 in time is an answer."""
    while True:
        name = f"steady-{len(answered)}"
        await decide(client, name)
        answered.append(name)
        await asyncio.sleep(0.01)


async def until_more(answered: list[str], count: int, asking: asyncio.Task[None]) -> None:
    """Wait for so many more answers; raises what ended the asking."""
    wanted = len(answered) + count
    while len(answered) < wanted:
        if asking.done():
            asking.result()
        await asyncio.sleep(0.01)

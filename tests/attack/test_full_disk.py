"""A node's disk that fills up in the middle of a record: what it says it kept is kept, and arrives."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import HOST, free_ports
from tests.harness.topics import make_topics

pytestmark = [pytest.mark.kafka, pytest.mark.attack]
WITHIN_S = 60.0
PARTITIONS = 2


@asynccontextmanager
async def serving(broker: str, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """Run a node as its users do."""
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    arguments = ("serve", "--broker", broker, "--port", str(port), "--spill-dir", str(folder))
    node = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline", *arguments), env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(WITHIN_S), httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
            while True:
                try:
                    await client.get("/healthz")
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    break
            yield node, client
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


async def decide(client: httpx.AsyncClient, names: list[str]) -> None:
    for name in names:
        body = {"eligible": ["a", "b"], "action_id": name}
        assert (await client.post("/v1/policies/p/decide", json=body)).status_code == 200


async def counts(client: httpx.AsyncClient, **wanted: int) -> dict[str, int]:
    """Wait until /healthz says so; the caller has the deadline."""
    while True:
        told: dict[str, int] = (await client.get("/healthz")).json()
        if wanted.items() <= told.items():
            return told
        await asyncio.sleep(0.05)


async def test_what_a_disk_took_half_of_is_taken_back_and_all_that_was_counted_as_kept_arrives(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    folder = tmp_path / "spill"
    names = [f"action-{number:02d}" for number in range(40)]
    (nobody,) = free_ports(1)
    async with serving(f"{HOST}:{nobody}", folder) as (node, client):
        await decide(client, names[:1])
        await counts(client, spilled=1)
        (file,) = folder.glob("*.spill")
        frame_bytes = file.stat().st_size
        # The system takes a write up to this size of a file, as a full disk does up to its last free byte.
        unlimited = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (20 * frame_bytes + frame_bytes // 2, unlimited[1]))
        await decide(client, names[1:30])
        told = await counts(client, undelivered=30)
        assert told["spilled"] < 30, "the disk was to be full"
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, unlimited)
        await decide(client, names[30:])
        told = await counts(client, undelivered=40)
        assert told["dropped"] == told["lost"] == told["delivered"] == 0
        node.send_signal(signal.SIGTERM)
        assert await node.wait() == 0
    await make_topics(kafka.bootstrap_servers, "pipeline-full-disk", PARTITIONS)
    async with serving(kafka.bootstrap_servers, folder) as (node, client):
        told = await counts(client, delivered=40, undelivered=0)
        assert told["dropped"] == told["lost"] == 0
        node.send_signal(signal.SIGTERM)
        assert await node.wait() == 0
    assert await asyncio.to_thread(arrived, kafka.bootstrap_servers, 40) == names
    assert [path.name for path in folder.iterdir()] == ["lock"]


def arrived(servers: str, count: int) -> list[str]:
    """Read decisions by another client than the node's."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "arrived", "enable.auto.commit": False})
    consumer.assign([TopicPartition("decisions", number, 0) for number in range(PARTITIONS)])
    try:
        found = [message for _ in range(count) if (message := consumer.poll(WITHIN_S)) is not None]
        assert consumer.poll(0.5) is None, "there are more"
    finally:
        consumer.close()
    return sorted(str(message.key(), "utf-8") for message in found)

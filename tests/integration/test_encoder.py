"""A network is trained from a policy's past, its past counted again under it, and put in force, on a real Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.policy.parsing.parse import load_policy
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import DECISIONS
from tests.harness.client import Client
from tests.harness.command import pipeline
from tests.harness.known import now
from tests.harness.place import on_kafka
from tests.samples import CLICK, define, linear_policy, plain_decision, plain_outcome

pytestmark = pytest.mark.kafka
PARTITIONS, ACTIONS = 2, 1_500
FEATURES = [{"name": name, "kind": "numeric", "low": -1.0, "high": 1.0} for name in "xy"]
POLICY = linear_policy(
    settle="optimistic", grace="30s", publish={"interval": "100ms"}, context=FEATURES, outcomes=(CLICK,)
)
BEFORE, AFTER = 3, 33
"""Entries of a context vector: 1, x and y; 1 and 32 units."""


def past(start_ms: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give decisions with raw contexts; arm a is clicked where the signs of x and y agree, arm b where they don't."""
    rng = np.random.default_rng(1)
    shown, clicks = [], []
    for number, (x, y) in enumerate(rng.uniform(-1, 1, (ACTIONS, 2)).tolist()):
        arm, at_ms = "ab"[int(rng.integers(2))], start_ms + 40 * number
        shown.append(plain_decision(f"x{number}", at_ms, arm=arm, context={"x": x, "y": y}))
        if (x * y > 0) == (arm == "a"):
            clicks.append(plain_outcome(f"x{number}", at_ms + 1_000))
    return shown, clicks


async def logged(servers: str) -> list[Decision]:
    """Return what nodes decided."""
    found: list[Decision] = []
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        places = [TopicPartition(DECISIONS, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        missing = sum((await consumer.end_offsets(places)).values())
        while missing:
            record = await consumer.getone()
            missing -= 1
            decision = decode_event(record.value, "decision", {})
            if isinstance(decision, Decision) and decision.snapshot_version:
                found.append(decision)
    return found


async def ask_until(stop: asyncio.Event, client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(2)
    number = 0
    while not stop.is_set():
        x, y = rng.uniform(-1, 1, 2).tolist()
        body = {"context": {"x": x, "y": y}, "action_id": f"asked-{number}"}
        answer = await client.post("/v1/policies/homepage/decide", json=body)
        assert answer.status_code == 200, answer.text
        number += 1


async def test_an_encoder_is_trained_replayed_under_promoted_and_served_and_none_is_mixed_with_another(
    own_kafka: LocalKafka, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    decided by producers   ├─ past, no encoder ─┤
    by a node                                    ├─ generation 1 ───────────┤├─ generation 2 ─┤
                                     train ─┤ replay ─┤ promote ─────────────┤
    """
    place = await asyncio.to_thread(on_kafka, own_kafka, request.node.name, PARTITIONS)
    servers, file = place.broker, tmp_path / "homepage-2.toml"
    start_ms = now() - 200_000
    async with (
        asyncio.timeout(240),
        Client(servers, app_id=place.app_id, partitions=PARTITIONS) as client,
    ):
        await client.apply(define(POLICY))
        with place.worker(tmp_path / "worker") as worker:
            client.watch(worker)
            shown, clicks = past(start_ms)
            await client.decide(shown)
            await client.observe(clicks)
            await client.tick(start_ms + 150_000)
            await client.quiet()
            said = orjson.loads(await pipeline(place, "train", "homepage", "--out", str(file), "--json"))
            assert (said["decisions"], said["generation"]) == (ACTIONS, 2)
            new = load_policy(file.read_text("utf-8"), file.name)
            assert (define(POLICY).dimension, new.dimension) == (BEFORE, AFTER)

            replay = ("replay", "--policy", "homepage", "--into", "2", "--work-dir", str(tmp_path / "work"), "--json")
            done = orjson.loads(await pipeline(place, *replay, "--definition", str(file)))
            assert done["counted"] == ACTIONS
            async with (
                ServingNode(ServeSettings(servers)) as node,
                listening(node, "127.0.0.1", 0) as url,
                httpx.AsyncClient(base_url=url) as http,
            ):
                await node.wait_ready("homepage")
                stop = asyncio.Event()
                asking = asyncio.create_task(ask_until(stop, http))
                promoted = orjson.loads(await pipeline(place, "replay", "promote", "homepage", "2", "--json"))
                await node.wait_ready("homepage", promoted["version"])
                await client.until(lambda: count_of_second(servers), what="decisions under the encoder")
                stop.set()
                await asking
                await node.flush()
            await client.quiet()
            decisions = await logged(servers)
            assert await client.dead_letters() == []
            verdict = orjson.loads(await pipeline(place, "verify", "--policy", "homepage", "--json"))
            assert verdict["equal"]

    hashes = {1: define(POLICY).schema_hash, 2: new.schema_hash}
    generation_of = {snapshot["version"]: snapshot["generation"] for snapshot in await snapshots_of(place)}
    for decision in decisions:
        assert decision.reason == "policy"
        assert generation_of[decision.snapshot_version] == decision.generation
        assert decision.schema_hash == hashes[decision.generation]
        assert len(decision.context_vector) == 2 * {1: BEFORE, 2: AFTER}[decision.generation]
    # A line knows nothing of signs that agree; the units do.
    right = {
        generation: np.mean(
            [is_right(decision) for decision in decisions if decision.generation == generation], dtype=np.float64
        )
        for generation in (1, 2)
    }
    assert right[2] > 0.75 > right[1]


def is_right(decision: Decision) -> bool:
    return (decision.context["x"] * decision.context["y"] > 0) == (decision.arm == "a")


async def count_of_second(servers: str) -> bool:
    return sum(decision.generation == 2 for decision in await logged(servers)) >= 100


async def snapshots_of(place: Any) -> list[dict[str, Any]]:
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        return await client.snapshots("homepage")

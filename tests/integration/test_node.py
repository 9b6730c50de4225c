"""A serving node against a broker: what it follows, what it answers over HTTP, what it logs."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.brokers import Broker, EmbeddedBroker
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec.wire import decode_event
from pipeline.errors import ConfigError
from pipeline.events import Decision, Event, Outcome
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from pipeline.serve import Decided, LoadedSnapshot
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, SNAPSHOTS, create_topics, partition_for, topic_specs

HOMEPAGE = Path(__file__).parents[2] / "ops" / "policies" / "homepage.toml"
SALT = "0123456789abcdef"
WITHIN_S = 30.0
CONTEXT = {"visits": 5, "premium": False}


def policy_called(name: str) -> PolicyDefinition:
    """The example policy under a name of the test's own: the embedded broker is shared."""
    return load_policy(HOMEPAGE.read_text("utf-8").replace('name = "homepage"', f'name = "{name}"', 1), name)


def content_of(definition: PolicyDefinition, version: int, best: str = "hybrid", after: bytes = b"") -> bytes:
    """A snapshot that has seen `best` clicked 900 times in 1000, and nothing else."""
    # n, Σr and Σr² in grid units; a click is worth 1 here, 2^15 on the grid.
    one = 2**15
    sums = [1_000, 900 * one, 900 * one * one]
    statistics = Statistics.from_bytes(0, b"".join(number.to_bytes(8, "little") for number in sums))
    rows = [(RowKey(definition.name, definition.generation, "returning", best, 0), statistics)]
    return build_snapshot(definition, rows, {}, version, snapshot_id(after) if after else "")


async def publish(servers: str, policy: str, *contents: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        partition = partition_for(policy, len(await producer.partitions_for(SNAPSHOTS)))
        for content in contents:
            await producer.send_and_wait(SNAPSHOTS, content, policy.encode(), partition=partition)


async def read(servers: str, topic: str, action_id: str, count: int = 1) -> list[tuple[int, Event]]:
    """Wait for the records of one action, or of those named behind it with a slash; return each with its partition."""
    expected = {DECISIONS: "decision", OUTCOMES: "outcome"}[topic]
    found: list[tuple[int, Event]] = []
    async with asyncio.timeout(WITHIN_S), AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        await consumer._client._wait_on_metadata(topic)
        numbers = consumer._client.cluster.partitions_for_topic(topic)
        consumer.assign([TopicPartition(topic, number) for number in numbers])
        await consumer.seek_to_beginning()
        while len(found) < count:
            record = await consumer.getone()
            if record.key.partition(b"/")[0] == action_id.encode():
                found.append((record.partition, decode_event(record.value, expected, {})))
    return found


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        met = condition()
        if met if isinstance(met, bool) else await met:
            return
        assert time.monotonic() < deadline, f"waited {WITHIN_S} s for {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(servers: str, **options: Any) -> AsyncIterator[tuple[ServingNode, httpx.AsyncClient]]:
    """A node and a client of it, over a real socket."""
    node = ServingNode(ServeSettings(servers, SALT, port=0), **options)
    async with (
        asyncio.timeout(4 * WITHIN_S),
        node,
        listening(node, "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield node, client


async def test_a_decision_and_its_outcome_are_logged_in_one_partition(embedded: Broker) -> None:
    servers = embedded.bootstrap_servers
    definition = policy_called("one-partition")
    content = content_of(definition, 1)
    await publish(servers, definition.name, content)
    async with serving(servers) as (node, client):
        await node.wait_ready(definition.name)
        partitions = set()
        for number in range(12):
            action_id = f"one-partition-{number}"
            body = {"context": CONTEXT, "action_id": action_id, "subject": "ada"}
            answer = (await client.post(f"/v1/policies/{definition.name}/decide", json=body)).json()
            outcome = {
                "action_id": action_id,
                "kind": "click",
                "outcome_id": f"{number:032x}",
                "occurred_at_ms": 1_700_000_000_000,
            }
            assert (await client.post("/v1/outcomes", json=outcome)).json() == {"outcome_id": f"{number:032x}"}
            ((decided_in, decision),) = await read(servers, DECISIONS, action_id)
            ((outcome_in, credited),) = await read(servers, OUTCOMES, action_id)
            assert decided_in == outcome_in
            partitions.add(decided_in)
            assert isinstance(decision, Decision)
            assert (decision.arm, decision.propensity) == (answer["arm"], answer["propensity"])
            assert dict(zip(decision.eligible, decision.probabilities, strict=True)) == answer["probabilities"]
            assert (decision.segment, decision.reason) == ("returning", "policy")
            assert (decision.snapshot_version, decision.snapshot_id) == (1, snapshot_id(content))
            assert decision.subject_hash not in {None, "ada"}
            assert credited == Outcome(f"{number:032x}", action_id, "click", 1.0, 1_700_000_000_000)
        # Twelve keys in four partitions: that all fall into one has a chance of 4^-11.
        assert len(partitions) > 1


async def test_a_higher_version_goes_live_and_a_lower_or_broken_one_does_not(embedded: Broker) -> None:
    servers = embedded.bootstrap_servers
    definition = policy_called("hot-reload")
    told: list[int] = []

    async def listener(snapshot: LoadedSnapshot) -> None:
        if snapshot.policy == definition.name:
            told.append(snapshot.version)

    async with serving(servers, on_live=listener) as (node, client):

        async def answered() -> dict[str, Any]:
            response = await client.post(f"/v1/policies/{definition.name}/decide", json={"context": CONTEXT})
            body: dict[str, Any] = response.json()
            return body

        assert (await answered())["error"] == "no-snapshot"

        second = content_of(definition, 2, best="hybrid")
        await publish(servers, definition.name, second)
        await node.wait_ready(definition.name, 2)
        # About 0.9 against two arms that are uniform on [0, 1]: each is below it with a chance of 0.9, both with
        # 0.81, which the floor makes 0.01 + 0.97 · 0.81 = 0.8.
        before = await answered()
        assert before["snapshot_version"] == 2
        assert before["probabilities"]["hybrid"] > 0.7

        broken = content_of(definition, 9)[:-7]
        await publish(
            servers, definition.name, content_of(definition, 1, best="content_based"), broken, b"no record at all"
        )
        await publish(servers, definition.name, content_of(definition, 3, best="content_based", after=second))
        await node.wait_ready(definition.name, 3)
        after = await answered()
        assert after["snapshot_version"] == 3
        assert after["probabilities"]["content_based"] > 0.7

        live = (await client.get("/healthz")).json()
        assert live["snapshots"][definition.name]["version"] == 3
        assert live["snapshots"][definition.name]["id"] == node.follower.snapshots[definition.name].id
        assert live["snapshots_refused"] >= 2
        await until(lambda: told == [2, 3], "the listener to be told")


async def test_a_node_that_starts_later_finds_the_latest(embedded: Broker) -> None:
    servers = embedded.bootstrap_servers
    definition = policy_called("starts-later")
    first = content_of(definition, 1)
    second = content_of(definition, 2, after=first)
    await publish(servers, definition.name, first, second, content_of(definition, 3, after=second))
    async with serving(servers) as (node, _):
        assert (await node.wait_ready(definition.name, 3)).version == 3


async def test_flush_returns_when_everything_has_arrived(embedded: Broker) -> None:
    servers = embedded.bootstrap_servers
    async with serving(servers) as (node, _):
        for number in range(500):
            await node.decide("flush", {}, ["a", "b"], action_id=f"flushed/{number}")
        await node.flush()
        assert node.health()["undelivered"] == 0
        assert node.health()["delivered"] == 500
    assert len(await read(servers, DECISIONS, "flushed", 500)) == 500


async def test_a_node_goes_on_answering_when_its_broker_has_gone() -> None:
    broker = EmbeddedBroker()
    definition = policy_called("broker-gone")
    await publish(broker.bootstrap_servers, definition.name, content_of(definition, 1))
    settings = ServeSettings(broker.bootstrap_servers, SALT, drain_timeout_s=0.1)
    async with asyncio.timeout(4 * WITHIN_S), ServingNode(settings) as node:
        await node.wait_ready(definition.name)
        await node.decide(definition.name, CONTEXT)
        await node.flush()
        broker.stop()
        for _ in range(100):
            started = time.monotonic()
            answer = await node.decide(definition.name, CONTEXT)
            assert isinstance(answer, Decided)
            assert (answer.reason, answer.snapshot_version) == ("policy", 1)
            assert time.monotonic() - started < 1.0
        await until(lambda: node.health()["status"] == "degraded", "the node to notice")
        assert node.health()["undelivered"] == 100


@pytest.mark.kafka
async def test_topics_that_can_not_be_joined_stop_the_node(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    decisions, outcomes = (spec for spec in topic_specs("pipeline", 2) if spec.name in {DECISIONS, OUTCOMES})
    await create_topics(servers, [decisions, outcomes._replace(partitions=3)])
    node = ServingNode(ServeSettings(servers, SALT))
    await node.start()
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(ConfigError, match="decisions has 2 partitions and outcomes 3"):
            await node.run()
        with pytest.raises(ConfigError):
            await node.stop()


@pytest.mark.kafka
async def test_what_was_decided_while_kafka_was_away_arrives_when_it_is_back(own_kafka: LocalKafka) -> None:
    servers = own_kafka.bootstrap_servers
    await create_topics(servers, topic_specs("pipeline", 3))
    definition = policy_called("kafka-away")
    first = content_of(definition, 1)
    await publish(servers, definition.name, first)
    async with serving(servers) as (node, client):
        await node.wait_ready(definition.name)
        await node.decide(definition.name, CONTEXT, action_id="before")
        await node.flush()
        own_kafka.kill()
        body = {"context": CONTEXT, "action_id": "while-away"}
        answer = (await client.post(f"/v1/policies/{definition.name}/decide", json=body)).json()
        assert (answer["reason"], answer["snapshot_version"]) == ("policy", 1)
        await node.outcome("while-away", "click")
        assert node.health()["undelivered"] == 2
        own_kafka.restart()
        await node.flush()
        ((decided_in, decision), *_) = await read(servers, DECISIONS, "while-away")
        ((outcome_in, _), *_) = await read(servers, OUTCOMES, "while-away")
        assert decided_in == outcome_in
        assert isinstance(decision, Decision)
        assert decision.arm == answer["arm"]
        await publish(servers, definition.name, content_of(definition, 2, after=first))
        await node.wait_ready(definition.name, 2)


NODE_PROCESS = """
import asyncio, sys
from pipeline.serve.http.server import run_node
from pipeline.serve.settings import ServeSettings
settings = ServeSettings(sys.argv[1], "0123456789abcdef", port=0)
asyncio.run(run_node(settings, on_listening=lambda url: print(url, flush=True)))
"""


async def test_sigterm_ends_the_process_cleanly_after_everything_arrived(embedded: Broker) -> None:
    servers = embedded.bootstrap_servers
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE_PROCESS, servers, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            assert node.stdout is not None
            url = (await node.stdout.readline()).decode().strip()
            async with httpx.AsyncClient(base_url=url) as client:
                for number in range(50):
                    body = {"eligible": ["a", "b"], "action_id": f"sigterm/{number}"}
                    assert (await client.post("/v1/policies/sigterm/decide", json=body)).status_code == 200
                node.send_signal(signal.SIGTERM)
                assert await node.wait() == 0
                with pytest.raises(httpx.ConnectError):
                    await client.get("/healthz")
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert len(await read(servers, DECISIONS, "sigterm", 50)) == 50


async def test_serving_leaves_the_signals_of_its_process_alone(embedded: Broker) -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = handlers()
    async with serving(embedded.bootstrap_servers) as (_, client):
        assert (await client.get("/healthz")).status_code == 200
        assert handlers() == before


async def test_an_address_that_is_taken_is_refused(embedded: Broker) -> None:
    async with serving(embedded.bootstrap_servers) as (node, client):
        with pytest.raises(ConfigError, match="can't be listened on"):
            async with listening(node, "127.0.0.1", client.base_url.port or 0):
                pass

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from pipeline.codec import avro
from pipeline.errors import UnavailableError
from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import LoadedSnapshot, load_snapshot
from pipeline.serve.following import follower as module
from pipeline.serve.following.follower import SnapshotFollower

Content = Callable[..., bytes]
WITHIN_S = 10.0


class Topic:
    """Stands in for the topic `snapshots`: hands out what a test puts into it, or raises it."""

    def __init__(self) -> None:
        self.fetches: asyncio.Queue[Sequence[Any] | Exception] = asyncio.Queue()
        self.start_failures: list[Exception] = []
        self.starts = 0
        self.stops = 0

    def put(self, *contents: bytes | None, timestamp: int = 0, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        self.fetches.put_nowait(
            [
                SimpleNamespace(
                    partition=0, offset=offset, key=b"homepage", value=content, timestamp=timestamp, headers=headers
                )
                for offset, content in enumerate(contents)
            ]
        )

    async def start(self) -> None:
        self.starts += 1
        if self.start_failures:
            raise self.start_failures.pop(0)

    async def poll(self) -> Sequence[Any]:
        fetched = await self.fetches.get()
        if isinstance(fetched, Exception):
            raise fetched
        return fetched

    async def stop(self) -> None:
        self.stops += 1


@asynccontextmanager
async def following(topic: Topic, **options: Any) -> AsyncIterator[SnapshotFollower]:
    follower = SnapshotFollower("broker:1", open_topic=lambda _broker, _name: topic, **options)
    await follower.take_kept()
    task = asyncio.create_task(follower.follow())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def chain(content_of: Content, definition: PolicyDefinition, count: int) -> list[bytes]:
    """Make versions 1 to `count`, each naming the one before."""
    contents = [content_of(definition, {}, version=1)]
    while len(contents) < count:
        contents.append(content_of(definition, {}, version=len(contents) + 1, after=contents[-1]))
    return contents


async def test_the_first_snapshot_goes_live(beta: PolicyDefinition, content_of: Content) -> None:
    topic = Topic()
    async with following(topic) as follower:
        waiting = asyncio.create_task(follower.wait_ready("homepage"))
        content = content_of(beta, {}, version=3)
        topic.put(content, timestamp=1_000)
        snapshot = await waiting
        assert snapshot is follower.snapshots["homepage"]
        assert snapshot.id == load_snapshot(content).id
        assert follower.age_ms("homepage", 1_250) == 250
        assert follower.age_ms("homepage", 900) == 0  # the broker's clock may be ahead


async def test_a_higher_version_replaces_and_a_lower_one_or_the_same_does_not(
    beta: PolicyDefinition, content_of: Content
) -> None:
    topic = Topic()
    async with following(topic) as follower:
        four = content_of(beta, {}, version=4)
        five = content_of(beta, {}, version=5, after=four)
        topic.put(four, five)
        live = await follower.wait_ready("homepage", 5)
        topic.put(four)
        topic.put(content_of(beta, {"news": (1, 2)}, version=5))
        topic.put(content_of(beta, {}, version=6, after=five))
        after = await follower.wait_ready("homepage", 6)
        assert after is not live
        # Read in order, so 4 and the other 5 were passed over before 6 came.
        assert follower.refused == 0


async def test_what_went_live_is_told_in_order(beta: PolicyDefinition, content_of: Content) -> None:
    told: list[int] = []

    async def listener(snapshot: LoadedSnapshot) -> None:
        told.append(snapshot.version)

    topic = Topic()
    async with following(topic, on_live=listener) as follower:
        first, second, third, fourth = chain(content_of, beta, 4)
        topic.put(first, second)
        for content in (first, second, third):
            topic.put(content)
        await follower.wait_ready("homepage", 3)
        topic.put(fourth)
        await follower.wait_ready("homepage", 4)
    assert told[:2] == [2, 3]


async def test_of_one_fetch_only_the_newest_goes_live(beta: PolicyDefinition, content_of: Content) -> None:
    told: list[int] = []

    async def listener(snapshot: LoadedSnapshot) -> None:
        told.append(snapshot.version)

    topic = Topic()
    async with following(topic, on_live=listener) as follower:
        *three, fourth = chain(content_of, beta, 4)
        topic.put(*three, three[1])
        topic.put(fourth)
        await follower.wait_ready("homepage", 4)
    assert told[0] == 3


async def test_one_that_cannot_be_loaded_leaves_the_one_before_it(
    beta: PolicyDefinition, content_of: Content, caplog: pytest.LogCaptureFixture
) -> None:
    topic = Topic()
    sound = content_of(beta, {}, version=7)
    record = avro.decode_as("snapshot", content_of(beta, {}, version=8, after=sound))
    async with following(topic) as follower:
        # In one fetch: sound, contradicting itself, bytes that are no record, a tombstone.
        topic.put(
            sound,
            avro.encode(
                "snapshot",
                record
                | {"segments": [{"segment": "other", "arms": [], "counts": [], "reward_sums": [], "parameters": []}]},
            ),
            b"\xc3\x01broken",
            None,
        )
        assert (await follower.wait_ready("homepage")).version == 7
        assert follower.refused == 2
    refused = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [message.split()[:3] for message in refused] == [
        ["snapshot-refused", "partition=0", "offset=2"],
        ["snapshot-refused", "partition=0", "offset=1"],
    ]


@pytest.mark.attack
async def test_a_forged_snapshot_with_a_high_version_neither_goes_live_nor_pins_and_is_told(
    beta: PolicyDefinition, content_of: Content
) -> None:
    first, second, third = chain(content_of, beta, 3)
    forged = avro.encode("snapshot", avro.decode_as("snapshot", second) | {"version": 10**9, "parent": "0" * 64})
    topic = Topic()
    async with following(topic) as follower:
        topic.put(first, second)
        await follower.wait_ready("homepage", 2)
        topic.put(forged)
        topic.put(third)
        live = await follower.wait_ready("homepage", 3)
        assert (live.version, follower.refused) == (3, 1)
        assert "is not of this policy's line" in follower.last_refusal


async def test_policies_are_kept_apart(beta: PolicyDefinition, linear: PolicyDefinition, content_of: Content) -> None:
    checkout = replace(linear, name="checkout")
    topic = Topic()
    async with following(topic) as follower:
        topic.put(content_of(beta, {}, version=9), content_of(checkout, {}, version=2))
        assert (await follower.wait_ready("checkout")).version == 2
        assert (await follower.wait_ready("homepage")).version == 9


async def test_a_listener_that_fails_stops_nothing(
    beta: PolicyDefinition, content_of: Content, caplog: pytest.LogCaptureFixture
) -> None:
    async def listener(_: LoadedSnapshot) -> None:
        raise RuntimeError("listener's own fault")

    topic = Topic()
    async with following(topic, on_live=listener) as follower:
        first, second = chain(content_of, beta, 2)
        topic.put(first)
        await follower.wait_ready("homepage", 1)
        topic.put(second)
        await follower.wait_ready("homepage", 2)
    assert "snapshot-listener-failed policy=homepage version=1" in caplog.text


async def test_a_broker_that_goes_away_is_tried_again_and_the_last_snapshot_stays(
    beta: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    topic = Topic()
    topic.start_failures = [UnavailableError("no broker answers")]
    async with following(topic) as follower:
        topic.put(content_of(beta, {}, version=1))
        live = await follower.wait_ready("homepage")
        topic.start_failures = [UnavailableError("away"), UnavailableError("still away")]
        topic.fetches.put_nowait(KafkaConnectionError("gone"))
        assert follower.snapshots["homepage"] is live
        topic.put(content_of(beta, {}, version=2))
        await follower.wait_ready("homepage", 2)
    # Failed, read, then gone; failed twice, read.
    assert topic.starts == topic.stops == 5


async def test_every_try_waits_longer_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    done = asyncio.Event()
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            done.set()
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", note)
    topic = Topic()
    topic.start_failures = [UnavailableError("away")] * 100
    async with following(topic):
        await done.wait()
    assert waits[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]

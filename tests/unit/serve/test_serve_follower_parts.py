"""Snapshots that come in parts: live when all of it is there, never before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from pipeline.codec import avro
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish import parts as publish_parts
from pipeline.publish.parts import SnapshotContent, divide, part_key, part_names
from pipeline.publish.snapshot import snapshot_id
from pipeline.serve.following import follower as module
from pipeline.serve.following import part_room
from pipeline.serve.following.follower import SnapshotFollower

Build = Callable[..., SnapshotContent]
Entry = tuple[bytes, bytes | None]
WITHIN_S = 10.0


class Topic:
    """Stands in for the topic `snapshots`: hands out what a test puts into it, or raises it."""

    def __init__(self) -> None:
        self.fetches: asyncio.Queue[Sequence[Any] | Exception] = asyncio.Queue()
        self.is_taking = False

    def put(self, *entries: Entry) -> None:
        self.fetches.put_nowait(
            [
                SimpleNamespace(partition=0, offset=0, key=key, value=value, timestamp=0, headers=())
                for key, value in entries
            ]
        )

    async def start(self) -> None:
        """There is nothing to connect."""

    async def stop(self) -> None:
        """There is nothing to disconnect."""

    async def poll(self) -> Sequence[Any]:
        if self.is_taking:  # who asks for more has taken in what it got
            self.fetches.task_done()
        self.is_taking = False
        fetched = await self.fetches.get()
        self.is_taking = True
        if isinstance(fetched, Exception):
            raise fetched
        return fetched

    async def read(self) -> None:
        """Wait until all that was put is taken in."""
        await self.fetches.join()


@asynccontextmanager
async def following(topic: Topic) -> AsyncIterator[SnapshotFollower]:
    follower = SnapshotFollower("broker:1", open_topic=lambda _broker, _name: topic)
    task = asyncio.create_task(follower.follow())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def build(linear: PolicyDefinition, content_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build a snapshot of one arm in each part: four arms in two segments, so eight parts."""
    monkeypatch.setattr(publish_parts, "PARTED_FROM_BYTES", 0)
    monkeypatch.setattr(publish_parts, "PART_BYTES", 1)

    def built(
        clicks: dict[str, tuple[int, int]], version: int, after: SnapshotContent | None = None
    ) -> SnapshotContent:
        before = after.record if after else b""
        content = divide(avro.decode_as("snapshot", content_of(linear, clicks, version=version, after=before)))
        assert len(content.parts) == 8
        return content

    return built


def parts(content: SnapshotContent, without: SnapshotContent | None = None) -> list[Entry]:
    """Give the records of a snapshot's parts, but for those that another has too."""
    others = without.parts if without else {}
    return [(part_key("homepage", name), part) for name, part in content.parts.items() if name not in others]


def gone(content: SnapshotContent, after: SnapshotContent) -> list[Entry]:
    return [(key, None) for key, _ in parts(content, without=after)]


def itself(content: SnapshotContent) -> Entry:
    return b"homepage", content.record


async def test_a_snapshot_goes_live_with_its_last_part_and_not_before(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        await follower.wait_ready("homepage", 1)
        topic.put(itself(two))  # as a follower that comes while the topic is compacted may see it
        await topic.read()
        assert follower.snapshots["homepage"].version == 1
        topic.put(*parts(two, without=one))
        assert (await follower.wait_ready("homepage", 2)).id == snapshot_id(two.record)
        assert follower.refused == 0


async def test_parts_without_their_snapshot_change_nothing(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        await follower.wait_ready("homepage", 1)
        topic.put(*parts(two, without=one))  # the publisher is killed here
        await topic.read()
        live = follower.snapshots["homepage"]
        assert (live.version, live.id) == (1, snapshot_id(one.record))


async def test_unchanged_parts_serve_many_versions_and_what_is_gone_can_come_back(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    again = build({"news": (1, 9)}, 3, two)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        topic.put(*parts(two, without=one), itself(two), *gone(one, after=two))
        await follower.wait_ready("homepage", 2)
        topic.put(*parts(again, without=two), itself(again), *gone(two, after=again))
        assert (await follower.wait_ready("homepage", 3)).id == snapshot_id(again.record)
        assert follower.refused == 0


async def test_one_that_is_started_late_takes_the_last_version_from_what_is_left(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        # Compaction has taken a part of version 1, and has not come to its record yet.
        kept = [entry for entry in parts(one) if entry[0].decode().split("/")[2] in two.parts]
        topic.put(*kept, itself(one), *parts(two, without=one), itself(two), *gone(one, after=two))
        assert (await follower.wait_ready("homepage")).version == 2
        assert follower.refused == 0


async def test_a_follower_keeps_no_part_that_the_topic_has_not(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one), *parts(two, without=one), itself(two), *gone(one, after=two))
        await follower.wait_ready("homepage", 2)
        assert set(follower.parts["homepage"]) == set(part_names(avro.decode_as("snapshot", two.record)))


async def test_an_altered_part_is_refused_and_the_live_snapshot_stays(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        await follower.wait_ready("homepage", 1)
        ((key, part),) = parts(two, without=one)
        assert part is not None
        topic.put((key, part[:-1] + b"?"), itself(two))
        await topic.read()
        assert (follower.snapshots["homepage"].version, follower.refused) == (1, 1)


@pytest.mark.attack
async def test_a_forged_part_does_not_take_the_place_of_the_one_that_it_is_named_after(build: Build) -> None:
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        await follower.wait_ready("homepage", 1)
        kept = next(name for name in one.parts if name in two.parts)
        topic.put((part_key("homepage", kept), b"forged"), *parts(two, without=one), itself(two))
        assert (await follower.wait_ready("homepage", 2)).id == snapshot_id(two.record)
        assert follower.refused == 1
        assert "its name is" in follower.last_refusal


class KeptTopic(Topic):
    """Hands out all that it has at each start, as a topic does, and nothing more."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__()
        self._entries = entries
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        self.fetches = asyncio.Queue()
        self.put(*self._entries)
        self.put()
        self.is_taking = False


async def test_parts_that_came_before_anybody_knew_their_policy_are_read_once_more_soon(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_room, "STRANGE_BYTES", 1)
    monkeypatch.setattr(module, "READ_SOON_S", 0.0)
    content = build({"news": (1, 9)}, 1)
    topic = KeptTopic(*parts(content), itself(content))
    async with following(topic) as follower:
        await follower.wait_ready("homepage")
        assert topic.starts == 2


async def test_after_a_broken_connection_the_parts_come_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    topic = Topic()
    one = build({"news": (1, 9)}, 1)
    two = build({"news": (2, 9)}, 2, one)
    async with following(topic) as follower:
        topic.put(*parts(one), itself(one))
        await follower.wait_ready("homepage", 1)
        topic.fetches.put_nowait(KafkaConnectionError("gone"))
        topic.put(*parts(one), itself(one))
        topic.put(*parts(two, without=one), itself(two))
        assert (await follower.wait_ready("homepage", 2)).id == snapshot_id(two.record)

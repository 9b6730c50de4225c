"""A snapshot of 84 MB on a real Kafka: published in parts, followed, decided with, gone back to, and proven."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.cli import cli
from pipeline.publish.parts import part_of
from pipeline.serve.following.snapshot import LoadedSnapshot
from pipeline.stream.log.topics import MAX_BATCH_BYTES, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.harness.client import Client
from tests.harness.following import Following, following
from tests.harness.place import Place, on_kafka
from tests.harness.poison import now_ms
from tests.samples import define, linear_policy, plain_decision

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

ARMS, SEGMENTS, FEATURES = 1_000, 10, 32
WITHIN_S = 120.0
POLICY = linear_policy(
    settle="optimistic",
    grace="1h",
    arms=[{"name": f"arm-{number:04}"} for number in range(ARMS)],
    segments={
        "default": "s0",
        "rules": [{"name": f"s{number}", "when": {"visits": {"below": number}}} for number in range(1, SEGMENTS)],
    },
    exploration={"floor": 1e-5},
    publish={"interval": "200ms"},
)
POLICY["context"] = [
    {"name": f"f{number}", "kind": "numeric", "low": -1.0, "high": 1.0} for number in range(FEATURES - 1)
]
VECTOR = [4096, *range(FEATURES - 1)]


@pytest.fixture(scope="module")
def own_kafka_of_module(kafka_cache: Path) -> Iterator[LocalKafka]:
    """A Kafka whose topics these tests delete."""
    broker = LocalKafka.start(kafka_cache, fresh=True)
    yield broker
    broker.stop()


@pytest.fixture
def place(own_kafka_of_module: LocalKafka, request: pytest.FixtureRequest) -> Place:
    return on_kafka(own_kafka_of_module, request.node.name, 4)


async def decided(client: Client, *rows: tuple[str, str]) -> None:
    """Let one decision be counted of each segment and arm."""
    await client.decide(
        plain_decision(f"{segment}/{arm}", now_ms(), segment=segment, arm=arm, context_vector=VECTOR)
        for segment, arm in rows
    )


async def live(client: Client, followed: Following, count: int) -> LoadedSnapshot:
    """Wait until a snapshot that counts so many decisions is live."""

    async def found() -> LoadedSnapshot | None:
        snapshot = followed.follower.snapshots.get("homepage")
        if snapshot is None:
            return None
        counted = sum(sum(segment.counts.values()) for segment in snapshot.segments.values())
        return snapshot if counted == count else None

    seen: LoadedSnapshot | None = await client.until(found, what=f"{count} decisions to be live", within_s=WITHIN_S)
    assert seen is not None
    return seen


async def parts_in(client: Client, topic: str) -> list[Any]:
    return [record for record in await client.read(topic) if part_of(record.key)]


async def asked(place: Place, *arguments: str) -> Any:
    environment = {"PIPELINE_BROKER": place.broker}
    result = await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--json"], env=environment)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return orjson.loads(result.stdout)


async def test_a_snapshot_beyond_the_broker_s_limit_goes_the_whole_way(place: Place, tmp_path: Path) -> None:
    async with Client(place.broker, app_id=place.app_id, partitions=place.partitions) as client:
        await client.apply(define(POLICY))
        with place.worker(tmp_path) as worker:
            client.watch(worker)
            async with following(place.broker) as followed:
                first = await live(client, followed, 0)
                covariance = first.segments["s3"].posterior.parameters["covariance"]
                # 10 segments of them are 82 MB, and every batch is at most 8 MiB.
                assert covariance.nbytes * SEGMENTS > 9 * MAX_BATCH_BYTES
                whole = await parts_in(client, SNAPSHOTS)

                await decided(client, ("s3", "arm-0001"), ("s7", "arm-0999"))
                second = await live(client, followed, 2)
                changed = [record for record in (await parts_in(client, SNAPSHOTS))[len(whole) :] if record.value]
                # Two arms, each in a part of its own; a snapshot in between may have had one of them.
                assert 2 <= len(changed) <= 4 < len(whole)

                await is_of_use(second)
                async with following(place.broker) as late:
                    assert (await live(client, late, 2)).id == second.id
                    assert late.versions("homepage")[-1] == second.version
                await is_told(place, first, second)

                rolled = await asked(place, "snapshot", "rollback", "homepage", "--to", str(first.version))
                again = await live(client, followed, 0)
                assert again.version == rolled["published_version"] > second.version
                assert again.posterior_sha256 == first.posterior_sha256
                assert np.array_equal(again.segments["s3"].posterior.parameters["covariance"], covariance)
                await asked(place, "snapshot", "unpin", "homepage")
                assert (await live(client, followed, 2)).posterior_sha256 == second.posterior_sha256
                assert followed.follower.refused == 0
                await is_proven(place)
        # A restarted worker knows what was sent to `snapshots`: one changed part, and the tombstone of the one before.
        # The history has had more than there was room for: it gets an outline, and no part.
        before = len(await parts_in(client, SNAPSHOTS)), len(await parts_in(client, SNAPSHOT_HISTORY))
        with place.worker(tmp_path) as worker:
            client.watch(worker)
            async with following(place.broker) as followed:
                await decided(client, ("s1", "arm-0500"))
                await live(client, followed, 3)

            async def is_tidied() -> bool:
                return (await parts_in(client, SNAPSHOTS))[-1].value is None

            await client.until(is_tidied, what="the part before to be deleted")
        after = len(await parts_in(client, SNAPSHOTS)), len(await parts_in(client, SNAPSHOT_HISTORY))
        assert (after[0] - before[0], after[1] - before[1]) == (2, 0)


async def is_of_use(snapshot: LoadedSnapshot) -> None:
    """Every segment decides over all arms; where a reward was seen, differently from where none was."""
    vector = np.array(VECTOR, np.int16)
    for segment in snapshot.segments:
        assert snapshot.propensities(segment, snapshot.active, vector).sum() == pytest.approx(1.0)
    seen, unseen = (snapshot.propensities(segment, snapshot.active, vector) for segment in ("s3", "s4"))
    assert seen[1] < unseen[1]  # shown once, and nothing came of it


async def is_told(place: Place, first: LoadedSnapshot, second: LoadedSnapshot) -> None:
    rows = {row["version"]: row for row in await asked(place, "snapshot", "list", "--policy", "homepage")}
    assert (rows[first.version]["count"], rows[second.version]["count"]) == (0, 2)
    assert (rows[first.version]["id"], rows[second.version]["id"]) == (first.id, second.id)
    shown = await asked(place, "snapshot", "show", "homepage")
    assert len(shown["arms"]) == ARMS * SEGMENTS
    assert [(row["segment"], row["arm"]) for row in shown["arms"] if row["count"]] == [
        ("s3", "arm-0001"),
        ("s7", "arm-0999"),
    ]
    told = await asked(place, "snapshot", "diff", "homepage", str(first.version), str(second.version))
    assert [(one["segment"], one["arm"]) for one in told["counts"]] == [("s3", "arm-0001"), ("s7", "arm-0999")]


async def is_proven(place: Place) -> None:
    found = await asked(place, "verify", "--last", "10")
    assert len(found["snapshots"]) >= 4
    assert [one["difference"] for one in found["snapshots"]] == [None] * len(found["snapshots"])

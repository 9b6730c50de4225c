"""The whole loop in real worker processes: the posterior is the naive one, to the last bit, whatever happens.

On the embedded broker (one worker, 4 partitions) and on Apache Kafka, where topics are made anew for each test.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.stream.log.topics import LEARN_TABLE, REWARDS, changelog_topic
from tests.harness.client import Client
from tests.harness.known import Traffic, chunks, counting_more, homepage, linear
from tests.harness.place import Place, on_kafka
from tests.harness.worker import Worker
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome, plain_policy

EMBEDDED_PARTITIONS = 4


async def produce(client: Client, *all_data: Traffic, parts: int = 1) -> AsyncIterator[int]:
    """Produce in order of arrival, and a last tick; yields after each part, so that something can happen there."""
    cut = chunks(all_data)
    for part in range(parts):
        for decisions, outcomes in cut[part * len(cut) // parts : (part + 1) * len(cut) // parts]:
            await asyncio.gather(client.decide(decisions), client.observe(outcomes))
        yield part
    await client.tick(max(data.closed_ms for data in all_data))


async def produce_all(client: Client, *all_data: Traffic) -> None:
    async for _ in produce(client, *all_data):
        pass


async def assert_exact(client: Client, *all_data: Traffic) -> None:
    """Wait until everything is read: then the last snapshots are the naive folds, under versions without a gap."""
    await client.quiet()
    assert await client.dead_letters() == []
    for data in all_data:
        last = await client.last_snapshot(data.policy["name"], data.naive.sha256)
        versions = {snapshot["version"] for snapshot in await client.snapshots(data.policy["name"])}
        assert versions == set(range(1, last["version"] + 1))


@pytest.fixture(scope="module")
def own_kafka_of_module(kafka_cache: Path) -> Iterator[LocalKafka]:
    """A Kafka whose topics these tests delete."""
    broker = LocalKafka.start(kafka_cache, fresh=True)
    yield broker
    broker.stop()


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
            yield Place(broker.bootstrap_servers, "pipeline", EMBEDDED_PARTITIONS)
    else:
        yield on_kafka(request.getfixturevalue("own_kafka_of_module"), request.node.name, EMBEDDED_PARTITIONS)


async def test_two_policies_with_repeats_and_late_outcomes_come_to_the_naive_posteriors(
    place: Place, tmp_path: Path
) -> None:
    data = homepage(), linear()
    async with place.loop(tmp_path, *data) as (client, _):
        await produce_all(client, *data)
        await assert_exact(client, *data)


async def test_policies_that_count_more_than_sums_come_to_the_naive_posteriors_over_a_kill(
    place: Place, tmp_path: Path
) -> None:
    data = counting_more(400)
    async with place.loop(tmp_path, *data) as (client, (worker,)):
        async for part in produce(client, *data, parts=3):
            if part == 1:
                await client.until(lambda: client.snapshots("groups"), what="a first snapshot")
                await asyncio.to_thread(restart, worker, tmp_path, loses_disk=True)
        await assert_exact(client, *data)
    await assert_proven_by_other_code(place, {one.policy["name"] for one in data})


async def assert_proven_by_other_code(place: Place, policies: set[str]) -> None:
    command = [sys.executable, "-m", "pipeline", "verify", "--independent", "--json", "--last", "5"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--broker", place.broker], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    newest = {one["policy"]: one["ledger_records"] for one in orjson.loads(done.stdout)["snapshots"]}
    assert newest.keys() == policies
    assert min(newest.values()) > 0


async def test_a_worker_that_starts_when_all_is_there_replays_it_to_the_same_posteriors(
    place: Place, tmp_path: Path
) -> None:
    data = homepage(), linear()
    async with Client(place.broker, app_id=place.app_id, partitions=place.partitions) as client:
        # Outcomes first, all of them: windows must not close over what is not read yet.
        for send, logs in ((client.observe, [d.outcomes for d in data]), (client.decide, [d.decisions for d in data])):
            await send(record for _, record in sorted(itertools.chain(*logs), key=lambda one: one[0]))
        await client.tick(max(one.closed_ms for one in data))
    async with place.loop(tmp_path, *data) as (client, _):
        await assert_exact(client, *data)


async def test_a_worker_that_was_stopped_reads_nothing_of_its_state_again(place: Place, tmp_path: Path) -> None:
    data = homepage()
    async with place.loop(tmp_path, data) as (client, (worker,)):
        await produce_all(client, data)
        await client.quiet()
        client.watch()
        await asyncio.to_thread(worker.stop)
        first = len(worker.log.read_text("utf-8"))
        worker.start()
        client.watch(worker)

        async def restored() -> list[str]:
            told = worker.log.read_text("utf-8")[first:]
            found = re.findall(r"restored topic=\S+-(?:join|learn)-changelog .* records=(\d+)", told)
            return found if len(found) == 2 * place.partitions else []

        # Of each partition there is the new claim alone.
        assert set(await client.until(restored, what="all partitions to be restored")) == {"1"}


@pytest.mark.parametrize("loses_disk", [False, True], ids=["disk-kept", "disk-lost"])
async def test_a_worker_killed_in_the_middle_comes_to_the_same_posteriors(
    place: Place, tmp_path: Path, *, loses_disk: bool
) -> None:
    data = homepage()
    async with place.loop(tmp_path, data) as (client, (worker,)):
        async for part in produce(client, data, parts=4):
            if part == 1:
                await client.until(lambda: client.snapshots("homepage"), what="a first snapshot")
            if part == 2:
                await asyncio.to_thread(restart, worker, tmp_path, loses_disk=loses_disk)
        await assert_exact(client, data)


def restart(worker: Worker, folder: Path, *, loses_disk: bool) -> None:
    worker.kill()
    if loses_disk:
        worker.state_dir.rename(folder / "lost")
    worker.start()


@pytest.mark.kafka
@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (2, 2), (4, 1), (4, 2)])
async def test_any_number_of_partitions_and_workers_gives_the_same_posteriors(
    own_kafka_of_module: LocalKafka, request: pytest.FixtureRequest, tmp_path: Path, partitions: int, workers: int
) -> None:
    place = await asyncio.to_thread(on_kafka, own_kafka_of_module, request.node.name, partitions)
    data = homepage(), linear()
    async with place.loop(tmp_path, *data, workers=workers) as (client, _):
        await produce_all(client, *data)
        await assert_exact(client, *data)


@pytest.mark.kafka
async def test_a_worker_that_joins_and_one_that_leaves_take_nothing_with_them(
    own_kafka_of_module: LocalKafka, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    worker 0   ├──────────────────────┤ killed
    worker 1           ├─────────────────────────────
    produced      1    │   2          │   3
    """
    place = await asyncio.to_thread(on_kafka, own_kafka_of_module, request.node.name, 4)
    data = homepage(), linear()
    async with place.loop(tmp_path, *data) as (client, (first,)):
        await client.until(lambda: client.snapshots("homepage"), what="the first worker's first snapshot")
        with place.worker(tmp_path / "second") as second:
            async for part in produce(client, *data, parts=3):
                if part == 1:
                    client.watch(second)
                    await asyncio.to_thread(first.kill)
            await assert_exact(client, *data)


@pytest.mark.kafka
async def test_a_frozen_worker_that_has_lost_its_partitions_changes_nothing_when_it_wakes(
    own_kafka_of_module: LocalKafka, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    worker 0   ├─ busy ─┤ frozen · · · · · · · │ wakes with its batches in hand ─┤ killed
    worker 1   ├─────────────── takes over, reads all ───────────────────────────┤ killed, its disk lost
    worker 2                                                                       ├─ restores, reads the rest
    """
    place = await asyncio.to_thread(on_kafka, own_kafka_of_module, request.node.name, 4)
    policy = plain_policy(settle="optimistic", grace="1h", publish={"interval": "100ms"})
    start_ms = round(time.time() * 1000) - 100_000
    shown = [plain_decision(f"x{number}", start_ms + number, arm="ab"[number % 2]) for number in range(20_000)]
    liked = [plain_outcome(f"x{n}", start_ms + n + 3_000, f"like-{n}", kind="like") for n in range(0, 20_000, 2)]
    clicked = [plain_outcome(f"x{n}", start_ms + n + 4_000, f"click-{n}") for n in range(0, 20_000, 3)]
    async with Client(place.broker, app_id=place.app_id, partitions=4) as client:
        await client.apply(define(policy))
        await client.decide(shown)
        await client.observe(liked)
        with place.worker(tmp_path / "0") as frozen, place.worker(tmp_path / "1") as successor:
            folded = changelog_topic(place.app_id, LEARN_TABLE)
            await client.until(lambda: client.read(folded), what="the first fold")
            frozen.pause()
            client.watch(successor)
            await client.quiet()
            frozen.resume()
            # It is awake when it has had the time to notice, and has written whatever it will write.
            await client.still(REWARDS, folded, for_s=3.0)
            frozen.kill()
            successor.kill()
        await client.observe(clicked)
        await client.tick(start_ms + 100_000)
        with place.worker(tmp_path / "2") as restored:
            client.watch(restored)
            await client.quiet()
            await client.last_snapshot("homepage", naive_fold(policy, shown, [*liked, *clicked]).sha256)

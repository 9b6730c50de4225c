"""`pipeline replay` beside a running worker: killed, promoted under load, caught up, and proven by verify."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec import avro
from pipeline.replay.recounting.run import read_base
from pipeline.stream.log import topics
from tests.harness.client import Client
from tests.harness.definition_file import definition_file
from tests.harness.foreign import producer
from tests.harness.topics import make_topics
from tests.harness.worker import Worker
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome, plain_policy

PARTITIONS = 4
START_MS = 1_700_000_000_000
ACTIONS = 4_000
STEP_MS = 25
CLOSED_MS = START_MS + ACTIONS * STEP_MS + 60_000
"""Windows (10 s) and grace (30 s) are over."""

OLD = plain_policy(settle="optimistic", grace="30s", publish={"interval": "50ms"})
# A click counts for 3 s where it counted for 10, and two outcomes of one action are worth their sum.
NEW = deepcopy(OLD) | {"generation": 2}
NEW["reward"]["outcomes"][0]["window"] = "3s"
NEW["reward"]["combine"] = "sum"


class Place(NamedTuple):
    """A broker with empty topics."""

    broker: str
    app_id: str

    @asynccontextmanager
    async def loop(self, folder: Path) -> AsyncIterator[Client]:
        """Run a worker on the old policy."""
        async with Client(self.broker, app_id=self.app_id, partitions=PARTITIONS) as client:
            await client.apply(define(OLD))
            with Worker(self.broker, folder / "worker", app_id=self.app_id, partitions=PARTITIONS) as worker:
                client.watch(worker)
                yield client

    async def pipeline(self, *arguments: str, expected: int = 0) -> str:
        """Run a command; return what it says."""
        process = await self.started(*arguments)
        said, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == expected, f"{arguments} → {process.returncode}: {said!r} {errors!r}"
        return (said if expected == 0 else said + errors).decode()

    async def told(self, *arguments: str) -> tuple[dict[str, Any], list[str]]:
        """Run a command; return what it finds, whenever it looks and however far, and what it passes over."""
        process = await self.started(*arguments, "--json")
        said, errors = await asyncio.wait_for(process.communicate(), 60)
        found = {name: value for name, value in orjson.loads(said).items() if name != "to" and name[-6:] != "_at_ms"}
        return found, [line.split(" count=")[0] for line in errors.decode().splitlines() if "passed-over" in line]

    async def started(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
        environment |= {"PIPELINE_BROKER": self.broker, "PIPELINE_APP_ID": self.app_id}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
            yield Place(broker.bootstrap_servers, "pipeline")
    else:
        kafka = request.getfixturevalue("own_kafka")
        asyncio.run(make_topics(kafka.bootstrap_servers, "replayed", PARTITIONS))
        yield Place(kafka.bootstrap_servers, "replayed")


def decision(number: int, generation: int) -> dict[str, Any]:
    chosen = {"arm": "ab"[number % 2], "segment": ["other", "new"][number % 3 == 0]}
    return plain_decision(f"x{number}", START_MS + number * STEP_MS, generation=generation, **chosen)


def outcomes_of(number: int) -> list[dict[str, Any]]:
    """Give clicks on either side of the new window, and likes."""
    decided_ms = START_MS + number * STEP_MS
    found = []
    if number % 3 == 0:
        found.append(plain_outcome(f"x{number}", decided_ms + (2_000 if number % 2 else 5_000), f"click-{number}"))
    if number % 5 == 0:
        found.append(plain_outcome(f"x{number}", decided_ms + 1_000, f"like-{number}", kind="like"))
    return found


async def produce(client: Client, numbers: range, generation: int) -> None:
    await asyncio.gather(
        client.decide(decision(number, generation) for number in numbers),
        client.observe(outcome for number in numbers for outcome in outcomes_of(number)),
    )


def naive(policy: dict[str, Any], numbers: range) -> Any:
    decisions = [decision(number, policy["generation"]) for number in numbers]
    return naive_fold(policy, decisions, [outcome for number in numbers for outcome in outcomes_of(number)])


def command(folder: Path, *others: str) -> tuple[str, ...]:
    return ("replay", "--policy", "homepage", "--into", "2", "--work-dir", str(folder / "work"), "--json", *others)


async def test_promoting_under_load_loses_nothing_and_doubles_nothing(place: Place, tmp_path: Path) -> None:
    """
    produced   ├─ generation 1 ──────────────────────────┤├─ 1 and 2 ──┤├─ tick
    replay             ├─ killed ├─ goes on ─┤ promote ┤                       ├─ catches up ─┤ verify
    """
    start = "--definition", definition_file(tmp_path, NEW)
    async with place.loop(tmp_path) as client:
        await produce(client, range(1_000), 1)
        await client.until(lambda: client.snapshots("homepage"), what="a first snapshot")
        load = asyncio.create_task(produce_in_parts(client, range(1_000, 2_000), 1))
        await kill_in_the_middle(place, client, tmp_path, start)
        done = orjson.loads(await place.pipeline(*command(tmp_path, *start)))
        assert done["generations"] == [1]
        assert done["counted"] > 0
        await load

        # Nodes that have not seen the new snapshot go on deciding under the old one.
        load = asyncio.create_task(produce_in_parts(client, range(2_000, 3_000), 1))
        assert "what is published → generation 2" in await place.pipeline(
            "replay", "promote", "homepage", "2", "--dry-run"
        )
        assert {snapshot["generation"] for snapshot in await client.snapshots("homepage")} == {1}
        promoted = orjson.loads(await place.pipeline("replay", "promote", "homepage", "2", "--json"))
        await asyncio.gather(load, produce(client, range(3_000, ACTIONS), 2))
        await client.tick(CLOSED_MS)
        await client.quiet()

        done = orjson.loads(await place.pipeline(*command(tmp_path)))
        assert (done["counted"], done["open"]) == (3_000, 0)
        everything = naive(NEW, range(ACTIONS))
        last = await client.last_snapshot("homepage", everything.sha256)
        assert await client.dead_letters() == []

        published = await client.snapshots("homepage")
        generations = [snapshot["generation"] for snapshot in published]
        assert generations == sorted(generations)
        first = next(snapshot for snapshot in published if snapshot["generation"] == 2)
        assert first["version"] == promoted["version"]
        # From the first on, each names the whole of the replay that it rests on.
        assert all(len(snapshot["base_cuts"]) >= 2 for snapshot in published if snapshot["generation"] == 2)
        verdict = orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))
        assert verdict["equal"]
        assert [one["version"] for one in verdict["snapshots"]] == [last["version"]]
        assert verdict["snapshots"][0]["base_offsets"] > 0
        of_first = orjson.loads(
            await place.pipeline("verify", "--policy", "homepage", "--version", str(first["version"]), "--json")
        )
        assert of_first["equal"]


async def produce_in_parts(client: Client, numbers: range, generation: int) -> None:
    for start in range(numbers.start, numbers.stop, 100):
        await produce(client, range(start, start + 100), generation)


async def kill_in_the_middle(place: Place, client: Client, folder: Path, options: tuple[str, ...]) -> None:
    """Kill a replay once it has counted one partition and begun another."""
    process = await place.started(*command(folder, *options))
    begun = folder / "work" / "homepage-2" / "partition-1"

    async def is_begun() -> bool:
        assert process.returncode is None, (await process.communicate())[1]
        return begun.exists()

    await client.until(is_begun, what="a replay in the middle")
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    records = [record for record in await client.read(topics.STATISTICS) if (record.key or b"").endswith(b"/base")]
    assert records == []


async def test_the_ledger_replayed_under_the_same_definition_is_the_live_posterior(
    place: Place, tmp_path: Path
) -> None:
    async with place.loop(tmp_path) as client:
        await produce(client, range(500), 1)
        await client.tick(CLOSED_MS)
        await client.quiet()
        live = await client.last_snapshot("homepage", naive(OLD, range(500)).sha256)
        done = orjson.loads(await place.pipeline(*command(tmp_path, "--ledger")))
        assert done["counted"] == 500
        # Nothing new: it says the same, and sends nothing.
        sent = len(await client.read(topics.STATISTICS))
        assert orjson.loads(await place.pipeline(*command(tmp_path, "--ledger"))) == done
        assert len(await client.read(topics.STATISTICS)) == sent

        preview = orjson.loads(await place.pipeline("replay", "promote", "homepage", "2", "--dry-run", "--json"))
        assert (preview["is_posterior_equal"], preview["counts"]) == (True, [])
        # Another definition can't slip under what was counted by this one.
        file = definition_file(tmp_path, NEW)
        assert "was made by a replay" in await place.pipeline("policy", "apply", file, expected=1)
        await place.pipeline("replay", "promote", "homepage", "2")
        last = await client.last_snapshot("homepage", live["posterior_sha256"])
        assert last["generation"] == 2
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
async def test_what_was_sent_home_is_counted_where_it_was_sent_to(place: Place, tmp_path: Path) -> None:
    """librdkafka's default puts three of four keys elsewhere; the events replayed come to what the worker learned."""
    async with place.loop(tmp_path) as client:
        shop = producer(place.broker, "none")
        decisions = [decision(number, 1) for number in range(500)]
        clicks = [outcome for number in range(500) for outcome in outcomes_of(number)]
        for topic, records in ((topics.DECISIONS, decisions), (topics.OUTCOMES, clicks)):
            for record in records:
                shop.produce(topic, orjson.dumps(record), record["action_id"].encode())
            assert await asyncio.to_thread(shop.flush, 30) == 0
        await client.quiet()
        await client.tick(CLOSED_MS)
        await client.quiet()
        live = await client.last_snapshot("homepage", naive(OLD, range(500)).sha256)
        written = len(decisions) + len(clicks) + 2 * PARTITIONS
        assert sum([len(await client.read(topic)) for topic in (topics.DECISIONS, topics.OUTCOMES)]) > written
        done = orjson.loads(await place.pipeline(*command(tmp_path)))
        assert (done["counted"], done["open"]) == (500, 0)
        preview = orjson.loads(await place.pipeline("replay", "promote", "homepage", "2", "--dry-run", "--json"))
        assert (preview["is_posterior_equal"], preview["counts"]) == (True, [])
        await place.pipeline("replay", "promote", "homepage", "2")
        await client.last_snapshot("homepage", live["posterior_sha256"])
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]


@pytest.mark.attack
@pytest.mark.parametrize("place", ["embedded"], indirect=True)
async def test_what_is_no_reward_is_passed_over_by_every_reader_of_the_ledger(place: Place, tmp_path: Path) -> None:
    async with place.loop(tmp_path) as client:
        await client.decide(decision(number, 1) | {"subject_hash": "5e1f5e1f5e1f5e1f"} for number in range(100))
        await client.tick(CLOSED_MS)
        await client.quiet()
    readers = (
        ("report", "homepage"),
        ("evaluate", "homepage"),
        command(tmp_path, "--ledger"),
        ("forget", "5e1f5e1f5e1f5e1f", "--dry-run"),
    )
    before = [await place.told(*reader) for reader in readers]
    assert [warned for _, warned in before] == [[]] * len(readers)
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        for value in (b"no record", b"\xc3\x01unknown!", None):
            at = await client.send(topics.REWARDS, 1, value)
    told = [[f"record-passed-over place={topics.REWARDS}/1 offset={at - n}" for n in (2, 1, 0)]] * len(readers)
    after = [await place.told(*reader) for reader in readers]
    assert [warned for _, warned in after] == told
    assert [found for found, _ in after] == [found for found, _ in before]


async def test_what_can_not_be_replayed_is_said_and_why(place: Place, tmp_path: Path) -> None:
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        await client.apply(define(OLD))
        await produce(client, range(10), 1)
    into = ("replay", "--policy", "homepage", "--work-dir", str(tmp_path / "work"), "--into")
    assert "generation 1 already; 2 is free" not in await place.pipeline(*into, "2")
    features = plain_policy(context=[{"name": "x", "kind": "numeric", "low": -1.0, "high": 1.0}], grace="30s")
    context = definition_file(tmp_path, features | {"generation": 3})
    assert "feature schema" in await place.pipeline(*into, "3", "--definition", context, "--ledger", expected=1)
    longer = deepcopy(OLD) | {"generation": 3}
    longer["reward"]["outcomes"][0]["window"] = "1m"
    file = definition_file(tmp_path, longer)
    assert "leave --ledger out" in await place.pipeline(*into, "3", "--definition", file, "--ledger", expected=1)
    assert "begun with another" in await place.pipeline(
        *into, "2", "--definition", definition_file(tmp_path, longer | {"generation": 2}), expected=1
    )
    assert "not written yet" in await place.pipeline(*into, "3", "--to", "decisions/0=999999", expected=1)
    assert "no replay has made it" in await place.pipeline("replay", "promote", "homepage", "3", expected=1)


async def test_a_base_record_names_what_it_stands_for(place: Place, tmp_path: Path) -> None:
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        await client.apply(define(OLD))
        await produce(client, range(10), 1)
        await place.pipeline(*command(tmp_path))
        # The folder is gone: what was sent says how to go on.
        (tmp_path / "work").rename(tmp_path / "lost")
        await produce(client, range(10, 20), 1)
        done = orjson.loads(await place.pipeline(*command(tmp_path)))
        assert done["counted"] == 20
        bases = [
            avro.decode_as("statistics_base", record.value)
            for record in await client.read(topics.STATISTICS)
            if (record.key or b"").endswith(b"/base")
        ]
        assert [(len(base["cuts"]), base["first_source"]) for base in bases] == [(2, -1), (3, -2)]
        ends = [sum(position["offset"] for position in base["cuts"][-1]) for base in bases]
        # Ten decisions; of 0 … 9 four have clicks and two likes; of 10 … 19 three and two.
        assert ends == [10 + 6, 20 + 11]


@pytest.mark.kafka
async def test_a_replay_between_two_times_counts_what_the_broker_took_in_between(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    """
    by the broker's clock    ├─ 0 … 9 ─┤ from ├─ 10 … 19 ─┤ to ├─ 20 … 29 ─┤
    """
    await asyncio.to_thread(asyncio.run, make_topics(own_kafka.bootstrap_servers, "timed", PARTITIONS))
    place = Place(own_kafka.bootstrap_servers, "timed")
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        await client.apply(define(OLD))
        began_ms = [await produced_at(client, range(start, start + 10)) for start in (0, 10, 20)]
        start = datetime.fromtimestamp(began_ms[1] / 1000, UTC).isoformat()
        between = "--from", start, "--to", str(began_ms[2]), "--definition", definition_file(tmp_path, NEW)
        done = orjson.loads(await place.pipeline(*command(tmp_path, *between)))
        assert done["counted"] == 10
        assert await replayed_sums(place) == naive(NEW, range(10, 20)).sums
        # The same command without an end goes on to the present one; where it began stays.
        assert orjson.loads(await place.pipeline(*command(tmp_path)))["counted"] == 20
        assert await replayed_sums(place) == naive(NEW, range(10, 30)).sums
        # It can't go back, and there is nothing to be read of a time that is yet to come.
        assert "already" in await place.pipeline(*command(tmp_path, "--to", start), expected=1)
        later = str(began_ms[2] + 3_600_000)
        assert orjson.loads(await place.pipeline(*command(tmp_path, "--to", later)))["counted"] == 20


async def produced_at(client: Client, numbers: range) -> int:
    """Produce when the broker's clock has gone on since the last time; return the time of the first record."""
    known = await timestamps(client)
    latest_ms = max(known, default=0)

    async def is_later() -> bool:
        return time.time() * 1000 > latest_ms + 1

    await client.until(is_later, what="the clock to go on")
    await produce(client, numbers, 1)
    return min(at_ms for at_ms in await timestamps(client) if at_ms > latest_ms)


async def timestamps(client: Client) -> list[int]:
    return [record.timestamp for topic in (topics.DECISIONS, topics.OUTCOMES) for record in await client.read(topic)]


async def replayed_sums(place: Place) -> dict[tuple[str, str, int], list[int]]:
    found = await read_base(place.broker, "homepage", 2)
    assert found is not None
    return {(key.segment, key.arm, key.bucket): row.sums.tolist() for key, row in found.rows}

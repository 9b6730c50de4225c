"""Several people at work on one policy: what one edits while another replays, and one command given twice."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.errors import FencedError
from pipeline.stream.log import topics
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import Outbox
from tests.harness.client import Client
from tests.harness.definition_file import definition_file
from tests.harness.topics import make_topics
from tests.harness.worker import Worker
from tests.integration.test_replay import (
    NEW,
    OLD,
    PARTITIONS,
    START_MS,
    Place,
    decision,
    outcomes_of,
    produce,
)
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome

pytestmark = pytest.mark.kafka

ACTIONS = 900


@pytest.fixture
def place(own_kafka: LocalKafka) -> Place:
    asyncio.run(make_topics(own_kafka.bootstrap_servers, "people", PARTITIONS))
    return Place(own_kafka.bootstrap_servers, "people")


def edited(floor: float, **parts: Any) -> dict[str, Any]:
    """Give the policy with an arm more, one retired, and another floor."""
    arms = [{"name": "a"}, {"name": "b", "retired": True}, {"name": "c"}]
    return deepcopy(OLD) | {"arms": arms, "exploration": {"floor": floor}} | parts


def on_c(number: int, generation: int = 1) -> dict[str, Any]:
    return decision(number, generation) | {"arm": "c", "eligible": ["a", "c"]}


def replay_into(folder: Path, generation: int, *others: str) -> tuple[str, ...]:
    return ("replay", "--policy", "homepage", "--into", str(generation), "--work-dir", str(folder), "--json", *others)


async def applied(place: Place, folder: Path, policy: dict[str, Any]) -> str:
    return await place.pipeline("policy", "apply", definition_file(folder, policy))


async def in_force(place: Place) -> Any:
    return orjson.loads(await place.pipeline("policy", "show", "homepage", "--json"))[0]


async def both(place: Place, *arguments: str) -> list[tuple[int | None, str]]:
    """Give a command twice at once; return how each ended."""
    processes = [await place.started(*arguments) for _ in range(2)]
    said = await asyncio.gather(*(process.communicate() for process in processes))
    return [(process.returncode, (out + err).decode()) for process, (out, err) in zip(processes, said, strict=True)]


async def test_what_is_edited_while_a_replay_runs_is_counted_and_stays(place: Place, tmp_path: Path) -> None:
    """
    produced   ├─ a, b ─┤            ├─ c ─┤
    replay              ├─ into 2 ─┤        promote: refused ├─ anew ─┤   promote, twice at once ┤ verify
    edited                          + arm c, − arm b, floor 0.05         floor 0.03
    """
    start = "--definition", definition_file(tmp_path, NEW)
    (tmp_path / "edits").mkdir()
    async with place.loop(tmp_path) as client:
        await produce(client, range(600), 1)
        await client.quiet()
        assert orjson.loads(await place.pipeline(*replay_into(tmp_path / "one", 2, *start)))["counted"] == 600

        await applied(place, tmp_path / "edits", edited(0.05))
        late = [on_c(number) for number in range(600, 700)]
        await client.decide(late)
        await client.observe(outcome for number in range(600, 700) for outcome in outcomes_of(number))
        await client.quiet()
        promote = "replay", "promote", "homepage", "2"
        refused = await place.pipeline(*promote, expected=1)
        assert "arm 'c' was added since the replay began" in refused
        assert (await in_force(place))["generation"] == 1

        # Of another definition it is said that it is not what was begun; of the same one, all is counted anew.
        assert orjson.loads(await place.pipeline(*replay_into(tmp_path / "one", 2, *start)))["counted"] == 700
        other = definition_file(tmp_path / "edits", NEW | {"algorithm": {"name": "beta_thompson", "sharpness": 2.0}})
        seconds = replay_into(tmp_path / "one", 2, "--definition", other)
        assert "which differs in algorithm" in await place.pipeline(*seconds, expected=1)

        await applied(place, tmp_path / "edits", edited(0.03))
        ended = await both(place, *promote)
        assert [code for code, _ in ended] == [0, 0], ended
        expected = edited(0.03, generation=2, reward=NEW["reward"])
        shown = await in_force(place)
        assert shown == define(expected).to_plain()
        assert "already in force" in await place.pipeline(*promote)

        await client.decide(on_c(number, 2) for number in range(700, ACTIONS))
        await client.observe(outcome for number in range(700, ACTIONS) for outcome in outcomes_of(number))
        outcomes = [outcome for number in range(ACTIONS) for outcome in outcomes_of(number)]
        # As if all had been decided in the new generation.
        decisions = [decision(number, 2) if number < 600 else on_c(number, 2) for number in range(ACTIONS)]
        await client.last_snapshot("homepage", naive_fold(expected, decisions, outcomes).sha256)
        assert await client.dead_letters() == []
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]


async def test_of_two_replays_of_one_generation_from_two_folders_one_is_what_is_published(
    place: Place, tmp_path: Path
) -> None:
    async with place.loop(tmp_path) as client:
        await produce(client, range(600), 1)
        await client.quiet()
        wholes = replay_into(tmp_path / "one", 2)
        parts = replay_into(tmp_path / "two", 2, "--to", "decisions/0=30,decisions/1=30,outcomes/0=5,outcomes/1=5")
        processes = [await place.started(*wholes), await place.started(*parts)]
        said = await asyncio.gather(*(process.communicate() for process in processes))
        codes = [process.returncode for process in processes]
        # Begun late enough, the second one finds the first one's base, and goes on from it.
        assert 0 in codes
        told = "".join(err.decode() for _, err in said)
        assert codes == [0, 0] or "another replay" in told or "where the replay is already" in told, told
        await place.pipeline(*replay_into(tmp_path / ("two" if codes[0] else "one"), 2))
        await place.pipeline("replay", "promote", "homepage", "2")
        decisions = [decision(number, 2) for number in range(600)]
        outcomes = [outcome for number in range(600) for outcome in outcomes_of(number)]
        await client.last_snapshot("homepage", naive_fold(OLD | {"generation": 2}, decisions, outcomes).sha256)
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]


async def test_of_two_applications_that_start_at_once_one_works_until_the_other_takes_over(
    place: Place, tmp_path: Path
) -> None:
    """Both would write every version; of the second one it is said what to do."""
    names = ("people", "people-2")
    await topics.create_topics(place.broker, topics.topic_specs(names[1], PARTITIONS))
    workers = [Worker(place.broker, tmp_path / name, app_id=name, partitions=PARTITIONS) for name in names]
    async with Client(place.broker, app_id="people", partitions=PARTITIONS) as client:
        await client.apply(define(OLD))
        try:
            for worker in workers:
                worker.start()

            async def is_one_refused() -> bool:
                return sum(worker.is_running for worker in workers) == 1

            await client.until(is_one_refused, what="one of them to be refused")
            (second,) = [index for index, worker in enumerate(workers) if not worker.is_running]
            assert workers[second].exit_code == 1
            told = f"application {names[1 - second]!r} works this cluster's topics since"
            assert told in workers[second].log.read_text("utf-8")
            await produce(client, range(300), 1)
            decisions = [decision(number, 1) for number in range(300)]
            outcomes = [outcome for number in range(300) for outcome in outcomes_of(number)]
            expected = naive_fold(OLD, decisions, outcomes).sha256
            await client.last_snapshot("homepage", expected)

            # Asked for, while the first one runs: that one hears of it, and ends.
            taking = Worker(
                place.broker,
                tmp_path / "taking",
                app_id=names[second],
                partitions=PARTITIONS,
                take_over=names[1 - second],
            )
            with taking:

                async def has_ended() -> bool:
                    return not workers[1 - second].is_running

                await client.until(has_ended, what="the first application to end")
                assert workers[1 - second].exit_code == 70
            # It stays out; and verify has nothing against what was published.
            workers[1 - second].start()
            await client.until(has_ended, what="the first application to be refused")
            assert workers[1 - second].exit_code == 1
        finally:
            for worker in workers:
                worker.stop()
        numbers = [snapshot["version"] for snapshot in await client.snapshots("homepage")]
        assert numbers == sorted(set(numbers))
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]


async def test_who_claimed_a_generation_before_can_not_send_to_it_any_more(kafka: LocalKafka) -> None:
    topic = "claimed-statistics"
    await topics.create_topics(kafka.bootstrap_servers, [topics.TopicSpec(topic, 1, {})])
    first, second = (Outbox(kafka.bootstrap_servers, "pipeline-replay-claimed-2") for _ in range(2))
    try:
        await first.start()
        await first.fence(topic, 0)
        assert await first.deliver_atomically(topic, 0, {b"a": b"1"}) >= 0
        await second.start()
        await second.fence(topic, 0)
        with pytest.raises(FencedError):
            await first.deliver_atomically(topic, 0, {b"b": b"2"})
        await second.deliver_atomically(topic, 0, {b"c": b"3"})
    finally:
        await first.stop()
        await second.stop()
    follower = TopicFollower(kafka.bootstrap_servers, topic)
    try:
        await follower.start()
        assert [entry.key for entry in await follower.read_to_end()] == [b"a", b"c"]
    finally:
        await follower.stop()


HISTORY = 1_000
DAY_MS = 86_400_000
HISTORY_MS = START_MS - 90 * DAY_MS


def of_history(number: int) -> dict[str, Any]:
    """Give a decision of long ago: a thousand of them over 41 days, all at one of four subjects."""
    chosen = {"arm": "ab"[number % 2], "segment": ["other", "new"][number % 3 == 0]}
    fields = {"subject_hash": f"5e1f5e1f5e1f5e1{number % 4}", **chosen}
    return plain_decision(f"h{number}", HISTORY_MS + number * 3_600_000, **fields)


def came_of_history() -> list[dict[str, Any]]:
    """Give a click 2 s after every third, one too late by 20 s after every tenth, and ten of what nobody decided."""
    found = []
    for number in range(HISTORY):
        decided_ms = HISTORY_MS + number * 3_600_000
        if number % 3 == 0:
            found.append(plain_outcome(f"h{number}", decided_ms + 2_000))
        if number % 10 == 1:
            found.append(plain_outcome(f"h{number}", decided_ms + 30_000, f"late-{number}"))
    return found + [plain_outcome(f"nobody{number}", HISTORY_MS + number) for number in range(10)]


def lines(folder: Path, name: str, records: list[dict[str, Any]], *others: bytes) -> str:
    """Write JSON lines in any order."""
    mixed = sorted(records, key=lambda one: orjson.dumps(one)[::-1])
    (folder / name).write_bytes(b"\n".join([*map(orjson.dumps, mixed), *others]) + b"\n")
    return str(folder / name)


async def test_history_of_months_is_loaded_beside_live_traffic_and_counts_once_it_is_promoted(
    place: Place, tmp_path: Path
) -> None:
    decisions, outcomes = [of_history(number) for number in range(HISTORY)], came_of_history()
    # 334 of 0 … 999 are multiples of three; 100 end in 1.
    history = {"decisions": 1_000, "credited": 334, "late": 100, "orphan": 10}
    files = (
        *("--decisions", lines(tmp_path, "decisions.jsonl", decisions, b"no json", b'{"action_id": "x"}')),
        *("--outcomes", lines(tmp_path, "outcomes.jsonl", outcomes)),
    )
    command = "backfill", "homepage", *files
    async with place.loop(tmp_path) as client:
        await produce(client, range(300), 1)
        looked = orjson.loads(await place.pipeline(*command, "--dry-run", "--json"))
        assert looked["taken"] == {"decisions": 1_000, "outcomes": 444}
        assert looked["history"] == history
        assert sum(looked["refused"].values()) == 2
        # The last decision, 999 hours on, is a multiple of three, and its click comes 2 s after it.
        assert (looked["from_ms"], looked["until_ms"]) == (HISTORY_MS, HISTORY_MS + 999 * 3_600_000 + 2_000)

        # Two people at once: one sends, and the other finds it sent, or is told that it was overtaken.
        ended = await both(place, *command, "--json")
        assert 0 in {code for code, _ in ended}, ended
        assert all(code == 0 or "another one began" in words for code, words in ended), ended
        again = orjson.loads(await place.pipeline(*command, "--json"))
        assert again["taken"] == {"decisions": 0, "outcomes": 0}
        assert (again["already_there"], again["history"]) == (1_444, history)
        older = lines(tmp_path, "older.jsonl", [of_history(-1) | {"action_id": "older"}])
        assert "joined too late" in await place.pipeline("backfill", "homepage", "--decisions", older, expected=1)

        # Live, nobody has heard of it: no dead letter, no other posterior.
        await client.quiet()
        assert await client.dead_letters() == []
        live = [decision(number, 1) for number in range(300)]
        came = [outcome for number in range(300) for outcome in outcomes_of(number)]
        await client.last_snapshot("homepage", naive_fold(OLD, live, came).sha256)

        done = orjson.loads(await place.pipeline(*replay_into(tmp_path / "work", 2)))
        assert (done["counted"], done["history"]["decisions"]) == (1_300, 1_000)
        assert {name: done["history"][name] for name in history} == history
        await place.pipeline("replay", "promote", "homepage", "2")
        whole = [one | {"generation": 2} for one in (*decisions, *live)]
        await client.last_snapshot("homepage", naive_fold(OLD | {"generation": 2}, whole, [*outcomes, *came]).sha256)
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]

        # A person of history is forgotten as any other: the replay that counted them is run on.
        person = decisions[0]["subject_hash"]
        await place.pipeline("forget", person, "--work-dir", str(tmp_path / "work"))
        kept = [one for one in whole if one.get("subject_hash") != person]
        await client.last_snapshot("homepage", naive_fold(OLD | {"generation": 2}, kept, [*outcomes, *came]).sha256)
        assert orjson.loads(await place.pipeline("verify", "--policy", "homepage", "--json"))["equal"]

"""A ledger, proven by `pipeline verify` and by code that shares nothing with it; and wrong ones, which that must see.

    each action   decided ── an hour of event time ── settled, one in ten with a reward       two records
    the ledger    28 hours of them, four partitions, buckets of ten minutes: one in 28 is open at one time

Or a log of the Open Bandit dataset, played through a worker. The commands run as shipped, in processes of their own:
what they take is what the system says that they took. Then a snapshot is published for each fault that the stages and
`verify` may have in common, from the same ledger: `verify --independent` must call each different, and the right one
equal.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from rich.console import Console

from benchmarks import wrong_stages as wrong
from benchmarks.report import Row
from pipeline.audit.record import Operator
from pipeline.brokers import Broker, default_cache_dir, running_broker
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.codec.reward import WHOLE, Reward, RewardWriter
from pipeline.demo.logged import play_log, read_log
from pipeline.demo.open_bandit import policy_for
from pipeline.demo.progress import Progress
from pipeline.learn.ledger import ledger_record
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import snapshot_fields, snapshot_id
from pipeline.replay.proof.compare import first_difference
from pipeline.replay.proof.prefixes import Prefix, PrefixFold, PrefixRows
from pipeline.replay.proof.read import read_ledger
from pipeline.stream.log.follow import Entry, TopicFollower
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS, create_topics, topic_specs

PARTITIONS = 4
SMOKE_ACTIONS = 2_000
NOW_MS, HOUR_MS = 1_700_000_000_000, 3_600_000
SPAN_MS = 28 * HOUR_MS
BUCKET_MS = 600_000
"""168 buckets, of which the oldest are counted together."""
CHUNK = 20_000

OF_ANY: Mapping[str, tuple[bool, wrong.Fault]] = {
    "squares of rewards are never counted": (True, wrong.squares_never_counted),
    "all count in one segment": (True, wrong.all_in_one_segment("another")),
    "rewards count half": (True, wrong.rewards_halved),
    "every decision is a bucket older": (True, wrong.bucket_off_by_one),
    "what earned nothing is passed over": (True, wrong.without_reward_passed_over),
    "the last record of a batch is passed over": (True, wrong.last_of_a_batch_passed_over),
    "the half-life is halved": (False, wrong.half_life_halved),
    "a prior is worth twice": (False, wrong.prior_worth_twice),
    "exposures are a bucket short": (False, wrong.exposures_a_bucket_short),
}
"""Whether it is let into the fold, and the fault itself."""
OF_REVISIONS: Mapping[str, tuple[bool, wrong.Fault]] = {
    "corrections are dropped": (True, wrong.corrections_dropped),
    "revisions are counted twice": (True, wrong.revisions_counted_twice),
    "of revisions the lower one counts": (True, wrong.lower_revision_counts),
    "erasures are ignored": (True, wrong.erasures_ignored),
    "spans are twice as wide": (False, wrong.spans_too_wide),
    "spans count by their newest bucket": (False, wrong.spans_by_their_last_bucket),
    "what old buckets hold is lost when they join": (False, wrong.what_joins_is_lost),
}
"""What a log without corrections, and with a week of buckets of a day, has nothing of."""


class Taken(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    records: int


def measure(actions: int, log: Path | None = None, *, broker: str = "kafka") -> list[Row]:
    """Make the ledger on a fresh broker, prove it both ways, and look for each fault.

    Args:
        actions: of the ledger.
        log: folder of an Open Bandit campaign, which is played in its place.
        broker: which kind.
    """
    with (
        running_broker(broker, cache_dir=default_cache_dir(), fresh=True) as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        if log is None:
            definition, faults = _policy(), {**OF_ANY, **OF_REVISIONS}
            faults["the window is off by a bucket"] = (False, wrong.window_off_by(BUCKET_MS))
            ends = asyncio.run(_make(running, definition, actions))
        else:
            definition, ends = asyncio.run(_play(running, log))
            faults = {**OF_ANY, "the window is off by a bucket": (False, wrong.window_off_by(definition.bucket_ms))}
        address = running.bootstrap_servers
        taken = {
            name: _verify(address, Path(folder), *options)
            for name, options in (("verify", ()), ("verify --independent", ("--independent",)))
        }
        asyncio.run(_publish_wrong(address, _forgetting(definition), ends, faults))
        seen = _seen(address, Path(folder), list(faults))
    what = "Open Bandit" if log else f"{actions:,} actions"
    rows = [
        Row(f"{name}, {what}", "records/CPU-s", (one.records / one.cpu_s,), (one.wall_s,), (one.cpu_s,), one.peak_mib)
        for name, one in taken.items()
    ]
    return [*rows, *(Row(f"{what}: {name}: {how}", "seen", (1.0,)) for name, how in seen.items())]


def _policy() -> PolicyDefinition:
    return parse_policy(
        {
            "name": "bench",
            "arms": [{"name": f"arm-{number}"} for number in range(10)],
            "segments": {"default": "all", "rules": [{"name": "new", "when": {"visits": {"below": 2}}}]},
            "algorithm": {"name": "beta_thompson"},
            "reward": {
                "low": 0.0,
                "high": 1.0,
                "combine": "max",
                "outcomes": [{"kind": "click", "worth": 1.0, "window": "50m"}],
            },
            "attribution": {"settle": "optimistic", "grace": "10m"},
            "publish": {"interval": "1s"},
            "statistics": {"bucket": "10m"},
        },
        "the benchmark's policy",
    )


def _forgetting(definition: PolicyDefinition) -> PolicyDefinition:
    """Return the policy as it forgets, holds an arm back, and knows something of it from before."""
    plain: Any = definition.to_plain()
    first, *others = plain["arms"]
    hours = max(1, definition.bucket_ms // HOUR_MS)
    return parse_policy(
        {
            **plain,
            "arms": [{**first, "prior": {"mean": 0.3, "weight": 10}}, *others],
            "forgetting": {"half_life": f"{5 * hours // 2}h", "window": f"{5 * hours}h"},
            "guardrails": {"caps": [{"arm": first["name"], "share": 0.9, "window": f"{2 * hours}h"}]},
        },
        definition.name,
    )


async def _make(broker: Broker, definition: PolicyDefinition, actions: int) -> dict[int, int]:
    """Fill the ledger and publish it; return where its partitions end."""
    if broker.supports_topic_creation:
        await create_topics(broker.bootstrap_servers, topic_specs("pipeline", PARTITIONS))
    outbox, writer = Outbox(broker.bootstrap_servers), RewardWriter()
    ends = dict.fromkeys(range(PARTITIONS), 0)
    await outbox.start()
    try:
        for number in ends:
            for chunk in _chunks(_ledger(definition, number, actions)):
                await outbox.deliver_all({(REWARDS, number): [(b"", writer.write(record)) for record in chunk]})
                ends[number] += len(chunk)
    finally:
        await outbox.stop()
    (rows,) = (await _rows(broker.bootstrap_servers, definition, ends, {"": None})).values()
    content = avro.encode("snapshot", _snapshot(definition, ends, rows, 1, ""))
    await _publish(broker.bootstrap_servers, definition, [content], {SNAPSHOTS: 0, SNAPSHOT_HISTORY: 0})
    return ends


async def _play(broker: Broker, log: Path) -> tuple[PolicyDefinition, dict[int, int]]:
    """Play a log through a worker; return its policy, and where the ledger of its last snapshot ends."""
    impressions = read_log(log)
    with Progress(Console(stderr=True)) as progress:
        await play_log(broker, impressions, apply_quietly, progress, partitions=PARTITIONS, workers=1)
    newest = await _newest(broker.bootstrap_servers)
    return policy_for(impressions), {one["partition"]: one["offset"] for one in newest["ledger_offsets"]}


async def apply_quietly(broker: str, definition: PolicyDefinition) -> bool:
    """Put the policy in force; a benchmark is nobody's act."""
    return (await apply_policy(broker, definition, Operator("bench", "bench", tell=lambda _: None))).is_new


async def _publish_wrong(
    broker: str, definition: PolicyDefinition, ends: Mapping[int, int], faults: Mapping[str, tuple[bool, wrong.Fault]]
) -> None:
    """Publish a right snapshot of the ledger behind the newest, and one for each fault, in their order."""
    newest = await _newest(broker)
    folded = {"": None, **{name: fault for name, (is_of_fold, fault) in faults.items() if is_of_fold}}
    rows = await _rows(broker, definition, ends, folded)
    contents, version, parent = [], newest["version"], newest["id"]
    for name, (is_of_fold, fault) in {"": (True, None), **faults}.items():
        version += 1
        with wrong.Patches() as patches:
            if fault is not None and not is_of_fold:
                fault(patches)
            found = rows[name if is_of_fold else ""]
            fields = _snapshot(definition, ends, found, version, parent)
            # What `pipeline verify` would do with that fault: fold again, and compare.
            if difference := first_difference(fields, definition, found.rows, found.event_time_ms):
                raise SystemExit(f"the fault {name!r} is not shared: {difference}")
        contents.append(avro.encode("snapshot", fields))
        parent = snapshot_id(contents[-1])
    await _publish(broker, definition, contents, newest["places"])


async def _rows(
    broker: str, definition: PolicyDefinition, ends: Mapping[int, int], faults: Mapping[str, wrong.Fault | None]
) -> dict[str, PrefixRows]:
    """Fold the ledger by the shared code, once for each fault, from one pass over it."""
    prefix = Prefix("it", definition.name, definition.generation, ends)
    folds = {name: PrefixFold([prefix]) for name in faults}
    done: dict[str, PrefixRows] = {}
    async for number, rewards, _ in read_ledger(broker, ends):
        records = [ledger_record(offset, fields) for offset, fields in rewards]
        for name, fold in folds.items():
            with wrong.Patches() as patches:
                if (fault := faults[name]) is not None:
                    fault(patches)
                done.update((name, one) for one in fold.add(number, records))
    for name, fold in folds.items():
        done.update((name, one) for one in fold.finish())
    return done


def _snapshot(
    definition: PolicyDefinition, ends: Mapping[int, int], found: PrefixRows, version: int, parent: str
) -> dict[str, Any]:
    marks = {number: Mark(end, found.event_time_ms) for number, end in ends.items()}
    return snapshot_fields(definition, found.rows, marks, version, parent)


async def _publish(
    broker: str, definition: PolicyDefinition, contents: Sequence[bytes], places: Mapping[str, int]
) -> None:
    key = definition.name.encode()
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver(
            Record(topic, number, key, content) for content in contents for topic, number in places.items()
        )
    finally:
        await outbox.stop()


async def _newest(broker: str) -> dict[str, Any]:
    """Return the one policy's newest snapshot, its id, and the partitions that it stands in."""
    entries = {topic: await _all_of(broker, topic) for topic in (SNAPSHOT_HISTORY, SNAPSHOTS)}
    found = [(avro.decode_as("snapshot", one.value), one.value) for one in entries[SNAPSHOTS] if one.value is not None]
    fields, content = max(found, key=lambda one: one[0]["version"])
    places = {topic: held[-1].partition for topic, held in entries.items()}
    return {**fields, "id": snapshot_id(content), "places": places}


async def _all_of(broker: str, topic: str) -> Sequence[Entry]:
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        return await follower.read_to_end()
    finally:
        await follower.stop()


def _seen(broker: str, folder: Path, faults: Sequence[str]) -> dict[str, str]:
    """Ask the independent proof for all of them at once; return what it says of each fault, by name."""
    status, found, _ = _run(broker, folder, "--independent", "--last", str(1 + len(faults)))
    right, *others = found["snapshots"]
    if status != 1 or right["difference"] is not None or len(others) != len(faults):
        raise SystemExit(f"the right snapshot beside {len(faults)} wrong ones is not called equal: {found}")
    said = {name: one["difference"] for name, one in zip(faults, others, strict=True)}
    if missed := [name for name, difference in said.items() if difference is None]:
        raise SystemExit(f"`pipeline verify --independent` calls equal what is wrong: {', '.join(missed)}")
    return {name: difference["where"] for name, difference in said.items()}


def _ledger(definition: PolicyDefinition, number: int, actions: int) -> Iterator[Reward]:
    """Yield a partition's records by event time: decisions, an hour behind each what settled it, an erasure."""
    mine = range(number, actions, PARTITIONS)
    each_ms = SPAN_MS // actions
    delay = max(1, min(HOUR_MS // (each_ms * PARTITIONS), len(mine)))
    for at in range(len(mine) + delay):
        event_time_ms = NOW_MS + (number + at * PARTITIONS) * each_ms
        if at < len(mine):
            yield _record(definition, mine[at], each_ms, event_time_ms, is_settled=False)
        if at >= delay:
            yield _record(definition, mine[at - delay], each_ms, event_time_ms, is_settled=True)
    erased = _record(definition, mine[-1], each_ms, event_time_ms, is_settled=True)
    yield erased._replace(revision=1 << 62, is_erased=True, reward=0)


def _record(definition: PolicyDefinition, action: int, each_ms: int, event_time_ms: int, *, is_settled: bool) -> Reward:
    decided_at_ms = NOW_MS + action * each_ms
    return Reward(
        action_id=f"0199aaaa-0000-7000-8000-{action:012d}",
        revision=1 + is_settled,
        is_settled=is_settled,
        policy=definition.name,
        generation=definition.generation,
        segment="new" if action % 3 == 0 else "all",
        arm=definition.arms[action * 7 % len(definition.arms)].name,
        reward=(1 << definition.reward_exponent) * (is_settled and action % 10 == 0),
        reward_exponent=definition.reward_exponent,
        context_vector=b"",
        decided_at_ms=decided_at_ms,
        bucket=decided_at_ms // definition.bucket_ms,
        expires_at_ms=decided_at_ms + 2 * HOUR_MS,
        event_time_ms=event_time_ms,
        attribution=definition.statistics_hash,
        outcomes=(),
        outcomes_before=WHOLE,
        decision=b"{}",
        is_erased=False,
        is_reward_final=False,
        tallies=(),
        is_analysis=False,
    )


def _chunks(records: Iterator[Reward]) -> Iterator[list[Reward]]:
    chunk: list[Reward] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _verify(broker: str, folder: Path, *options: str) -> Taken:
    """Run the command to its end; it must say equal."""
    status, found, taken = _run(broker, folder, *options)
    if status or not found.get("equal"):
        raise SystemExit(f"`pipeline verify {' '.join(options)}` does not say equal: {found.get('difference')}")
    return taken


def _run(broker: str, folder: Path, *options: str) -> tuple[int, dict[str, Any], Taken]:
    """Run the command to its end; return its exit code, what it says, and what it took."""
    told = folder / "told.json"
    command = [sys.executable, "-m", "pipeline", "verify", "--broker", broker, "--json", *options]
    began_s = time.monotonic()
    with told.open("wb") as output:
        child = _started(command, output.fileno())
    _, status, used = os.wait4(child, 0)
    found: dict[str, Any] = orjson.loads(told.read_bytes() or b"{}")
    wall_s, cpu_s = time.monotonic() - began_s, used.ru_utime + used.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return code, found, Taken(wall_s, cpu_s, used.ru_maxrss / 1024, found.get("ledger_records", 0))


def _started(command: Sequence[str], output: int) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, output, 1)]
    return os.posix_spawn(command[0], list(command), os.environ, file_actions=actions)

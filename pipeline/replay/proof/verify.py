"""Prove published snapshots: fold their ledger prefixes afresh, count anew what replays put under them, compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from aiokafka import TopicPartition

from pipeline.checkpoint.begin import Way
from pipeline.checkpoint.state import LedgerState
from pipeline.codec.readable import readable
from pipeline.learn.ledger import ledger_record, merge_deltas
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.outline import Kept
from pipeline.publish.parts import SnapshotContent, divide, part_names, whole
from pipeline.publish.snapshot import as_published, posterior_sha256, segment_posteriors
from pipeline.registry.lookup import Schemas
from pipeline.replay.proof.compare import Difference, first_difference
from pipeline.replay.proof.parts import find_parts
from pipeline.replay.proof.prefixes import Passed, Prefix, PrefixFold, PrefixRows, Rows, waves
from pipeline.replay.proof.read import check_complete, read_ledger
from pipeline.replay.proof.sample import can_be_judged, record_fault, spread
from pipeline.replay.recounting.recount_bases import Ground, count_grounds, ground_of, offsets_in, rules_of
from pipeline.stream.log.follow import taken
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.reader import STILL_WITHIN_S, open_reader
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.security import Address

OnProgress = Callable[[int, int], None]
Grounds = Mapping[Ground, Mapping[RowKey, Statistics]]
"""What replays came to, counted anew."""


class Verdict(NamedTuple):
    """What verifying a snapshot found."""

    policy: str
    version: int
    id: str
    posterior_sha256: str
    """As published."""
    ledger_records: int
    """Records that were folded."""
    difference: Difference | None
    """None: equal."""
    base_offsets: int = 0
    """Offsets that were counted anew for what a replay put under the snapshot."""


class AtOffsets(NamedTuple):
    """A policy's statistics at an offset vector."""

    policy: str
    generation: int
    posterior_sha256: str
    """What a snapshot of them would say, under the definition of the newest one."""
    rewards_counted: int
    ledger_records: int
    """Records that were folded."""


class Sampled(NamedTuple):
    """What a quick look at single ledger records found."""

    looked_at: int
    """Records whose reward was made again from their outcomes."""
    passed_over: int
    """Records of rules that are not in force any more, and of decisions that were erased."""
    fault: Difference | None
    """The first."""


async def verify_snapshots(
    broker: Address,
    snapshots: Sequence[Kept],
    on_progress: OnProgress,
    schemas: Schemas | None = None,
    way: Way | None = None,
    on_passed: Callable[[Passed], None] = lambda _: None,
) -> list[Verdict]:
    """Recompute snapshots from the ledger; the verdicts are in the order of `snapshots`.

    Args:
        broker: bootstrap servers.
        snapshots: as the history has them.
        on_progress: told how many of how many ledger records are folded.
        schemas: of records in a registry's frame, for what rests on a replay of the events.
        way: where the ledger is begun at; from its start if not given.
        on_passed: told of each checkpoint that was come by.

    Raises:
        StateError: the ledger does not hold what is needed. UnavailableError: no broker answers.
    """
    by_id = {one.id: one for one in snapshots}
    prefixes = [_prefix_of(id_, one.fields) for id_, one in by_id.items()]
    verdicts = {}
    grounds = await _grounds_of(broker, by_id.values(), on_progress, schemas)
    async for done in fold_prefixes(broker, prefixes, on_progress, way, on_passed):
        verdicts[done.prefix.name] = await _verdict(broker, done, by_id[done.prefix.name], grounds)
    return [verdicts[one.id] for one in snapshots]


async def fold_prefixes(
    broker: Address,
    prefixes: Sequence[Prefix],
    on_progress: OnProgress,
    way: Way | None = None,
    on_passed: Callable[[Passed], None] = lambda _: None,
) -> AsyncIterator[PrefixRows]:
    """Read the ledger once, from where the way begins, and yield each prefix as soon as it is complete.

    Raises:
        StateError: the ledger does not hold what is needed. UnavailableError: no broker answers.
    """
    way = way or Way()
    begun = await begun_states(broker, way)
    starts = {number: state.fold.position for number, state in begun.items()}
    fold = PrefixFold(prefixes, begun, way.passes)
    stops = waves(prefixes)
    done, total = 0, sum(end - starts.get(number, 0) for number, end in stops[-1].items())
    async for partition, rewards, count in read_ledger(broker, stops[-1], stops=stops[:-1], starts=starts):
        for complete in fold.add(partition, [ledger_record(offset, fields) for offset, fields in rewards]):
            yield complete
        done += count
        on_progress(done, total)
    for complete in fold.finish():
        yield complete
    for passed in fold.passed:
        on_passed(passed)


async def begun_states(broker: Address, way: Way) -> dict[int, LedgerState]:
    """Return what each partition goes on from; its parts are held against the names that its checkpoint gives.

    Raises:
        StateError: a checkpoint is not what it says. UnavailableError: no broker answers.
    """
    states = {number: LedgerState() for number in way.begins}
    await way.load(broker, lambda number, content: states[number].read(content))
    for number, head in way.begins.items():
        states[number].fold.position, states[number].fold.watermark_ms = head.offset, head.event_time_ms
    return states


def asked_offsets(snapshots: Sequence[Kept]) -> dict[int, tuple[int, int]]:
    """Return, by ledger partition, the first and the last offset at which one of them ends."""
    ends: dict[int, list[int]] = {}
    for one in snapshots:
        for number, end in offsets_of(one.fields).items():
            ends.setdefault(number, []).append(end)
    return {number: (min(found), max(found)) for number, found in ends.items()}


async def statistics_at(
    broker: Address,
    newest: Mapping[str, Kept],
    at_vector: Sequence[Kept],
    ends: Mapping[int, int],
    on_progress: OnProgress,
) -> tuple[list[AtOffsets], list[Verdict]]:
    """Fold the ledger up to an offset vector.

    Args:
        broker: bootstrap servers.
        newest: by policy, the snapshot whose definition the statistics are read with.
        at_vector: snapshots that say they are of this vector, to be compared.
        ends: the vector.
        on_progress: told how many of how many ledger records are folded.

    Raises:
        StateError: the ledger does not hold what is needed. UnavailableError: no broker answers.
    """
    by_id = {one.id: one for one in at_vector}
    models = {policy: one.fields for policy, one in newest.items()}
    prefixes = [Prefix("", policy, model["generation"], ends) for policy, model in models.items()]
    prefixes += [_prefix_of(id_, one.fields) for id_, one in by_id.items()]
    found: list[AtOffsets] = []
    verdicts: list[Verdict] = []
    grounds = await _grounds_of(broker, [*by_id.values(), *newest.values()], on_progress)
    async for done in fold_prefixes(broker, prefixes, on_progress):
        if done.prefix.name:
            verdicts.append(await _verdict(broker, done, by_id[done.prefix.name], grounds))
        else:
            model = models[done.prefix.policy]
            rows = _on_ground(done.rows, model, grounds)
            hash_ = posterior_sha256(definition_of(model), rows, _event_time_of(done, model))
            counted = sum(statistics.n for key, statistics in rows if not key.tally)
            found.append(AtOffsets(done.prefix.policy, done.prefix.generation, hash_, counted, done.ledger_records))
    return sorted(found), sorted(verdicts, key=lambda verdict: (verdict.policy, verdict.version))


async def look_at_sample(broker: Address, ends: Mapping[int, int], count: int, book: PolicyBook) -> Sampled:
    """Make the rewards of up to `count` ledger records, evenly spread below `ends`, again from their outcomes.

    Raises:
        StateError: the ledger is shorter than that. UnavailableError: no broker answers.
    """
    looked_at = passed_over = 0
    async for place, fields in _records_at(broker, ends, spread(ends, count)):
        definition = book.find(fields["policy"], fields["generation"])
        if definition is None or not can_be_judged(fields, definition):
            passed_over += 1
            continue
        looked_at += 1
        fault = record_fault(fields, definition)
        if fault is not None:
            where = f"ledger record {REWARDS}/{place[0]}/{place[1]}, action {fields['action_id']}: {fault.where}"
            return Sampled(looked_at, passed_over, fault._replace(where=where))
    return Sampled(looked_at, passed_over, None)


def definition_of(snapshot: Mapping[str, Any]) -> PolicyDefinition:
    """Return the definition that a snapshot carries."""
    return parse_policy(orjson.loads(snapshot["definition"]), f"snapshot {snapshot['version']}")


def offsets_of(snapshot: Mapping[str, Any]) -> dict[int, int]:
    """Return a snapshot's offset vector, without the partitions of which nothing is in."""
    return {entry["partition"]: entry["offset"] for entry in snapshot["ledger_offsets"] if entry["offset"] > 0}


def _prefix_of(name: str, snapshot: Mapping[str, Any]) -> Prefix:
    return Prefix(name, snapshot["policy"], snapshot["generation"], offsets_of(snapshot))


async def _verdict(broker: Address, done: PrefixRows, one: Kept, grounds: Grounds) -> Verdict:
    snapshot = one.fields
    definition, ground = definition_of(snapshot), ground_of(snapshot)
    if ground is not None and rules_of(ground) != definition.statistics_hash:
        difference: Difference | None = Difference(
            "rules that the replay under it counted by", rules_of(ground), definition.statistics_hash
        )
    else:
        rows = _on_ground(done.rows, snapshot, grounds)
        as_of_ms = _event_time_of(done, snapshot)
        filled = await _with_posteriors(broker, one, definition, rows, as_of_ms)
        if isinstance(filled, Difference):
            difference = filled
        else:
            difference = first_difference(filled, definition, rows, as_of_ms, is_outline=one.is_outline)
    return Verdict(
        snapshot["policy"],
        snapshot["version"],
        done.prefix.name,
        snapshot["posterior_sha256"],
        done.ledger_records,
        difference,
        0 if ground is None else offsets_in(ground),
    )


def _event_time_of(done: PrefixRows, snapshot: Mapping[str, Any]) -> int:
    """Return the latest event time that is in; where nothing was learned beside a base, the base's."""
    at_base_ms: int = snapshot["event_time_ms"]
    return done.event_time_ms if offsets_of(snapshot) else at_base_ms


async def _with_posteriors(
    broker: Address, one: Kept, definition: PolicyDefinition, rows: Rows, as_of_ms: int
) -> Mapping[str, Any] | Difference:
    """Return a snapshot's fields with the posteriors of its parts.

    What is made again has the name of what was published where they are equal to the bit; only the others are read.
    """
    snapshot = one.fields
    if one.is_outline or not snapshot["parts"]:
        return snapshot
    aged = as_published(snapshot["posterior_sha256"], definition, rows, as_of_ms)
    parts = divide({**snapshot, "segments": segment_posteriors(definition, aged, as_of_ms), "parts": []}).parts
    others = [name for name in part_names(snapshot) if name not in parts]
    found = {**parts, **await find_parts(broker, others)}
    missing = [name for name in others if name not in found]
    if missing:
        where = f"{len(missing)} of {len(snapshot['parts'])} parts, the first is {missing[0]}"
        return Difference(where, "not what is recomputed, and not kept any more", "there")
    return whole(SnapshotContent(one.content, found))


async def _grounds_of(
    broker: Address, snapshots: Iterable[Kept], on_progress: OnProgress, schemas: Schemas | None = None
) -> Grounds:
    """Count anew what replays put under snapshots."""
    grounds = [ground_of(one.fields) for one in snapshots]
    return await count_grounds(broker, [ground for ground in grounds if ground is not None], on_progress, schemas)


def _on_ground(rows: Rows, snapshot: Mapping[str, Any], grounds: Grounds) -> Rows:
    """Add what a snapshot rests on to what was learned beside it."""
    ground = ground_of(snapshot)
    if ground is None:
        return rows
    merged = dict(rows)
    merge_deltas(merged, grounds[ground].items())
    return sorted(merged.items(), key=lambda row: row[0])


async def _records_at(
    broker: Address, ends: Mapping[int, int], places: Sequence[tuple[int, int]]
) -> AsyncIterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Yield the ledger record at each place; where the log has none there, the next one."""
    tell = PassedOver(REWARDS)
    targets = {TopicPartition(REWARDS, number): end for number, end in ends.items()}
    has_come = asyncio.Event()
    async with open_reader(broker) as reader:
        await check_complete(reader, targets)
        for number, offset in places:
            reading = reader.begin(TopicPartition(REWARDS, number), offset, has_come, asyncio.Event())
            while not (found := [record for batch in taken([reading]) for record in batch.records]):
                if reading.taken >= ends[number]:
                    break
                has_come.clear()
                async with asyncio.timeout(STILL_WITHIN_S):
                    await has_come.wait()
            reader.finish(reading)
            pairs = ((record.offset, record.value) for record in found[:1])
            for at, _, fields in readable(number, pairs, "reward", pass_over=tell):
                yield (number, at), fields

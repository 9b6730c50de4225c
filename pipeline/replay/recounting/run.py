"""A replay from end to end: plan it or go on with it, count, and put what came of it into `statistics`.

    1. the journal says which plan, and up to which offsets          (replay.json in the folder)
    2. every partition is counted up to there                        (a RocksDB each in the folder)
    3. the sums are sent under sources that nothing else uses
    4. a base record puts them in force, all at once; the journal notes it

Stopped anywhere, it goes on from there when it is started again. With nothing left to do it goes on to a new end:
that is how decisions that were made meanwhile are caught up with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.errors import ConfigError, StateError
from pipeline.join.step import Limits
from pipeline.policy.definition import PolicyDefinition
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.base import FindBase, FoundBase, base_key, base_record, source_batches
from pipeline.replay.recounting.cuts import Cut, parse_offsets, steps_back
from pipeline.replay.recounting.journal import Journal, journal_of, read_journal
from pipeline.replay.recounting.log import Log, open_log
from pipeline.replay.recounting.plan import Source, make_plan
from pipeline.replay.recounting.rebuild import OnProgress, Rebuilt, rebuild, topics_of
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import Record
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import STATISTICS, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

Where = int | str
"""Broker's time in epoch milliseconds; or `start`, `end`, or offsets such as `decisions/0=12`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for."""

    policy: str
    """Whose past is counted."""
    into: int
    """The generation to make."""
    folder: Path
    """Where the replay keeps what it has counted."""
    start: Where | None = None
    """Where to begin; offset 0 if not given."""
    end: Where | None = None
    """Where to stop; the present end if not given."""
    definition: PolicyDefinition | None = None
    """What is counted by; the definition in force if not given."""
    source: Source = "events"
    """What is read."""
    limits: Limits = field(default_factory=Limits)
    """How patient JOIN is."""
    schemas: Schemas | None = None
    """Of records in a registry's frame."""


async def replay(broker: Address, request: Request, by: Operator, on_progress: OnProgress) -> tuple[Journal, Rebuilt]:
    """Do what is asked for, or go on with it.

    Raises:
        ConfigError: what is asked for can't be done, or contradicts what was begun.
        StateError: the log no longer holds what is needed. UnavailableError: no broker answers.
    """
    journal = await _journal(broker, request)
    if not journal.is_unfinished:
        await _set_end(broker, request, journal)
    rebuilt = await rebuild(broker, journal.plan, journal.cuts, request.folder, on_progress, request.schemas)
    await _send(broker, by, journal, rebuilt, request.folder)
    return journal, rebuilt


async def read_base(broker: Address, policy: str, generation: int) -> FoundBase | None:
    """Return what a replay has made of a policy's generation, if one has."""
    finding = FindBase(policy, generation, PassedOver(STATISTICS))
    follower = TopicFollower(broker, STATISTICS, only=partial(partition_for, policy))
    try:
        await follower.start()
        async for entries in follower.batches_to_end():
            for entry in entries:
                finding.see(entry.partition, entry.offset, entry.key, entry.value)
    finally:
        await follower.stop()
    return finding.found


async def _journal(broker: Address, request: Request) -> Journal:
    """Return the journal of what was begun, or a new one."""
    journal = read_journal(request.folder)
    found = await read_base(broker, request.policy, request.into)
    if journal is None and found is not None:
        journal = journal_of(found)
    if journal is not None:
        _check_same(request, journal)
        _check_sent(journal, found, request)
        return journal
    policies = Policies(broker)
    try:
        await policies.start()
    finally:
        await policies.stop()
    plan = make_plan(policies.book, request.policy, request.into, request.definition, request.source, request.limits)
    async with open_log(broker, topics_of(plan)) as log:
        begin = await log.begin()
        start = await _offsets(log, request.start, {topic: dict.fromkeys(log.numbers, 0) for topic in begin})
    lost = steps_back(begin, start)
    if lost:
        advice = "--from start counts what is kept; --ledger what was learned, whose log is kept for ever"
        raise ConfigError("--from", [f"{fault}, the first that retention has kept: {advice}" for fault in lost])
    return Journal(plan, [start])


def _check_same(request: Request, journal: Journal) -> None:
    """Refuse to go on with something else than what was begun."""
    definition, plan = request.definition, journal.plan
    faults = []
    if plan.definition.name != request.policy or plan.definition.generation != request.into:
        faults.append(f"{request.folder} is that of {plan.definition.name!r} generation {plan.definition.generation}")
    if plan.source != request.source:
        faults.append(f"it was begun from {plan.source}, asked for is {request.source}: see --ledger")
    if definition is not None and definition.statistics_hash != plan.definition.statistics_hash:
        faults.append("it was begun with another definition; replay this one into another generation")
    if faults:
        raise ConfigError(f"replay into generation {request.into}", faults)


def _check_sent(journal: Journal, found: FoundBase | None, request: Request) -> None:
    """Take note of a base that was sent just before an interruption; refuse one of somebody else."""
    if found is None and journal.sent:
        raise StateError(
            f"{request.folder} says that a base was sent, but {STATISTICS} has none of generation {request.into} of "
            f"{request.policy!r}: is it another broker? Use another folder"
        )
    if found is None or found.next_source == journal.next_source:
        return
    if found.base.plan == journal.plan.to_json() and found.cuts == journal.cuts and journal.is_unfinished:
        journal.note_sent(found.base.sources)
        journal.write(request.folder)
        return
    raise ConfigError(
        f"replay into generation {request.into}",
        [f"another replay than that in {request.folder} has sent a base: go on in its folder, or remove this one"],
    )


async def _set_end(broker: Address, request: Request, journal: Journal) -> None:
    async with open_log(broker, topics_of(journal.plan)) as log:
        present = await log.end()
        end = await _offsets(log, request.end, present)
    beyond = steps_back(end, present)
    if beyond:
        raise ConfigError("--to", [f"{fault}: that is not written yet" for fault in beyond])
    back = steps_back(journal.cuts[-1], end)
    if back:
        raise ConfigError("--to", [f"{fault}, where the replay is already" for fault in back])
    if end != journal.cuts[-1] or len(journal.cuts) == 1:
        journal.cuts.append(end)
        journal.write(request.folder)


async def _offsets(log: Log, where: Where | None, default: Mapping[str, Mapping[int, int]]) -> Cut:
    """Return the offsets that an operator means."""
    if where is None:
        return default
    if isinstance(where, int):
        return await log.at(where)
    if where == "start":
        return await log.begin()
    if where == "end":
        return await log.end()
    given = parse_offsets(where, list(default))
    strange = [f"{topic} has no partition {number}" for topic in given for number in given[topic].keys() - log.numbers]
    if strange:
        raise ConfigError("offsets", strange)
    return {topic: {**offsets, **given[topic]} for topic, offsets in default.items()}


async def _send(broker: Address, by: Operator, journal: Journal, rebuilt: Rebuilt, folder: Path) -> None:
    """Send the sums and the base that puts them in force, unless that was done."""
    if not journal.is_unfinished:
        return
    plan, first, time_ms = journal.plan, journal.next_source, rebuilt.event_time_ms
    name, generation = plan.definition.name, plan.definition.generation
    batches = source_batches(plan, rebuilt.rows.items(), first, time_ms)
    counted = {"rows": len(rebuilt.rows), "decisions": sum(row.n for row in rebuilt.rows.values())}
    after = {**counted, "source": plan.source, "definition_hash": plan.definition.definition_hash}
    async with changing(broker, by, Change(f"generation {generation}", name, None, after)) as outbox:
        to = partition_for(name, await outbox.partition_count(STATISTICS))
        for batch in batches:
            rows: Mapping[bytes, Any] = batch
            await outbox.deliver_atomically(STATISTICS, to, rows)
        base = base_record(plan, journal.cuts, first, len(batches), time_ms)
        await outbox.deliver([Record(STATISTICS, to, base_key(name, generation), base)])
    journal.note_sent(len(batches))
    journal.write(folder)

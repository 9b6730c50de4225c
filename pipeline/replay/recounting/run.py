"""A replay from end to end: plan it or go on with it, count, and put what came of it into `statistics`.

    1. the journal says which plan, and up to which offsets          (replay.json in the folder)
    2. every partition is counted up to there                        (a RocksDB each in the folder)
    3. the generation is claimed, and the sums are sent under sources that nothing else uses
    4. a base record puts them in force, all at once; the journal notes it

Stopped anywhere, it goes on from there when it is started again. With nothing left to do it goes on to a new end:
that is how decisions that were made meanwhile are caught up with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.errors import ConfigError, FencedError, StateError
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.base import FindBase, FoundBase, base_key, base_record, source_batches
from pipeline.replay.recounting.cuts import Cut, parse_offsets, steps_back
from pipeline.replay.recounting.journal import Journal, journal_of, read_journal
from pipeline.replay.recounting.loaded import is_loaded
from pipeline.replay.recounting.log import Log, open_log
from pipeline.replay.recounting.plan import ReplayPlan, Source, make_plan, renewed, uncounted
from pipeline.replay.recounting.rebuild import OnProgress, Rebuilt, rebuild, topics_of
from pipeline.replay.recounting.three_way import differing_places
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import STATISTICS, partition_for
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

OWNER_PREFIX = "pipeline-replay-"
"""Of the names that generations are claimed by, on whatever application the workers run."""

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
    await _send(broker, by, journal, rebuilt, request)
    return journal, rebuilt


async def read_base(broker: Address, policy: str, generation: int) -> FoundBase | None:
    """Return what a replay has made of a policy's generation, if one has."""
    return (await _find_base(broker, policy, generation)).found


async def _find_base(broker: Address, policy: str, generation: int) -> FindBase:
    finding = FindBase(policy, generation, PassedOver(STATISTICS))
    follower = TopicFollower(broker, STATISTICS, only=partial(partition_for, policy))
    try:
        await follower.start()
        async for entries in follower.batches_to_end():
            for entry in entries:
                finding.see(entry.partition, entry.offset, entry.key, entry.value)
    finally:
        await follower.stop()
    return finding


async def _journal(broker: Address, request: Request) -> Journal:
    """Return the journal of what was begun, or a new one."""
    journal = read_journal(request.folder)
    found = await read_base(broker, request.policy, request.into)
    if journal is None and found is not None:
        journal = journal_of(found)
    policies = Policies(broker)
    try:
        await policies.start()
    finally:
        await policies.stop()
    has_history = await is_loaded(broker, request.policy)
    if journal is not None:
        return await _gone_on_with(broker, journal, found, request, policies.book, has_history=has_history)
    plan = _plan(policies.book, request, has_history=has_history)
    async with open_log(broker, topics_of(plan)) as topics:
        begin = await topics.begin()
        start = await _offsets(topics, request.start, {topic: dict.fromkeys(topics.numbers, 0) for topic in begin})
    lost = steps_back(begin, start)
    if lost:
        advice = "--from start counts what is kept; --ledger what was learned, whose log is kept for ever"
        raise ConfigError("--from", [f"{fault}, the first that retention has kept: {advice}" for fault in lost])
    return Journal(plan, [start], asked=_asked(request))


async def _gone_on_with(
    broker: Address,
    journal: Journal,
    found: FoundBase | None,
    request: Request,
    book: PolicyBook,
    *,
    has_history: bool,
) -> Journal:
    """Return the journal of what was begun; of a plan made anew, where the past has got what it does not count."""
    has_history &= request.source == "events"
    missed = uncounted(journal.plan, book, has_history=has_history)
    _check_same(request, journal, is_anew=bool(missed))
    _check_sent(journal, found, request)
    if not missed:
        return journal
    log.warning("replay-begins-anew policy=%s generation=%s added=%s", request.policy, request.into, ", ".join(missed))
    asked = _asked(request)
    # The same file again asks for what it did, and knows nothing of what was added.
    if asked in ("", journal.asked):
        plan = renewed(journal.plan, book, has_history=has_history)
    else:
        plan = _plan(book, request, has_history=has_history)
    anew = journal.anew(plan, request.folder, asked or journal.asked)
    if plan.has_history and not journal.plan.has_history:
        async with open_log(broker, topics_of(plan)) as topics_log:
            anew.cuts = [{**{topic: dict.fromkeys(topics_log.numbers, 0) for topic in topics_of(plan)}, **anew.cuts[0]}]
    return anew


def _plan(book: PolicyBook, request: Request, *, has_history: bool) -> ReplayPlan:
    return make_plan(
        book,
        request.policy,
        request.into,
        request.definition,
        request.source,
        request.limits,
        has_history=has_history,
    )


def _asked(request: Request) -> str:
    definition = request.definition
    return "" if definition is None else replace(definition, generation=request.into).definition_hash


def _check_same(request: Request, journal: Journal, *, is_anew: bool) -> None:
    """Refuse to go on with something else than what was begun."""
    definition, plan = request.definition, journal.plan
    faults = []
    if plan.definition.name != request.policy or plan.definition.generation != request.into:
        faults.append(f"{request.folder} is that of {plan.definition.name!r} generation {plan.definition.generation}")
    if plan.source != request.source:
        faults.append(f"it was begun from {plan.source}, asked for is {request.source}: see --ledger")
    if definition is not None and not is_anew:
        given = replace(definition, generation=request.into)
        if given.definition_hash not in (journal.asked, plan.definition.definition_hash):
            places = ", ".join(".".join(path) for path in differing_places(plan.definition, given))
            faults.append(
                f"it was begun with another definition, which differs in {places}: leave --definition out to go on, or "
                f"replay this one into a generation that is free"
            )
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
        journal.note_sent(found.base.first_source, found.base.sources)
        journal.write(request.folder)
        return
    raise ConfigError(
        f"replay into generation {request.into}",
        [
            (
                f"another replay than that in {request.folder} has made it meanwhile (pipeline audit list --policy "
                f"{request.policy}): go on in its folder; or remove this one, and what was sent says how to go on"
            )
        ],
    )


async def _set_end(broker: Address, request: Request, journal: Journal) -> None:
    async with open_log(broker, topics_of(journal.plan)) as topics:
        present = await topics.end()
        end = await _offsets(topics, request.end, present)
    beyond = steps_back(end, present)
    if beyond:
        raise ConfigError("--to", [f"{fault}: that is not written yet" for fault in beyond])
    back = steps_back(journal.cuts[-1], end)
    if back:
        raise ConfigError("--to", [f"{fault}, where the replay is already" for fault in back])
    if end != journal.cuts[-1] or len(journal.cuts) == 1:
        journal.cuts.append(end)
        journal.write(request.folder)


async def _offsets(topics: Log, where: Where | None, default: Mapping[str, Mapping[int, int]]) -> Cut:
    """Return the offsets that an operator means."""
    if where is None:
        return default
    if isinstance(where, int):
        return await topics.at(where)
    if where == "start":
        return await topics.begin()
    if where == "end":
        return await topics.end()
    given = parse_offsets(where, list(default))
    strange = [
        f"{topic} has no partition {number}" for topic in given for number in given[topic].keys() - topics.numbers
    ]
    if strange:
        raise ConfigError("offsets", strange)
    return {topic: {**offsets, **given[topic]} for topic, offsets in default.items()}


async def _send(broker: Address, by: Operator, journal: Journal, rebuilt: Rebuilt, request: Request) -> None:
    """Send the sums and the base that puts them in force, unless that was done.

    A generation is claimed as a partition is: from the fence on nothing of another replay is taken, and what it has
    sent before is read behind it.
    """
    if not journal.is_unfinished:
        return
    plan = journal.plan
    name, generation = plan.definition.name, plan.definition.generation
    counted = {"rows": len(rebuilt.rows), "decisions": sum(row.n for row in rebuilt.rows.values())}
    after = {**counted, "source": plan.source, "definition_hash": plan.definition.definition_hash}
    change = Change(f"generation {generation}", name, None, after)
    owner = f"{OWNER_PREFIX}{name}-{generation}"
    try:
        await _send_claimed(broker, by, change, owner, journal, rebuilt, request)
    except FencedError as error:
        fault = "another replay of it began to send while this one did: run this again, which says what became of it"
        raise ConfigError(f"replay into generation {generation}", [fault]) from error


async def _send_claimed(
    broker: Address, by: Operator, change: Change, owner: str, journal: Journal, rebuilt: Rebuilt, request: Request
) -> None:
    plan, time_ms = journal.plan, rebuilt.event_time_ms
    name, generation = plan.definition.name, plan.definition.generation
    async with changing(broker, by, change, owner) as outbox:
        to = partition_for(name, await outbox.partition_count(STATISTICS))
        await outbox.fence(STATISTICS, to)
        finding = await _find_base(broker, name, generation)
        _check_sent(journal, finding.found, request)
        if not journal.is_unfinished:
            return
        first = finding.free_source
        batches = source_batches(plan, rebuilt.rows.items(), first, time_ms)
        for batch in batches:
            rows: Mapping[bytes, Any] = batch
            await outbox.deliver_atomically(STATISTICS, to, rows)
        base = base_record(plan, journal.cuts, first, len(batches), time_ms)
        await outbox.deliver_atomically(STATISTICS, to, {base_key(name, generation): base})
    journal.note_sent(first, len(batches))
    journal.write(request.folder)

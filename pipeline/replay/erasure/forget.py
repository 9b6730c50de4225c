"""Forget a person: find their decisions, have them erased, wait until the ledger says so, and record that it was done.

Then what was refused and names them is taken from `dead-letters`.

At least once, and once in effect: what an interrupted run has asked for is found answered by the next.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.audit.entry import Change
from pipeline.audit.record import Operator, changing
from pipeline.codec import avro
from pipeline.codec.forwarded import forwarded_in
from pipeline.codec.framed import schema_ids
from pipeline.codec.readable import readable
from pipeline.errors import StateError, UnavailableError
from pipeline.registry.lookup import Schemas
from pipeline.replay.dead_letters.letters import DeadLetter
from pipeline.replay.dead_letters.resend import read_letters
from pipeline.replay.erasure.forgetting import Forgetting, decision_of, subject_sha256
from pipeline.replay.erasure.late_erasures import Behind, behind, read_bases, run_on
from pipeline.replay.erasure.letters_of import letters_of, replacement
from pipeline.replay.erasure.person import Person
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import DEAD_LETTERS, DECISIONS, ERASURES, HISTORY_DECISIONS, REWARDS, existing_topics
from pipeline.stream.security import Address

POLL_S = 0.2
CHUNK = 1_000
"""Erasures that are delivered together."""

WORK_DIR = Path("var/replay")

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much of it."""


class Forgotten(NamedTuple):
    """What forgetting a person came to."""

    subject_sha256: str
    actions: int
    """Decisions found."""
    taken_back: int
    """Of them: counted in statistics, and do no more, by this run or an earlier one."""
    counting: int
    """Of them: count at present."""
    replays: tuple[str, ...]
    """`policy/generation` of replays that had counted some of them, and were run on to take them back."""
    dead_letters: int
    """Refused records that named the person or an action of theirs, and were replaced by ones that don't."""
    requested_at_ms: int
    finished_at_ms: int


async def forget(
    broker: Address,
    person: Person,
    by: Operator,
    *,
    schemas: Schemas,
    dry_run: bool,
    timeout_s: float,
    work_dir: Path = WORK_DIR,
    on_progress: OnProgress = lambda _what, _done, _total: None,
) -> Forgotten:
    """Erase all decisions of a person that `decisions` still holds; with `dry_run`, only count them.

    Replays that counted some of them are run on, in their folders under `work_dir`.

    Raises:
        UnavailableError: no broker answers, or no worker has done it in time.
        StateError: the ledger has lost its beginning, or a replay can't be run on.
    """
    requested_at_ms = round(time.time() * 1000)
    forgetting = await _find(broker, person, schemas, on_progress)
    ledger = TopicFollower(broker, REWARDS)
    await ledger.start()
    try:
        await _read(ledger, forgetting, lambda done, total: on_progress("reading the ledger", done, total))
        if dry_run:
            letters = await _letters(broker, person, forgetting)
            return _report(person, forgetting, await _behind(broker, forgetting), letters, requested_at_ms)
        change = Change(f"person {subject_sha256(person.hashes[0])}", after={"decisions": len(forgetting.actions)})
        async with changing(broker, by, change) as outbox:
            await _erase(outbox, ledger, forgetting, timeout_s, on_progress)
            replays = await _behind(broker, forgetting)
            for one in replays:
                name = f"replaying {one.policy} into {one.generation}"
                await run_on(broker, one, work_dir, by, lambda *of, name=name: on_progress(name, *of), schemas)
            letters = await _letters(broker, person, forgetting)
            await outbox.deliver(Record(DEAD_LETTERS, one.letter_partition, *replacement(one)) for one in letters)
            report = _report(person, forgetting, replays, letters, requested_at_ms)
            await outbox.deliver(_receipt(report, each) for each in person.hashes)
            return report
    finally:
        await ledger.stop()


async def _letters(broker: Address, person: Person, forgetting: Forgetting) -> list[DeadLetter]:
    return list(letters_of((await read_letters(broker)).letters, person, forgetting.actions))


def _report(
    person: Person,
    forgetting: Forgetting,
    replays: Sequence[Behind],
    letters: Sequence[DeadLetter],
    requested_at_ms: int,
) -> Forgotten:
    return Forgotten(
        subject_sha256(person.hashes[0]),
        len(forgetting.actions),
        forgetting.taken_back,
        forgetting.counting,
        tuple(f"{one.policy}/{one.generation}" for one in replays),
        len(letters),
        requested_at_ms,
        round(time.time() * 1000),
    )


async def read_forgotten(broker: Address) -> list[dict[str, Any]]:
    """Return the records of who was forgotten, oldest first."""
    follower = TopicFollower(broker, ERASURES)
    await follower.start()
    try:
        records = await follower.read_to_end()
    finally:
        await follower.stop()
    tell = PassedOver(ERASURES)
    pairs = ((record.offset, record.value) for record in records)
    return [fields for _, _, fields in readable(0, pairs, "forgotten", pass_over=tell)]


async def _find(broker: Address, person: Person, schemas: Schemas, on_progress: OnProgress) -> Forgetting:
    found = Forgetting(pass_over=PassedOver(REWARDS))
    for topic in (DECISIONS, *({HISTORY_DECISIONS} & await existing_topics(broker))):
        await _find_in(broker, topic, person, schemas, found, on_progress)
    return found


async def _find_in(
    broker: Address, topic: str, person: Person, schemas: Schemas, found: Forgetting, on_progress: OnProgress
) -> None:
    follower = TopicFollower(broker, topic)
    await follower.start()
    try:
        async for records in follower.batches_to_end(lambda *of: on_progress(f"looking through {topic}", *of)):
            await schemas.look_up(schema_ids(record.value for record in records))
            for record in records:
                sent = forwarded_in(record.value)
                raw = record.value if sent is None else sent.raw
                for subject in person.subjects:
                    decision = decision_of(raw, subject, schemas)
                    if decision is not None:
                        found.find(record.partition, decision, is_forwarded=sent is not None)
    finally:
        await follower.stop()


async def _read(
    ledger: TopicFollower, forgetting: Forgetting, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    firsts = await ledger.first_offsets()
    for number in forgetting.partitions:
        if firsts[number] > 0:
            raise StateError(
                f"{REWARDS}/{number} begins at offset {firsts[number]}, 0 is needed: what its decisions counted for "
                "can't be told. Give the topic unlimited retention"
            )
    async for records in ledger.batches_to_end(on_progress):
        by_partition = defaultdict(list)
        for record in records:
            by_partition[record.partition].append((record.offset, record.value))
        for number in by_partition.keys() & set(forgetting.partitions):
            forgetting.read(number, by_partition[number])


async def _erase(
    outbox: Outbox, ledger: TopicFollower, forgetting: Forgetting, timeout_s: float, on_progress: OnProgress
) -> None:
    total, deadline_s = forgetting.remaining, time.monotonic() + timeout_s
    while forgetting.remaining:
        on_progress("erasing", total - forgetting.remaining, total)
        asked = forgetting.ask()
        for start in range(0, len(asked), CHUNK):
            await outbox.deliver(
                Record(DECISIONS, one.partition, one.erasure.action_id.encode(), one.value)
                for one in asked[start : start + CHUNK]
            )
        if time.monotonic() > deadline_s:
            raise UnavailableError(
                f"{forgetting.remaining} of {total} decisions were asked to be erased, and are not yet after "
                f"{timeout_s:g} s: is a worker running? It will do it when it comes to it; run this again to see"
            )
        await asyncio.sleep(POLL_S)
        await _read(ledger, forgetting)


async def _behind(broker: Address, forgetting: Forgetting) -> list[Behind]:
    """Return the replays that have counted one of the decisions and not read its erasure."""
    bases = await read_bases(broker)
    if not bases or not forgetting.actions:
        return []
    follower = TopicFollower(broker, DECISIONS)
    await follower.start()
    try:
        async for records in follower.batches_to_end():
            for one in records:
                forgetting.find_erasure(one.partition, one.offset, one.key, one.value)
    finally:
        await follower.stop()
    ends = {DECISIONS: forgetting.asked_until, REWARDS: forgetting.answered_until}
    return behind(bases, forgetting.counts, ends)


def _receipt(report: Forgotten, subject_hash: str) -> Record:
    fields = report._asdict() | {"subject_sha256": subject_sha256(subject_hash)}
    del fields["counting"], fields["replays"], fields["dead_letters"]
    return Record(ERASURES, 0, fields["subject_sha256"].encode(), avro.encode("forgotten", fields))

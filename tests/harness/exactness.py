"""What the loop has come to, held against what it must come to.

Reads the topics from outside when everything has settled. The one side is what the loop wrote; the other is
`tests/naive`, which shares no code with it. Says all that is wrong, not just the first.
"""

from __future__ import annotations

import json
import random
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.codec import avro
from pipeline.stream.log.topics import (
    DECISIONS,
    JOIN_TABLE,
    OUTCOMES,
    REWARDS,
    SNAPSHOT_HISTORY,
    SNAPSHOTS,
    changelog_topic,
)
from tests.harness.client import Client, partition_of
from tests.harness.known import Traffic
from tests.naive.fold import NaiveEntry, NaiveFold, naive_ledger, reward_exponent, sha256_of, sum_up
from tests.naive.ledger import pieced_together

PROGRESS = b"s"
"""Key of the row in JOIN's changelog that says how far a partition is, and what became of what was read."""
LOOKED_AT = 10
"""So many snapshots of each policy are folded again from their prefix of the ledger."""
TOLD = 5
"""Of each kind of complaint."""

Ledger = list[tuple[int, int, dict[str, Any]]]
"""(partition, offset, record), in order within a partition."""


class Finding(NamedTuple):
    """What was found."""

    events: int
    """Decisions and outcomes in the topics, ticks and all."""
    redelivered: int
    """Ledger records and dead letters that were written more than once, each time counted: work done again."""
    lost: int
    """Decisions, outcomes and dead letters that should be there and are not."""
    doubled: int
    """Those that count more than once, or should not be there at all."""
    is_hash_equal: bool
    """Whether each policy's last posterior has the naive fold's hash."""
    complaints: Sequence[str]
    """All that is wrong, in words; empty: nothing."""


class Examination:
    """One look at a settled loop."""

    def __init__(
        self,
        client: Client,
        app_id: str,
        streams: Sequence[Traffic],
        refused: Mapping[str, int],
        places: Mapping[str, int] | None = None,
        forgotten: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        """Take what is expected.

        Args:
            client: reads the topics.
            app_id: of the deployment.
            streams: what was sent under each policy.
            refused: how many dead letters there must be, by reason.
            places: the partition of each action, where the harness did not choose it.
            forgotten: by topic and partition: how many records were read that it holds no more.
        """
        self._places = places
        self._forgotten = forgotten or {}
        self._client = client
        self._app_id = app_id
        self._streams = streams
        self._refused = refused
        self.lost = self.doubled = self.redelivered = 0
        self.complaints: list[str] = []
        self.settled_at_s = 0.0
        """When the last expected posterior was there, by the monotonic clock."""

    async def look(self, *, within_s: float, seed: int) -> Finding:
        """Wait until everything has settled, and look at all of it."""
        await self._client.quiet(within_s)
        is_hash_equal = True
        for stream in self._streams:
            try:
                await self._client.last_snapshot(stream.policy["name"], stream.naive.sha256)
            except AssertionError as error:
                is_hash_equal = False
                self.complaints.append(f"{stream.policy['name']}: the posterior is not the naive one: {error}")
        self.settled_at_s = time.monotonic()
        ledger = await self._ledger()
        for stream in self._streams:
            self._check_ledger(stream, ledger)
            await self._check_snapshots(stream, ledger, random.Random(seed))  # noqa: S311  nothing is kept secret
        self.redelivered += repeats((r["action_id"], r["revision"]) for _, _, r in ledger)
        events = await self._check_conservation()
        await self._check_dead_letters()
        return Finding(events, self.redelivered, self.lost, self.doubled, is_hash_equal, self.complaints)

    def _complain(self, what: str, which: Sequence[Any]) -> None:
        if which:
            shown = ", ".join(str(one) for one in which[:TOLD])
            self.complaints.append(f"{len(which)} {what}: {shown}{', …' if len(which) > TOLD else ''}")

    async def _ledger(self) -> Ledger:
        parts: defaultdict[int, list[Any]] = defaultdict(list)
        for record in await self._client.read(REWARDS):
            parts[record.partition].append(record)
        return [
            (number, record.offset, whole)
            for number, part in sorted(parts.items())
            for record, whole in zip(
                part, pieced_together(avro.decode_as("reward", one.value) for one in part), strict=True
            )
        ]

    def _check_ledger(self, stream: Traffic, ledger: Ledger) -> None:
        """Compare each action's final record, once repeats are removed by action and revision."""
        name = stream.policy["name"]
        expected = naive_ledger(stream.policy, *plain(stream))
        found = {record["action_id"]: record for record in final(ours(stream, ledger))}
        missing = sorted(expected.keys() - found.keys())
        strange = sorted(found.keys() - expected.keys())
        self._complain(f"decisions of {name} are not in the ledger", missing)
        self._complain(f"decisions of {name} are in the ledger that nobody made", strange)
        self.lost += len(missing)
        self.doubled += len(strange)
        wrong = []
        for action_id in expected.keys() & found.keys():
            entry, record = expected[action_id], found[action_id]
            credited = Counter(outcome["outcome_id"] for outcome in record["outcomes"])
            self.lost += len(entry.outcomes - credited.keys())
            self.doubled += sum((credited - Counter(entry.outcomes)).values())
            # Facts: the decision, each outcome, that it is settled.
            is_final = record["is_settled"] and record["revision"] == 2 + len(entry.outcomes)
            if not is_final or entry_of(record) != entry:
                wrong.append(f"{action_id}: {entry_of(record)} instead of {entry}, revision {record['revision']}")
        self._complain(f"ledger entries of {name} are wrong", wrong)

    async def _check_snapshots(self, stream: Traffic, ledger: Ledger, rng: random.Random) -> None:
        """No version is used for two contents, none is left out, each names the one before, and each is its prefix."""
        name = stream.policy["name"]
        contents: defaultdict[int, set[str]] = defaultdict(set)
        snapshots: dict[int, Mapping[str, Any]] = {}
        for one in await self._client.published(SNAPSHOT_HISTORY):
            if one.fields["policy"] == name:
                contents[one.fields["version"]].add(one.id)
                snapshots[one.fields["version"]] = one.fields
        versions = sorted(snapshots)
        self._complain(f"versions of {name} stand for two contents", [v for v in versions if len(contents[v]) > 1])
        self._complain(f"versions of {name} are left out", sorted(set(range(1, len(versions) + 1)) - set(versions)))
        orphans = [v for v in versions[1:] if snapshots[v]["parent"] not in contents.get(v - 1, ())]
        self._complain(f"snapshots of {name} do not name the one before", orphans)
        live = [one for one in await self._client.published(SNAPSHOTS) if one.fields["policy"] == name][-1]
        version, last = live.fields["version"], versions[-1]
        self._complain(f"live version of {name} is not the last one, {last}", [version] * (version != last))
        self._complain(f"live content of {name} is not the history's", [live.id] * (live.id not in contents[version]))
        self._count_excess(stream, live.fields)
        looked_at = rng.sample(versions, min(LOOKED_AT, len(versions)))
        torn = [v for v in sorted(looked_at) if not is_prefix(stream, snapshots[v], ledger)]
        self._complain(f"snapshots of {name} are not the fold of their prefix of the ledger", torn)

    def _count_excess(self, stream: Traffic, snapshot: Mapping[str, Any]) -> None:
        lost, doubled = excess(stream.naive, snapshot)
        self.lost += lost
        self.doubled += doubled

    async def _check_conservation(self) -> int:
        """Law 5 for each partition, with the very numbers that it must come to; return how many events there are."""
        progress, in_topic, ends = await self._still()
        total = 0
        for stream, due in ((DECISIONS, self._decisions_due()), (OUTCOMES, self._outcomes_due())):
            total += in_topic[stream].total()
            held, end = in_topic[stream], ends[stream]
            for number in range(self._client.partitions):
                _, positions, _, _, counts, _ = progress.get(number, (2, {DECISIONS: 0, OUTCOMES: 0}, {}, 0, {}, 0))
                fates = {
                    name.removeprefix(f"{stream}."): n for name, n in counts.items() if name.startswith(f"{stream}.")
                }
                read = fates.pop("read", 0)
                where = f"{stream}/{number}"
                # What retention took before it was read counts as read, and as gone.
                due_read = held[number] + self._forgotten.get((stream, number), 0)
                if (positions[stream], read - fates.get("gone", 0)) != (end[number], due_read):
                    self.complaints.append(
                        f"{where}: {due_read} records up to {end[number]}, read {read} up to {positions[stream]}"
                    )
                if read != sum(fates.values()):
                    self.complaints.append(f"{where}: read {read}, accounted for {sum(fates.values())}: {fates}")
                seen = {fate: fates.get(fate, 0) for fate in due[number]}
                if seen != due[number]:
                    self.complaints.append(f"{where}: {seen} instead of {due[number]}; all: {fates}")
        return total

    async def _still(self) -> tuple[dict[int, Any], dict[str, Counter[int]], dict[str, Mapping[int, int]]]:
        """Return JOIN's progress, and what the topics hold, of one moment: a tick may come while one reads."""
        while True:
            before = await self._ends()
            in_topic = {
                stream: Counter(record.partition for record in await self._client.read(stream))
                for stream in (DECISIONS, OUTCOMES)
            }
            progress = {
                record.partition: json.loads(record.value)
                for record in await self._client.read(changelog_topic(self._app_id, JOIN_TABLE))
                if record.key == PROGRESS
            }
            if before == await self._ends():
                return progress, in_topic, before
            await self._client.quiet()

    async def _ends(self) -> dict[str, Mapping[int, int]]:
        return {stream: await self._client.ends(stream) for stream in (DECISIONS, OUTCOMES)}

    def _decisions_due(self) -> Mapping[int, dict[str, int]]:
        due: dict[int, dict[str, int]] = defaultdict(lambda: {"open": 0, "settled": 0, "duplicate": 0})
        known: set[str] = set()
        for stream in self._streams:
            for _, record in stream.decisions:
                partition = self._partition_of(record["action_id"])
                due[partition]["duplicate" if record["action_id"] in known else "settled"] += 1
                known.add(record["action_id"])
        return due

    def _outcomes_due(self) -> Mapping[int, dict[str, int]]:
        due: dict[int, dict[str, int]] = defaultdict(lambda: {"credited": 0, "awaiting-decision": 0})
        for stream in self._streams:
            for action_id, entry in naive_ledger(stream.policy, *plain(stream)).items():
                due[self._partition_of(action_id)]["credited"] += len(entry.outcomes)
        return due

    def _partition_of(self, action_id: str) -> int:
        return partition_of(action_id, self._client.partitions) if self._places is None else self._places[action_id]

    async def _check_dead_letters(self) -> None:
        letters = await self._client.dead_letters()
        sources = {
            (letter["source_topic"], letter["source_partition"], letter["source_offset"]): letter["reason"]
            for letter in letters
        }
        self.redelivered += len(letters) - len(sources)
        found, expected = Counter(sources.values()), Counter(self._refused)
        self.lost += (expected - found).total()
        self.doubled += (found - expected).total()
        if found != expected:
            self.complaints.append(f"dead letters: {dict(found)} instead of {dict(expected)}")


def excess(naive: NaiveFold, snapshot: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many decisions a snapshot counts too few, and how many too many, by segment and arm."""
    found: Counter[tuple[str, str]] = Counter()
    for segment in snapshot["segments"]:
        for arm, count in zip(segment["arms"], segment["counts"], strict=True):
            found[segment["segment"], arm] += count
    expected: Counter[tuple[str, str]] = Counter()
    for (segment, arm, _), sums in naive.sums.items():
        expected[segment, arm] += sums[0]
    return (expected - found).total(), (found - expected).total()


def plain(stream: Traffic) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a stream's decisions and outcomes, as first sent."""
    return [record for _, record in stream.decisions], [record for _, record in stream.outcomes]


def ours(stream: Traffic, ledger: Ledger) -> Ledger:
    """Return the ledger records of the stream's policy generation."""
    of = stream.policy["name"], stream.policy.get("generation", 1)
    return [entry for entry in ledger if (entry[2]["policy"], entry[2]["generation"]) == of]


def final(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Yield each action's record of the highest revision, of equal ones the last."""
    highest: dict[str, dict[str, Any]] = {}
    for _, _, record in ledger:
        known = highest.get(record["action_id"])
        if known is None or record["revision"] >= known["revision"]:
            highest[record["action_id"]] = record
    yield from highest.values()


def entry_of(record: Mapping[str, Any]) -> NaiveEntry:
    """Read a ledger record as the naive fold would say it."""
    packed = record["context_vector"]
    return NaiveEntry(
        (record["segment"], record["arm"], record["bucket"]),
        record["reward"],
        struct.unpack(f"<{len(packed) // 2}h", packed),
        frozenset(outcome["outcome_id"] for outcome in record["outcomes"]),
        is_analysis=record["is_analysis"],
        is_undecodable=record["undecodable"] != "",
    )


def is_prefix(stream: Traffic, snapshot: Mapping[str, Any], ledger: Ledger) -> bool:
    """Whether a snapshot is the naive fold of the part of the ledger that it says."""
    ends = {entry["partition"]: entry["offset"] for entry in snapshot["ledger_offsets"]}
    prefix = [entry for entry in ours(stream, ledger) if entry[1] < ends.get(entry[0], 0)]
    sums = sum_up(entry_of(record) for record in final(prefix))
    return sha256_of(stream.policy, reward_exponent(stream.policy), sums) == snapshot["posterior_sha256"]


def repeats(keys: Iterator[Any]) -> int:
    """Return how many came again."""
    counted = Counter(keys)
    return counted.total() - len(counted)

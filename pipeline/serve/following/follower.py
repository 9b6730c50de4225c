"""The topic `snapshots`, followed from its start: for each policy the snapshot at the end of its line.

A snapshot is verified when it comes: its signature, if the node was given keys; that it continues the policy's line
(`line.py`); the hashes of its definition and parts; that it can decide. It goes live by one dict assignment, so a
decision sees the old one or the new one, whole. One that is refused is logged, counted and passed over; the one before
it stays. While no broker answers, the last ones stay too, and after a restart those that are kept on disk (`kept.py`).

A large snapshot names parts that stand before it in the topic (`publish/parts.py`). It goes live when all of them are
in hand; until then it waits. In hand are all parts that the topic has: what the next version does not name is deleted
there after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import KafkaError

from pipeline.codec import avro
from pipeline.errors import PipelineError, StateError, UnavailableError
from pipeline.policy.render_value import shown
from pipeline.publish.parts import SnapshotContent, part_names, part_of
from pipeline.publish.signing import Verifier
from pipeline.publish.snapshot import snapshot_id
from pipeline.serve.following.kept import KeptSnapshot, KeptSnapshots
from pipeline.serve.following.line import Line, Link, Verdict
from pipeline.serve.following.part_room import PartRoom
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import SNAPSHOTS
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
KEEP_EVERY_S = 5.0
"""A large snapshot is written no more often than this, however often it is published."""
READ_AGAIN_S = 60.0
"""At most so often the topic is read from its start again, where something may have been missed."""
READ_SOON_S = 1.0
"""Where what was missed is known to be there."""

OnLive = Callable[[LoadedSnapshot], Awaitable[None]]
"""Told of every snapshot that goes live, just after it has; the next one is read when it is done."""


class Topic(Protocol):
    """What is read: a `TopicFollower`."""

    async def start(self) -> None:
        """Connect."""

    async def poll(self) -> Sequence[Any]:
        """Return the next records."""

    async def stop(self) -> None:
        """Disconnect."""


class _Candidate(NamedTuple):
    """A snapshot that was read and may go live."""

    policy: str
    version: int
    parts: Sequence[str]
    """Names of its parts."""
    record: Any
    number: int
    """How many were read before it: of two, the later one is the newer one."""


class SnapshotFollower:
    """The live snapshot of every policy."""

    def __init__(
        self,
        broker: Address,
        on_live: OnLive | None = None,
        *,
        verifier: Verifier | None = None,
        kept: KeptSnapshots | None = None,
        is_known: Callable[[str], bool] = lambda _policy: False,
        open_topic: Callable[[Address, str], Topic] = TopicFollower,
    ) -> None:
        """Follow nothing yet.

        Args:
            broker: where the topic is.
            on_live: told of what goes live.
            verifier: whose signatures count; None: none is asked for.
            kept: where the live ones are kept over a restart.
            is_known: whether somebody has declared a policy of this name.
            open_topic: reads it.
        """
        self.snapshots: dict[str, LoadedSnapshot] = {}
        """By policy."""
        self.refused = 0
        """Records that were not what the publisher sends, or could not be loaded."""
        self.last_refusal = ""
        """Why the last of them was not."""
        self.from_disk: set[str] = set()
        """Policies whose live snapshot is the one that was kept: the topic has brought none since."""
        self._room = PartRoom()
        self._published_at_ms: dict[str, int] = {}
        self._lines: defaultdict[str, Line] = defaultdict(Line)
        self._met: set[str] = set()
        """Policies that this reading was the first to have a snapshot of."""
        self._live_numbers: dict[str, int] = {}
        self._waiting: dict[str, _Candidate] = {}
        """By policy: the newest that has come before all of its parts."""
        self._to_keep: dict[str, KeptSnapshot] = {}
        """By policy: what went live since the last time that they were kept."""
        self._taken = 0
        self._broker = broker
        self._on_live = on_live
        self._verifier = verifier
        self._kept = kept
        self._is_known = is_known
        self._open_topic = open_topic
        self._changed = asyncio.Condition()
        self._read_at_s = 0.0

    @property
    def parts(self) -> Mapping[str, Mapping[str, bytes]]:
        """By policy and name: the parts that the topic has."""
        return self._room.parts

    def age_ms(self, policy: str, now_ms: int) -> int:
        """Return how long ago the live snapshot was published, by the broker's timestamp of its record."""
        return max(0, now_ms - self._published_at_ms.get(policy, now_ms))

    async def wait_ready(self, policy: str, version: int = 1) -> LoadedSnapshot:
        """Wait until the policy has a live snapshot of at least this version."""

        def is_ready() -> bool:
            return policy in self.snapshots and self.snapshots[policy].version >= version

        async with self._changed:
            await self._changed.wait_for(is_ready)
        return self.snapshots[policy]

    async def follow(self) -> None:
        """Keep up until cancelled, whatever the broker does."""
        retry_s = RETRY_S
        while True:
            topic = self._open_topic(self._broker, SNAPSHOTS)
            try:
                await topic.start()
                retry_s = RETRY_S
                self._begin()
                while not self._should_read_again():
                    await self._take(await topic.poll())
                log.warning("snapshots-read-again waiting=%s", sorted(self._waiting))
            except (KafkaError, UnavailableError) as error:
                log.warning("snapshots-unreachable broker=%s retry_s=%s error=%r", self._broker, retry_s, error)
            finally:
                await topic.stop()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def keep(self) -> None:
        """Keep on disk what is live, now and then, until cancelled."""
        while self._kept is not None:
            await asyncio.sleep(KEEP_EVERY_S)
            await asyncio.to_thread(self.keep_now)

    def keep_now(self) -> None:
        """Keep on disk what went live since the last time."""
        while self._kept is not None and self._to_keep:
            self._kept.write(self._to_keep.popitem()[1])

    def _begin(self) -> None:
        self._read_at_s = asyncio.get_running_loop().time()
        self._room.clear()  # all that is needed comes again
        self._met.clear()
        for line in self._lines.values():
            line.begin()

    def _should_read_again(self) -> bool:
        """Return whether something was missed, and the last reading is long enough ago."""
        since_s = asyncio.get_running_loop().time() - self._read_at_s
        # A policy whose parts came before anybody knew of it; the next reading knows, so this is once a policy.
        if self._room.has_displaced and not self._met.isdisjoint(self._waiting) and since_s >= READ_SOON_S:
            return True
        if since_s < READ_AGAIN_S:
            return False
        return bool(self._waiting) or any(line.may_have_missed for line in self._lines.values())

    async def take_kept(self) -> None:
        """Make live what is kept of an earlier process, verified as what comes from the topic."""
        kept = self._kept
        if kept is None:
            return
        for each in await asyncio.to_thread(lambda: list(kept.read())):
            try:
                if self._verifier is not None:
                    self._verifier.check(each.content.record, each.headers)
                snapshot = await asyncio.to_thread(load_snapshot, each.content)
            except PipelineError as error:
                self._refuse(f"policy={each.policy} from=disk", error)
                continue
            fields = avro.decode_as("snapshot", each.content.record)
            self._lines[snapshot.policy] = Line(_link_of(fields, snapshot.id))
            self.from_disk.add(snapshot.policy)
            self._live_numbers[snapshot.policy] = self._taken
            await self._set_live(snapshot, each.published_at_ms)

    async def _take(self, records: Sequence[Any]) -> None:
        """Make the newest loadable snapshot of each policy live; older ones of the same fetch are not loaded."""
        for policy, candidates in self._by_policy(records).items():
            for candidate in reversed(candidates):
                if self._is_newer(candidate):
                    await self._make_live(candidate)
            waiting = self._waiting.get(policy)
            if waiting is not None and not self._is_newer(waiting):
                del self._waiting[policy]

    def _by_policy(self, records: Sequence[Any]) -> dict[str, list[_Candidate]]:
        """Take in parts; return what may go live in the order it came, with what waits for parts if some have come."""
        candidates: defaultdict[str, list[_Candidate]] = defaultdict(list)
        for record in records:
            try:
                if part := part_of(record.key):
                    if self._keep_part(*part, record.value) and part[0] in self._waiting:
                        candidates[part[0]] = candidates[part[0]] or [self._waiting[part[0]]]
                elif record.value is not None and (found := self._verified(record)) is not None:
                    candidates[found.policy].append(found)
            except (PipelineError, ValueError) as error:
                self._refuse(f"partition={record.partition} offset={record.offset}", error)
        return candidates

    def _verified(self, record: Any) -> _Candidate | None:
        """Return a snapshot that may go live, None of one that was read before. Raises StateError for any other."""
        if self._verifier is not None:
            self._verifier.check(record.value, record.headers)
        fields = avro.decode_as("snapshot", record.value)
        policy, version = fields["policy"], fields["version"]
        self._room.admit(policy)
        if policy not in self._lines:
            self._met.add(policy)
        line = self._lines[policy]
        verdict = line.take(_link_of(fields, snapshot_id(record.value)))
        self._taken += 1
        if verdict is Verdict.STRANGE:
            raise StateError(
                f"snapshot {policy} version {version} names {fields['parent'] or 'nothing'} as the one before it, "
                "which is not of this policy's line"
            )
        found = _Candidate(policy, version, part_names(fields), record, self._taken)
        if verdict is Verdict.KNOWN:
            waiting = self._waiting.get(policy)
            return waiting if waiting is not None and waiting.version == version else None
        if line.is_displaced and policy in self.snapshots:
            forged = self.snapshots[policy]
            self._refuse(
                f"policy={policy} live_version={forged.version}",
                StateError(
                    f"the live snapshot {forged.id[:12]} is not of the line that goes on with version {version}"
                ),
            )
        return found

    def _keep_part(self, policy: str, name: str, part: bytes | None) -> bool:
        if part is None:
            self._room.drop(policy, name)
            return False
        # Here, and not only as it is used: it would take the place of the one that its name is of.
        if (found := hashlib.sha256(part).hexdigest()) != name:
            raise StateError(f"a part of snapshots of {policy} has hash {found}, its name is {shown(name)}")
        is_known = policy in self._lines or self._is_known(policy)
        before = self._room.passed_over
        is_kept = self._room.keep(policy, name, part, is_known=is_known)
        if self._room.passed_over and not before:
            log.warning("snapshot-parts-passed-over policy=%s is_known=%s", policy, is_known)
        return is_kept

    def _is_newer(self, candidate: _Candidate) -> bool:
        return candidate.number > self._live_numbers.get(candidate.policy, 0)

    async def _make_live(self, candidate: _Candidate) -> None:
        policy, version, names, record, number = candidate
        at_hand = self._room.parts[policy]
        parts = {name: at_hand[name] for name in names if name in at_hand}
        if len(parts) < len(names):
            waiting = self._waiting.get(policy)
            if waiting is None or waiting.number < number:
                self._waiting[policy] = candidate
                log.warning("snapshot-waits policy=%s version=%s missing=%s", policy, version, len(names) - len(parts))
            return
        content = SnapshotContent(record.value, parts)
        try:
            # In a thread: parsing a large one would keep decisions waiting.
            snapshot = await asyncio.to_thread(load_snapshot, content)
        except PipelineError as error:
            self._refuse(f"partition={record.partition} offset={record.offset}", error)
            return
        self._live_numbers[policy] = number
        self._room.note_live(policy, sum(map(len, parts.values())))
        self.from_disk.discard(policy)
        if self._kept is not None:
            self._to_keep[policy] = KeptSnapshot(policy, content, tuple(record.headers), record.timestamp)
        await self._set_live(snapshot, record.timestamp)

    async def _set_live(self, snapshot: LoadedSnapshot, published_at_ms: int) -> None:
        policy, version = snapshot.policy, snapshot.version
        self._published_at_ms[policy] = published_at_ms
        self.snapshots[policy] = snapshot
        source = "disk" if policy in self.from_disk else "topic"
        log.info("snapshot-live policy=%s version=%s id=%s from=%s", policy, version, snapshot.id[:12], source)
        async with self._changed:
            self._changed.notify_all()
        if self._on_live is not None:
            await self._tell(self._on_live, snapshot)

    async def _tell(self, on_live: OnLive, snapshot: LoadedSnapshot) -> None:
        try:
            await on_live(snapshot)
        except Exception:  # whatever a listener does wrong, snapshots go on
            log.exception("snapshot-listener-failed policy=%s version=%s", snapshot.policy, snapshot.version)

    def _refuse(self, where: str, error: Exception) -> None:
        self.refused += 1
        self.last_refusal = f"{where.replace('=', ' ')}: {error}"
        log.error("snapshot-refused %s error=%s", where, error)


def _link_of(fields: Mapping[str, Any], id_: str) -> Link:
    return Link(fields["version"], fields["parent"], id_)

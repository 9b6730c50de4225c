"""The ledger's topic → a folder of Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.codec.readable import Fields, readable
from pipeline.codec.revisions import Revisions
from pipeline.codec.reward import RewardReader
from pipeline.errors import ConfigError, RecordError
from pipeline.export.chunks import Chunk, Chunks
from pipeline.export.columns import LEDGER, VERSION
from pipeline.export.folder import MANIFEST, replacing
from pipeline.export.latest import Every, Held, Key, Latest, key_of
from pipeline.export.ledger import LedgerRows
from pipeline.export.parquet import write
from pipeline.export.until import Log, read_as_of
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.proof.read import read_up_to
from pipeline.stream.log.identity import LogLookup
from pipeline.stream.log.offsets import LATEST_MS
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.reader import open_reader
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

OnProgress = Callable[[int, int], None]
"""Told how many of how many records are behind; each is read twice."""
TABLE = "ledger"
_IS_ERASED = 8
"""Where a `RewardReader` says so."""


async def export_ledger(
    broker: Address,
    folder: Path,
    policies: Collection[str] = (),
    *,
    as_of: Path | None = None,
    every_revision: bool = False,
    on_progress: OnProgress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Write the ledger as a folder of Parquet files; return what `_export.json` says there.

    Args:
        broker: where.
        folder: takes the place of an export that is there.
        policies: only these; of all, if none is named.
        as_of: an earlier export's `_export.json`, up to whose ends is read; the present ones if not given.
        every_revision: not the last one of each decision alone.
        on_progress: told how far it is.

    Raises:
        ConfigError: a policy is not applied, `as_of` is of another log, or something else is in the folder's place.
        UnavailableError: no broker answers. StateError: the ledger does not begin at its beginning.
    """
    definitions = await _definitions(broker, policies)
    present = await _log(broker)
    until = present if as_of is None else read_as_of(as_of, present)
    with replacing(folder) as place:
        total = sum(present.ends.values()) + sum(until.ends.values())
        done = 0
        erased: set[Key] = set()
        async for count in _find_erased(broker, present.ends, erased):
            on_progress(done := done + count, total)
        writing = _Writing(place, policies, LedgerRows(definitions), erased, until, every_revision=every_revision)
        async for count in writing.run(broker):
            on_progress(done := done + count, total)
        manifest = writing.manifest(present)
        (place / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return manifest


class _Writing:
    """One export, on its way."""

    def __init__(
        self,
        place: Path,
        policies: Collection[str],
        rows: LedgerRows,
        erased: set[Key],
        until: Log,
        *,
        every_revision: bool,
    ) -> None:
        self._place, self._policies, self._rows, self._erased, self._until = place, policies, rows, erased, until
        self._every_revision = every_revision
        self._files: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    async def run(self, broker: Address) -> AsyncIterator[int]:
        """Write all files; yield how many records were read."""
        tell = PassedOver(REWARDS)
        # One partition after the other: no more is held than what is open of one.
        for partition, end in sorted(self._until.ends.items()):
            revisions, chunks = Revisions(), Chunks(partition)
            latest = Every(self._erased) if self._every_revision else Latest(self._erased)
            async for _, records in read_up_to(broker, REWARDS, {partition: end}):
                pairs = ((record.offset, record.value) for record in records)
                for offset, _, fields in readable(partition, pairs, "reward", pass_over=tell):
                    whole = revisions.whole(fields)
                    if whole is not None and self._is_asked(fields):
                        for held in latest.take(offset, whole):
                            self._add(chunks, partition, held.offset, held.fields)
                yield len(records)
            for held in latest.rest():
                self._add(chunks, partition, held.offset, held.fields)
            for chunk in chunks.rest():
                self._write(chunk)
        self._counts["passed_over"] = tell.count

    def manifest(self, present: Log) -> dict[str, Any]:
        """Say what was written."""
        return {
            "version": VERSION,
            "table": TABLE,
            "revisions": "every" if self._every_revision else "last",
            "policies": sorted(self._policies) or None,
            "rows": self._counts["rows"],
            "open": self._counts["open"],
            "erased": len(self._erased),
            "untold": self._rows.untold,
            "passed_over": self._counts["passed_over"],
            REWARDS: self._until.plain(),
            "erased_up_to": present.plain(),
            "files": self._files,
        }

    def _is_asked(self, fields: Fields) -> bool:
        return not self._policies or fields["policy"] in self._policies

    def _add(self, chunks: Chunks, partition: int, offset: int, fields: Mapping[str, Any]) -> None:
        row = self._rows.row(partition, Held(offset, fields))
        self._counts["rows"] += 1
        self._counts["open"] += not fields["is_settled"]
        for chunk in chunks.add(fields["policy"], fields["decided_at_ms"], offset, row, len(fields["decision"])):
            self._write(chunk)

    def _write(self, chunk: Chunk) -> None:
        path = self._place / TABLE / chunk.path
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "pipeline.table": TABLE,
            "pipeline.version": str(VERSION),
            "pipeline.topic_id": self._until.topic_id,
            "pipeline.offsets": f"{chunk.partition}:{chunk.first_offset}-{chunk.last_offset}",
        }
        digest = write(path, LEDGER, chunk.rows, about)
        self._files.append({"path": f"{TABLE}/{chunk.path}", "rows": len(chunk.rows), "sha256": digest})


async def _find_erased(broker: Address, ends: Mapping[int, int], erased: set[Key]) -> AsyncIterator[int]:
    """Note every decision that is erased; yield how many records were read."""
    async for _, records in read_up_to(broker, REWARDS, ends):
        reader = RewardReader()
        for record in records:
            with suppress(RecordError):  # told of when it is read again
                if reader.read(record.value or b"")[_IS_ERASED]:
                    erased.add(key_of(avro.decode_as("reward", record.value)))
        yield len(records)


async def _definitions(broker: Address, names: Collection[str]) -> Sequence[PolicyDefinition]:
    policies = Policies(broker)
    try:
        await policies.start()
        known = [one.name for one in policies.book]
        definitions = [one for name in known for one in policies.book.generations(name)]
    finally:
        await policies.stop()
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(
            "--policy", [f"{name!r} is not applied; known: {', '.join(known) or 'none'}" for name in unknown]
        )
    return definitions


async def _log(broker: Address) -> Log:
    async with open_reader(broker) as reader:
        partitions = await reader.partitions_of(REWARDS)
        ends = await reader.offsets(partitions, LATEST_MS)
        lookup = LogLookup(reader.client)
        logs = await lookup.logs(partitions)
        ids = {one.topic_id for one in logs.values()}
    return Log(ids.pop() if len(ids) == 1 else "", {place.partition: end for place, end in sorted(ends.items())})

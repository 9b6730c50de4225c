"""What a partition of the ledger has come to ↔ the lines that name it, as decision 65 describes them. Pure.

    ["a", expires_at_ms, action_id, revision, reward, [[row, width, column, amount], …]]   open, by expiry and id
    ["e", action_id, revision]                                                             erased, by id
    ["s", [policy, generation, segment, arm, bucket], dimension, [n, Σr, Σr², …]]          sums, by their key's text

An action is open as long as event time has not passed its expiry; sums that are all 0 are left out. What is counted
beside has its name behind the bucket, and minus its columns for a dimension. A part ends with the line that brings it
to 2^20 bytes, or, from 2^14 on, with one of b bytes whose CRC-32 is below 2^16 · b. A part is named by the SHA-256 of
its lines, the state by that of the names, each with a newline.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pipeline.errors import StateError
from pipeline.independent.fold import Known, Partition


def name_of(partition: Partition) -> str:
    """Return the name of what a partition has come to."""
    names = hashlib.sha256()
    part, size = hashlib.sha256(), 0
    for line in lines_of(partition):
        part.update(line)
        size += len(line)
        if size >= 2**20 or (size >= 2**14 and binascii.crc32(line) < 2**16 * len(line)):
            names.update(part.hexdigest().encode() + b"\n")
            part, size = hashlib.sha256(), 0
    if size:
        names.update(part.hexdigest().encode() + b"\n")
    return names.hexdigest()


def lines_of(partition: Partition) -> Iterator[bytes]:
    """Yield the lines in their order."""
    waiting = []
    for action, known in partition.known.items():
        if known.expires_at_ms >= partition.event_time_ms:
            waiting.append((known.expires_at_ms, action.encode(), action))
    for expires_ms, _, action in sorted(waiting):
        known = partition.known[action]
        yield _line(["a", expires_ms, action, known.revision, known.reward, list(map(list, known.tallies))])
    for name in sorted(action.encode() for action in partition.erased):
        yield _line(["e", name.decode(), partition.erased[name.decode()]])
    found = {}
    for policy, sums in partition.sums.items():
        for (segment, arm, bucket, tally), columns in sums.items():
            if any(columns):
                key = [*policy, segment, arm, bucket, *([tally] if tally else [])]
                found[_line(key)[:-1]] = ["s", key, _dimension(partition, policy, tally, len(columns)), columns]
    for _, fields in sorted(found.items()):
        yield _line(fields)


def _dimension(partition: Partition, policy: tuple[str, int], tally: str, columns: int) -> int:
    """Return -m of m columns beside the sums; of sums the d of 3 + d + d (d + 1) / 2."""
    if tally and partition.widths[policy, tally]:
        return -columns
    d = 0
    while 3 + d + d * (d + 1) // 2 < columns:
        d += 1
    return d


def _line(fields: list[Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def take_in(partition: Partition, content: bytes) -> None:
    """Go on from a part's lines.

    Raises:
        StateError: a line says nothing that is known.
    """
    for line in content.split(b"\n")[:-1]:
        try:
            kind, *fields = json.loads(line)
            _TAKES[kind](partition, *fields)
        except (ValueError, TypeError, KeyError) as error:
            raise StateError(f"a checkpoint's line {line[:80]!r} can't be read: {error!r}") from error


def _take_open(partition: Partition, expires_ms: int, action: str, revision: int, reward: int, tallies: Any) -> None:
    partition.remember(action, Known(revision, expires_ms, reward, tallies, None))


def _take_erased(partition: Partition, action: str, revision: int) -> None:
    partition.erased[action] = revision


def _take_sums(partition: Partition, key: list[Any], dimension: int, columns: list[int]) -> None:
    policy, (segment, arm, bucket, *beside) = (key[0], key[1]), key[2:]
    tally = beside[0] if beside else ""
    partition.sums.setdefault(policy, {})[segment, arm, bucket, tally] = columns
    if tally:
        partition.widths[policy, tally] = max(0, -dimension)


_TAKES: Any = {"a": _take_open, "e": _take_erased, "s": _take_sums}

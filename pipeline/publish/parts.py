"""A snapshot that is too large for one record: cut into parts, and put together again. Pure.

    small    snapshot {…, segments: [all of them], parts: []}
    large    snapshot {…, segments: [], parts: [sha256, sha256, …]}
             snapshot_part {segments: [arms 0 … 30 of a]}
             snapshot_part {segments: [arms 31 … of a, arms 0 … 9 of b]} …

A part is named by the hash of its bytes, and the snapshot's own id is taken over those names: it addresses every bit
of all of it. Where a part ends depends on the number of arms and the shapes of their parameters alone, so two snapshots
of the same segments and arms are cut at the same places, and what has not changed between them is the same part
(ops/decisions/0013-parts.md).

A matrix that is symmetric to the bit, as every covariance is, is sent as its lower triangle.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.codec import avro
from pipeline.errors import StateError

PARTED_FROM_BYTES = 1 << 20
"""Posteriors larger than this are sent in parts."""
PART_BYTES = 256 << 10
"""About so much of them is in each: one changed arm costs so much, and so many parts take 100 bytes of the snapshot."""
ROW_BYTES = 24
"""What an arm takes beside its name and parameters, at most: a count, a sum, and their lengths."""
SHARED = "shared."
MATRIX = 3
"""Axes of an array that has a matrix for each arm."""

Fields = Mapping[str, Any]


class SnapshotContent(NamedTuple):
    """A snapshot as it is sent."""

    record: bytes
    """The `snapshot` record: its id is the hash of these bytes."""
    parts: Mapping[str, bytes] = {}
    """By SHA-256, the `snapshot_part` records that it names; all of them, or those that are at hand."""


class _Array(NamedTuple):
    """One parameter of a segment, ready to be cut."""

    name: str
    values: NDArray[np.float64]
    """As it is sent, by arm: a symmetric matrix as its lower triangle."""
    shape: Sequence[int]
    """Of one arm's, unpacked; of all of it if shared."""
    is_symmetric: bool

    @property
    def arm_bytes(self) -> int:
        """What it takes of each arm."""
        return 0 if self.is_shared else 8 * math.prod(self.values.shape[1:])

    @property
    def is_shared(self) -> bool:
        """Whether the segment's arms have it in common."""
        return self.name.startswith(SHARED)

    def cut(self, start: int, end: int) -> dict[str, Any]:
        """Return some arms' share; what is shared goes with the first."""
        values = self.values if self.is_shared else self.values[start:end]
        shape = self.shape if self.is_shared else [end - start, *self.shape]
        return {
            "name": self.name,
            "shape": list(shape),
            "data": values.tobytes(),
            "is_symmetric": self.is_symmetric,
        }


def divide(record: Fields) -> SnapshotContent:
    """Make a snapshot ready to be sent: as one record where it is small, else with parts.

    Args:
        record: every field of a `snapshot` record, with all its posteriors in `segments`.
    """
    size = sum(
        len(entry["arms"]) * ROW_BYTES
        + sum(len(arm) for arm in entry["arms"])
        + sum(len(array["data"]) for array in entry["parameters"])
        for entry in record["segments"]
    )
    if size <= PARTED_FROM_BYTES:
        return SnapshotContent(avro.encode("snapshot", record))
    parts: dict[str, bytes] = {}
    named = []
    for entries in _gathered(record["segments"]):
        part = avro.encode("snapshot_part", {"segments": entries})
        name = hashlib.sha256(part).hexdigest()
        parts[name] = part
        counted = sum(sum(entry["counts"]) for entry in entries)
        named.append({"sha256": name, "size_bytes": len(part), "rewards_counted": counted})
    return SnapshotContent(avro.encode("snapshot", {**record, "segments": [], "parts": named}), parts)


def whole(content: SnapshotContent) -> dict[str, Any]:
    """Return every field of a snapshot, with all its posteriors in `segments`: what `divide` was given.

    Raises:
        DecodeError: some of the bytes are no record of their kind.
        StateError: a part is missing, or is not what its name says.
    """
    record = avro.decode_as("snapshot", content.record)
    if not record["parts"]:
        return record
    runs: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for place, part in enumerate(record["parts"]):
        for entry in _read(content.parts, part["sha256"], f"part {place} of {len(record['parts'])}"):
            runs[entry["segment"]].append(entry)
    return {**record, "segments": [_joined(name, entries) for name, entries in runs.items()]}


def part_names(record: Fields) -> list[str]:
    """Return which parts a decoded `snapshot` record names."""
    return [part["sha256"] for part in record["parts"]]


def rewards_counted(record: Fields) -> int:
    """Return how many rewards a decoded `snapshot` record counts; its parts need not be at hand."""
    in_parts: int = sum(part["rewards_counted"] for part in record["parts"])
    return in_parts + sum(sum(entry["counts"]) for entry in record["segments"])


def part_key(policy: str, name: str) -> bytes:
    """Return the key of a part's record; a policy's name has no slash, so it is none of a snapshot's."""
    return f"{policy}/part/{name}".encode()


def part_of(key: bytes | None) -> tuple[str, str] | None:
    r"""Return the policy and name of the part that a record's key is of; None of any other key.

    >>> part_of(b"homepage/part/5e1f"), part_of(b"homepage"), part_of(b"\xff/part/5e1f")
    (('homepage', '5e1f'), None, None)
    """
    policy, separator, name = (key or b"").partition(b"/part/")
    try:
        return (policy.decode(), name.decode()) if separator else None
    except UnicodeDecodeError:
        return None


def _gathered(segments: Sequence[Fields]) -> Iterator[list[dict[str, Any]]]:
    """Cut segments into runs of arms and gather small ones, up to a part's size."""
    gathered: list[dict[str, Any]] = []
    size = 0
    for entry in segments:
        arrays = [_prepared(array, len(entry["arms"])) for array in entry["parameters"]]
        arm_bytes = ROW_BYTES + sum(array.arm_bytes for array in arrays)
        together = max(1, PART_BYTES // arm_bytes)
        for start in range(0, len(entry["arms"]), together):
            end = min(start + together, len(entry["arms"]))
            cut = [array for array in arrays if not start or not array.is_shared]
            added = (end - start) * arm_bytes + sum(array.values.nbytes for array in cut if array.is_shared)
            if gathered and size + added > PART_BYTES:
                yield gathered
                gathered, size = [], 0
            gathered.append(
                {
                    "segment": entry["segment"],
                    "arms": entry["arms"][start:end],
                    "counts": entry["counts"][start:end],
                    "reward_sums": entry["reward_sums"][start:end],
                    "parameters": [array.cut(start, end) for array in cut],
                }
            )
            size += added
    if gathered:
        yield gathered


def _prepared(array: Fields, arms: int) -> _Array:
    name, shape = array["name"], array["shape"]
    values = np.frombuffer(array["data"], "<f8").reshape(shape)
    if name.startswith(SHARED):
        return _Array(name, values, shape, is_symmetric=False)
    if len(values) != arms:
        raise StateError(f"array {name!r} has {len(values)} entries for {arms} arms")
    if values.ndim == MATRIX and shape[1] == shape[2]:
        bits = values.view("<i8")  # 0.0 and -0.0 are equal, but not the same bytes
        if np.array_equal(bits, bits.transpose(0, 2, 1)):
            rows, columns = np.tril_indices(shape[1])
            return _Array(name, values[:, rows, columns], shape[1:], is_symmetric=True)
    return _Array(name, values, shape[1:], is_symmetric=False)


def _read(parts: Mapping[str, bytes], name: str, where: str) -> list[dict[str, Any]]:
    part = parts.get(name)
    if part is None:
        raise StateError(f"{where} is missing: {name}")
    found = hashlib.sha256(part).hexdigest()
    if found != name:
        raise StateError(f"{where} has hash {found}, its name is {name}")
    entries: list[dict[str, Any]] = avro.decode_as("snapshot_part", part)["segments"]
    return entries


def _joined(segment: str, entries: Sequence[Fields]) -> dict[str, Any]:
    """Put the runs of one segment's arms together."""
    arrays: defaultdict[str, list[Fields]] = defaultdict(list)
    for entry in entries:
        for array in entry["parameters"]:
            arrays[array["name"]].append(array)
    return {
        "segment": segment,
        **{name: [one for entry in entries for one in entry[name]] for name in ("arms", "counts", "reward_sums")},
        "parameters": [
            {"name": name, "shape": _joined_shape(name, runs), "data": b"".join(_unpacked(run) for run in runs)}
            for name, runs in arrays.items()
        ],
    }


def _joined_shape(name: str, runs: Sequence[Fields]) -> list[int]:
    first: list[int] = runs[0]["shape"]
    return first if name.startswith(SHARED) else [sum(run["shape"][0] for run in runs), *first[1:]]


def _unpacked(array: Fields) -> bytes:
    data: bytes = array["data"]
    if not array["is_symmetric"]:
        return data
    count, width, _ = array["shape"]
    rows, columns = np.tril_indices(width)
    matrices = np.empty((count, width, width), "<f8")
    matrices[:, rows, columns] = matrices[:, columns, rows] = np.frombuffer(data, "<f8").reshape(count, -1)
    return matrices.tobytes()

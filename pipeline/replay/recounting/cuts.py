"""Between which offsets a replay reads. Pure.

A cut is a position in every partition of the topics that are read. The first one says where the replay began, each
further one where it has stopped: there, as a worker that has read all there is, it lets event time come to the
higher of the two watermarks. So what a replay comes to is a function of its plan and all its cuts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import ConfigError

Cut = Mapping[str, Mapping[int, int]]
"""Topic → partition → offset."""

_POSITION = re.compile(r"([a-z-]+)/(\d+)=(\d+)")


def parse_offsets(text: str, topics: Sequence[str]) -> dict[str, dict[int, int]]:
    """Read offsets as the command line takes them.

    >>> parse_offsets("decisions/0=12,outcomes/0=30", ["decisions", "outcomes"])
    {'decisions': {0: 12}, 'outcomes': {0: 30}}

    Raises:
        ConfigError: not of that form, or of another topic.
    """
    offsets: dict[str, dict[int, int]] = {topic: {} for topic in topics}
    for part in text.split(","):
        match = _POSITION.fullmatch(part.strip())
        if match is None or match[1] not in offsets:
            raise ConfigError(
                "offsets", [f"{part!r} is not TOPIC/PARTITION=OFFSET with a topic of {', '.join(topics)}"]
            )
        offsets[match[1]][int(match[2])] = int(match[3])
    return offsets


def to_positions(cut: Cut) -> list[dict[str, Any]]:
    """Write a cut as records hold it."""
    return [
        {"topic": topic, "partition": number, "offset": offset}
        for topic in sorted(cut)
        for number, offset in sorted(cut[topic].items())
    ]


def from_positions(positions: Sequence[Mapping[str, Any]]) -> Cut:
    """Read a cut from a record."""
    cut: dict[str, dict[int, int]] = {}
    for position in positions:
        cut.setdefault(position["topic"], {})[position["partition"]] = position["offset"]
    return cut


def of_partition(cut: Cut, partition: int) -> dict[str, int]:
    """Return one partition's offsets, by topic."""
    return {topic: offsets[partition] for topic, offsets in cut.items()}


def partitions_of(cut: Cut) -> list[int]:
    """Return the partitions that a cut names."""
    return sorted({number for offsets in cut.values() for number in offsets})


def distance(start: Cut, end: Cut) -> int:
    """Return how many offsets lie between two cuts.

    >>> distance({"rewards": {0: 3, 1: 5}}, {"rewards": {0: 10, 1: 5}})
    7
    """
    return sum(offset - start[topic][number] for topic, number, offset in _entries(end))


def steps_back(start: Cut, end: Cut) -> list[str]:
    """Name the partitions in which `end` lies before `start`."""
    return [
        f"{topic}/{number}: {offset} is before {start[topic][number]}"
        for topic, number, offset in _entries(end)
        if offset < start[topic][number]
    ]


def _entries(cut: Cut) -> Iterator[tuple[str, int, int]]:
    return ((topic, number, offset) for topic, offsets in cut.items() for number, offset in offsets.items())

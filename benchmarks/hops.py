"""Where the time between an outcome and the snapshot that contains it goes, hop by hop.

    due        the moment at which the pace has the outcome sent
    arrived    the broker appended it to `outcomes`                                   broker's clock
    joined     JOIN made its ledger record                                            time of the record
    folded     LEARN made the statistics that contain it                              time of their mark
    gathered   PUBLISH took these statistics in                                       time of its changelog row
    built      a snapshot that contains it was made                                   time of its changelog row
    sent       that snapshot went to `snapshots`                                      time of the record
    in use     it, or a later one, went live on the follower

Nothing in the worker is instrumented: a record's time is when its stage put it into a batch, behind the work that made
it and before it was sent, and the places are ledger offsets. All clocks are one machine's, and count milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.codec import avro
from pipeline.publish.partition import MARK, VERSION
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import (
    JOIN_TABLE,
    LEARN_TABLE,
    OUTCOMES,
    PUBLISH_TABLE,
    REWARDS,
    SNAPSHOTS,
    STATISTICS,
    changelog_topic,
)
from pipeline.stream.state.tables import PROGRESS

Moments = NDArray[np.float64]
"""Epoch milliseconds, one for each outcome."""


class Cut(NamedTuple):
    """From a moment on, all of a ledger partition below an offset was in."""

    partition: int
    ledger_offset: int
    """The first that is not."""
    at_ms: float


class Outcomes(NamedTuple):
    """Outcomes and their first ledger records, a column each."""

    partitions: NDArray[np.int64]
    ledger_offsets: NDArray[np.int64]
    due_ms: Moments
    arrived_ms: Moments
    joined_ms: Moments


def reached(outcomes: Outcomes, cuts: Iterable[Cut]) -> Moments:
    """Return when each outcome was first in. Raises ValueError where one never was."""
    by_partition: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for partition, offset, at_ms in cuts:
        by_partition[partition].append((offset, at_ms))
    found = np.empty(len(outcomes.partitions))
    for partition in np.unique(outcomes.partitions):
        # A repeat of an older cut says nothing new: what was in stays in.
        offsets = np.maximum.accumulate([offset for offset, _ in by_partition[partition]] or [0])
        moments_ms = np.array([at_ms for _, at_ms in by_partition[partition]])
        among = outcomes.partitions == partition
        first = np.searchsorted(offsets, outcomes.ledger_offsets[among], side="right")
        if first.max() >= len(moments_ms):
            raise ValueError(f"no cut of ledger partition {partition} is above {outcomes.ledger_offsets[among].max()}")
        found[among] = moments_ms[first]
    return found


def hops(outcomes: Outcomes, stages: Mapping[str, Iterable[Cut]]) -> dict[str, Moments]:
    """Return the milliseconds of each hop for each outcome, by name; `stages` come in order, the last is use."""
    moments = {"due": outcomes.due_ms, "arrived": outcomes.arrived_ms, "joined": outcomes.joined_ms}
    moments |= {name: reached(outcomes, cuts) for name, cuts in stages.items()}
    names = list(moments)
    return {f"{a} → {b}": moments[b] - moments[a] for a, b in pairwise(names)}


async def read_outcomes(broker: str, due_ms: Mapping[str, float]) -> Outcomes:
    """Find the outcomes of some actions, one each, in the topics."""
    arrived = {
        record.key.decode(): record.timestamp for record in await _read(broker, OUTCOMES) if record.value is not None
    }
    joined: dict[str, tuple[int, int, int]] = {}
    for record in await _read(broker, REWARDS):
        fields = avro.decode_as("reward", record.value)
        if fields["outcomes"]:
            joined.setdefault(fields["action_id"], (record.partition, record.offset, record.timestamp))
    places = np.array([joined[action_id] for action_id in due_ms], np.int64)
    return Outcomes(
        places[:, 0],
        places[:, 1],
        np.array(list(due_ms.values())),
        np.array([arrived[action_id] for action_id in due_ms], np.float64),
        places[:, 2].astype(np.float64),
    )


async def read_stages(broker: str, policy: str, app_id: str = "pipeline") -> dict[str, list[Cut]]:
    """Find the cuts between JOIN and the follower of one policy in the topics, by stage."""
    gathered, built = [], []
    for record in await _read(broker, changelog_topic(app_id, PUBLISH_TABLE)):
        if record.value is None or record.key is None:
            continue
        if record.key[:1] == MARK:
            name, _, source = orjson.loads(record.key[1:])
            if name == policy:
                gathered.append(Cut(source, orjson.loads(record.value)[0], record.timestamp))
        elif record.key == VERSION + policy.encode():
            built += _cuts_of(record)
    folded = []
    for record in await _read(broker, STATISTICS):
        name, fields = avro.decode(record.value)
        if name == "statistics_mark" and fields["policy"] == policy:
            folded.append(Cut(fields["source_partition"], fields["ledger_offset"], record.timestamp))
    sent = [
        cut for record in await _read(broker, SNAPSHOTS) if record.key == policy.encode() for cut in _cuts_of(record)
    ]
    return {"folded": folded, "gathered": gathered, "built": built, "sent": sent}


async def read_steps(broker: str, since_ms: float, app_id: str = "pipeline") -> dict[str, int]:
    """Count the steps of each stage since a moment: each writes its progress to its changelog."""
    return {
        table: sum(
            record.key == PROGRESS and record.timestamp >= since_ms
            for record in await _read(broker, changelog_topic(app_id, table))
        )
        for table in (JOIN_TABLE, LEARN_TABLE, PUBLISH_TABLE)
    }


def _cuts_of(record: Any) -> Sequence[Cut]:
    offsets = avro.decode_as("snapshot", record.value)["ledger_offsets"]
    return [Cut(one["partition"], one["offset"], record.timestamp) for one in offsets]


async def _read(broker: str, topic: str) -> Sequence[Any]:
    follower = TopicFollower(broker, topic)
    await follower.start()
    try:
        return await follower.read_to_end()
    finally:
        await follower.stop()

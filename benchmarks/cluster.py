"""N workers at a million events a second, second by second: what goes to the publisher, and what comes out.

Simulated with the pipeline's own pure functions, one policy, every partition's LEARN in turn. In each interval a
partition reads what came for it, folds it (`fold_ledger`), and sends every row that it touched and a mark, as Avro;
the publisher decodes them, stages and marks them, and once per publish interval merges, derives and cuts a snapshot.
Bytes are those of the records (Kafka's framing, some 20 bytes each, is not in); CPU is measured, not assumed. What a
worker takes for an event is not simulated: `sizing` computes workers from the measured pipeline.

The publisher's sums must be those of all events at the end, and their count too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import ONE, policy
from benchmarks.report import Row
from pipeline.codec import avro
from pipeline.learn.ledger import LedgerRecord, fold_ledger, merge_deltas
from pipeline.learn.memory import FoldState, RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.derivation import Derivation
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.parts import divide
from pipeline.publish.snapshot import snapshot_fields

LEDGER_SHARE = 1.0
"""Ledger records for each event: one for a decision, one for an outcome that is credited."""
READ_EVERY_S = 0.25
"""How often a partition's LEARN finds something to read, under load: a worker goes round its partitions."""


class Cluster(NamedTuple):
    """What is simulated."""

    events_per_s: int = 1_000_000
    workers: int = 64
    partitions: int = 128
    arms: int = 20
    segments: int = 5
    dimension: int = 16
    seconds: int = 2
    publish_interval_s: float = 1.0


SMOKE = Cluster(2_000, 2, 4, 4, 2, 4, 1, 0.5)


class _Partition:
    """One partition of the ledger, and the sums that its LEARN has."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.offset = 0
        self.state = FoldState()
        self.rows: dict[RowKey, Statistics] = {}

    def step(self, cluster: Cluster, keys: list[RowKey], count: int, rng: np.random.Generator) -> Iterator[bytes]:
        """Fold `count` new records; yield what is sent."""
        X = _vectors(rng, count, cluster.dimension)
        chosen, rewards = rng.integers(0, len(keys), count).tolist(), (rng.integers(0, 2, count) * ONE).tolist()
        records = []
        for i, (key, reward) in enumerate(zip(chosen, rewards, strict=True)):
            offset = self.offset + i
            name = f"{self.number}-{offset}"
            records.append(LedgerRecord(offset, name, keys[key], 1, reward, X[i].tobytes(), 1 << 50, 1))
        self.offset += count
        deltas = fold_ledger(records, {}, self.state).deltas
        touched = {key: self.rows[key] for key in deltas if key in self.rows}
        merge_deltas(touched, deltas.items())
        self.rows |= touched
        for key, row in touched.items():
            yield avro.encode(
                "statistics",
                {
                    **key._asdict(),
                    "source_partition": self.number,
                    "ledger_offset": self.state.position,
                    "dimension": row.dimension,
                    "sums": row.to_bytes(),
                },
            )
        mark = {"policy": "bench", "generation": 1, "source_partition": self.number}
        yield avro.encode("statistics_mark", {**mark, "ledger_offset": self.state.position, "event_time_ms": 1})


def simulate(cluster: Cluster) -> list[Row]:
    """Play the cluster; return its traffic and the publisher's CPU, a value for each simulated second."""
    definition = policy(cluster.dimension, arm_count=cluster.arms, segment_count=cluster.segments)
    segments, arms = definition.segments.names, definition.arm_names
    keys = [RowKey("bench", 1, segment, arm, 0) for segment in segments for arm in arms]
    rng = np.random.default_rng(0)
    partitions = [_Partition(number) for number in range(cluster.partitions)]
    per_step = max(1, round(cluster.events_per_s * LEDGER_SHARE * READ_EVERY_S / cluster.partitions))
    publisher, known = Partials(), Derivation()
    counted: dict[str, list[float]] = {name: [] for name in ("rows", "bytes", "take", "merge", "snapshot", "whole")}
    steps_per_publish = max(1, round(cluster.publish_interval_s / READ_EVERY_S))
    for _ in range(cluster.seconds):
        second = dict.fromkeys(counted, 0.0)
        for step in range(round(1 / READ_EVERY_S)):
            sent = [raw for partition in partitions for raw in partition.step(cluster, keys, per_step, rng)]
            second["rows"] += len(sent)
            second["bytes"] += sum(map(len, sent))
            began_s = time.process_time()
            for raw in sent:
                take_in(publisher, raw)
            second["take"] += time.process_time() - began_s
            if (step + 1) % steps_per_publish == 0:
                began_s = time.process_time()
                fields = snapshot_fields(definition, publisher.aged_rows(), publisher.learned, 1, "", None, known)
                content = divide(fields)
                second["merge"] += time.process_time() - began_s
                size = len(content.record) + sum(map(len, content.parts.values()))
                second["snapshot"] += size
                second["whole"] = size
        for name, value in second.items():
            counted[name].append(value)
    _check(cluster, publisher, partitions, per_step)
    name = (
        f"cluster, {cluster.events_per_s:,} events/s, {cluster.workers} workers, {cluster.partitions} partitions, "
        f"{cluster.arms * cluster.segments} rows of d={cluster.dimension}"
    )
    units = {
        "rows": ("statistics and marks", "records/s"),
        "bytes": ("statistics and marks", "B/s"),
        "take": ("publisher takes them in", "CPU-s/s"),
        "merge": (f"publisher merges, derives, cuts, every {cluster.publish_interval_s:g} s", "CPU-s/s"),
        "snapshot": ("snapshots, each sent twice and read by every node", "B/s"),
        "whole": ("one snapshot", "B"),
    }
    rows = [Row(f"{name}: {what}", unit, tuple(counted[key])) for key, (what, unit) in units.items()]
    each = tuple(value / cluster.workers for value in counted["bytes"])
    bound = cluster.partitions * (len(keys) + 1) / READ_EVERY_S
    return [
        *rows,
        Row(f"{name}: statistics of one worker", "B/s", each),
        Row(f"{name}: the most at any load, partitions × (rows + 1) / {READ_EVERY_S} s", "records/s", (bound,)),
    ]


def take_in(publisher: Partials, raw: bytes) -> None:
    """Do with a record of `statistics` what the publisher's agent does in memory."""
    name, fields = avro.decode(raw)
    source = fields["source_partition"]
    if name == "statistics_mark":
        publisher.mark(source, Mark(fields["ledger_offset"], fields["event_time_ms"]))
        return
    row = RowKey(fields["policy"], fields["generation"], fields["segment"], fields["arm"], fields["bucket"])
    sums = Statistics(fields["dimension"], np.frombuffer(fields["sums"], dtype="<i8"))
    publisher.stage(PartialKey(row, source), fields["ledger_offset"], sums)


def _vectors(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.int16]:
    X = rng.integers(-4096, 4097, (count, dimension)).astype("<i2")
    X[:, :1] = 4096
    return X


def _check(cluster: Cluster, publisher: Partials, partitions: list[_Partition], per_step: int) -> None:
    events = cluster.seconds * round(1 / READ_EVERY_S) * per_step * cluster.partitions
    merged = dict(publisher.by_bucket())
    expected: dict[RowKey, Statistics] = {}
    for partition in partitions:
        merge_deltas(expected, partition.rows.items())
    if sum(row.n for row in merged.values()) != events or merged != expected:
        raise SystemExit("the publisher's sums are not those of all partitions")

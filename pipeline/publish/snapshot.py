"""Statistics → posterior → snapshot record. Pure; the one way from sums to floating point.

`posterior_sha256` is taken over the exact statistics and the model they feed, as canonical JSON:

    {"algorithm": [name, [[parameter, value], …]], "reward_exponent": e,
     "rows": [[segment, arm, bucket, d, [n, Σr, Σr², b…, A…]], …]}

with parameters and rows sorted and rows of n = 0 left out. Everything in a posterior is a function of just
that, and integers hash alike on every machine, where the last bit of a float depends on the linear algebra
library (ops/decisions/0002-exact-statistics.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.statistics import Statistics
from pipeline.policy.canonical import canonical_bytes, to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.partials import Mark

Rows = Sequence[tuple[RowKey, Statistics]]


def posterior_sha256(definition: PolicyDefinition, rows: Iterable[tuple[RowKey, Statistics]]) -> str:
    """Hash what the posterior is a function of."""
    algorithm = definition.algorithm
    name_and_parameters = [algorithm.name, sorted([name, float(value)] for name, value in algorithm.parameters.items())]
    counted = [
        [key.segment, key.arm, key.bucket, statistics.dimension, statistics.sums.tolist()]
        for key, statistics in sorted(rows, key=lambda row: row[0])
        if statistics.n
    ]
    # Names and integers read the same from both writers; orjson is ten times as fast, but writes 1e-6 for 1e-06.
    parts = (canonical_bytes(name_and_parameters), definition.reward_exponent, orjson.dumps(counted))
    return hashlib.sha256(b'{"algorithm":%b,"reward_exponent":%d,"rows":%b}' % parts).hexdigest()


def merge_buckets(rows: Iterable[tuple[RowKey, Statistics]]) -> dict[tuple[str, str], Statistics]:
    """Sum the time buckets of each (segment, arm)."""
    merged: dict[tuple[str, str], Statistics] = {}
    for key, statistics in rows:
        if not statistics.n:  # all of its decisions were erased: as if there had been none
            continue
        known = merged.get((key.segment, key.arm))
        merged[key.segment, key.arm] = statistics if known is None else known + statistics
    return merged


def segment_posteriors(definition: PolicyDefinition, rows: Rows) -> list[dict[str, Any]]:
    """Derive the posterior of every segment of the definition, each with every arm, data or not."""
    merged = merge_buckets(rows)
    model = model_for(definition.algorithm.name, definition.algorithm.parameters)
    grid = Grid(definition.reward_exponent)
    dimension = definition.dimension
    arms = sorted(definition.arm_names)
    segments = sorted({*definition.segments.names, *(segment for segment, _ in merged)})
    records = []
    for segment in segments:
        statistics = [merged.get((segment, arm)) or Statistics.zero(dimension) for arm in arms]
        posterior = model.posterior(statistics, grid)
        records.append(
            {
                "segment": segment,
                "arms": arms,
                "counts": [row.n for row in statistics],
                "reward_sums": [row.reward_sum for row in statistics],
                "parameters": [
                    {"name": name, "shape": list(array.shape), "data": np.ascontiguousarray(array, "<f8").tobytes()}
                    for name, array in sorted(posterior.parameters.items())
                ],
            }
        )
    return records


def build_snapshot(
    definition: PolicyDefinition, rows: Rows, marks: Mapping[int, Mark], version: int, parent: str
) -> bytes:
    """Return the snapshot's bytes; its id is `snapshot_id` of them."""
    canonical = to_canonical_json(definition)
    record = {
        "policy": definition.name,
        "version": version,
        "parent": parent,
        "generation": definition.generation,
        "definition_hash": hashlib.sha256(canonical).hexdigest(),
        "definition": canonical.decode(),
        "schema_hash": definition.schema_hash,
        "ledger_offsets": [{"partition": source, "offset": marks[source].ledger_offset} for source in sorted(marks)],
        "event_time_ms": min((mark.event_time_ms for mark in marks.values()), default=0),
        "posterior_sha256": posterior_sha256(definition, rows),
        "segments": segment_posteriors(definition, rows),
    }
    return avro.encode("snapshot", record)


def snapshot_id(content: bytes) -> str:
    """Return the content address of a snapshot record."""
    return hashlib.sha256(content).hexdigest()

"""Statistics → posterior → snapshot record. Pure; the one way from sums to floating point.

`posterior_sha256` is taken over the exact statistics and the model they feed, as canonical JSON:

    {"algorithm": [name, [[parameter, value], …]],
     "arms": [[arm, [mean, weight, variance] or null, [[feature, value], …]], …],
     "forgetting": [half-life or null, window or null, bucket width],
     "reward_exponent": e,
     "spans": [[bucket, SHA-256 of the rows], …]}

with arms, parameters, features, spans and rows sorted, durations in milliseconds, and rows of zeros left out. A span is
the buckets that are counted together by their age, named by its middle one (`models/sums/spans.py`), and its rows are

    [[segment, arm, "", [n, Σr, Σr², b…, A…]], …]

`arms` names those with a prior or features and is left out where there are none, as `forgetting` is where nothing is
forgotten.
An algorithm that measures rewards by their bounds has the key "bounds": [low, high].
A policy with candidates has one more key, "candidates": [feature, …], and rows of arm "*".
Where delays are corrected for, decisions counted by context, or outcome kinds apart, it has more keys

    "delays": [event time, or 0 where nothing is open; bucket width; [[kind, typical worth, window], …]]
    "contexts": bits of a step
    "kinds": [[kind, worth, exponent of its amounts], …]

and what is told apart stands among the rows, under its name:

    [segment, arm, name, [column, …]]

Everything in a posterior is a function of just that, and integers hash alike on every machine, where the last bit of
a float depends on the linear algebra library (ops/decisions/0002-exact-statistics.md). So the sums stand there by
span, before they are weighed. Of spans that have not changed the hash is known.

Releases before had no spans (ops/decisions/0061-spans.md): every bucket stood for itself, as

     "rows": [[segment, arm, bucket, d, [n, Σr, Σr², b…, A…]], …]
     "tallies": [[segment, arm, bucket, name, [column, …]], …]

which is how their snapshots are proven still: a hash says by its form what it was taken of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models import ALGORITHMS, model_for
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.candidates import CANDIDATES
from pipeline.policy.canonical import canonical_bytes, to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.samples import WATCH
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.derivation import Derivation
from pipeline.publish.exposures import count_exposures
from pipeline.publish.maturity import as_of, is_corrected
from pipeline.publish.merging import merge_buckets, weigh_buckets
from pipeline.publish.objectives import reward_sums
from pipeline.publish.partials import Base, Mark

Rows = Sequence[tuple[RowKey, Statistics]]
Row = tuple[str, str]
"""Segment and arm."""


def posterior_sha256(
    definition: PolicyDefinition, rows: Iterable[tuple[RowKey, Statistics]] | AgedRows, as_of_ms: int = 0
) -> str:
    """Hash what the posterior is a function of.

    `as_of_ms` is the event time that a policy's delays are corrected at; others don't depend on it.
    """
    aged = AgedRows.of(rows)
    parts = {**_model_parts(definition), "reward_exponent": definition.reward_exponent}
    if is_corrected(definition):
        parts["delays"] = _delay_parts(definition, as_of(aged.ever.items(), as_of_ms))
    if definition.context_bits is not None:
        parts["contexts"] = definition.context_bits
    if not aged.coarsens:
        return _sha256_by_bucket(definition, aged, parts)
    head = canonical_bytes(parts)  # no other key is behind "spans"
    hashed = aged.hashed(has_tallies=definition.has_tallies)
    return hashlib.sha256(b'%b,"spans":[%b]}' % (head[:-1], hashed)).hexdigest()


def _sha256_by_bucket(definition: PolicyDefinition, aged: AgedRows, parts: dict[str, Any]) -> str:
    """Hash as the releases did that had no spans."""
    rows = aged.rows()
    counted = [
        [key.segment, key.arm, key.bucket, statistics.dimension, statistics.sums]
        for key, statistics in rows
        if not key.tally
    ]
    tail = b"}"
    if definition.has_tallies:
        tail = b',"tallies":%b}' % _integers(_tallied(rows))
    # Names and integers read the same from both writers; orjson is ten times as fast, but writes 1e-6 for 1e-06.
    head = canonical_bytes(parts)
    return hashlib.sha256(b'%b,"rows":%b%b' % (head[:-1], _integers(counted), tail)).hexdigest()


def as_published(
    posterior_hash: str, definition: PolicyDefinition, rows: Sequence[tuple[RowKey, Statistics]], as_of_ms: int = 0
) -> AgedRows:
    """Return rows by age as the release counted them that published a hash; the present one if none fits."""
    aged = AgedRows(rows)
    if posterior_hash != posterior_sha256(definition, aged, as_of_ms):
        by_bucket = AgedRows(rows, coarsens=False)
        if posterior_hash == posterior_sha256(definition, by_bucket, as_of_ms):
            return by_bucket
    return aged


def _integers(rows: list[Any]) -> bytes:
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)


def _delay_parts(definition: PolicyDefinition, as_of_ms: int) -> list[Any]:
    kinds = [[rule.kind, float(rule.typical_worth), rule.window_ms] for rule in definition.reward.outcomes]
    return [as_of_ms, definition.bucket_ms, kinds]


def _tallied(rows: Rows) -> list[Any]:
    return [
        [key.segment, key.arm, key.bucket, key.tally, row.sums]
        for key, row in rows
        if key.tally and not key.tally.startswith(WATCH) and row.sums.any()
    ]


def _model_parts(definition: PolicyDefinition) -> dict[str, Any]:
    """Return what, beside the statistics, a posterior is a function of."""
    algorithm, forgetting = definition.algorithm, definition.forgetting
    parts: dict[str, Any] = {
        "algorithm": [algorithm.name, sorted([name, float(value)] for name, value in algorithm.parameters.items())]
    }
    arms = [
        [arm.name, arm.prior and [arm.prior.mean, arm.prior.weight, arm.prior.variance], arm.features]
        for arm in sorted(definition.arms, key=lambda arm: arm.name)
        if arm.prior or arm.features
    ]
    if ALGORITHMS[algorithm.name].goes_by_bounds:
        parts["bounds"] = [definition.reward.low, definition.reward.high]
    if arms:
        parts["arms"] = arms
    if definition.candidates is not None:
        parts["candidates"] = list(definition.candidates.features)
    if definition.reward.is_weighted:
        parts["kinds"] = [
            [rule.kind, definition.reward.worth_on_grid(rule), rule.amount_exponent]
            for rule in definition.reward.outcomes
        ]
    if not forgetting.is_none:
        parts["forgetting"] = [forgetting.half_life_ms, forgetting.window_ms, definition.bucket_ms]
    return parts


def segment_posteriors(
    definition: PolicyDefinition, rows: Rows | AgedRows, as_of_ms: int = 0, known: Derivation | None = None
) -> list[dict[str, Any]]:
    """Derive the posterior of every segment of the definition, each with every arm, data or not.

    What is `known` of the snapshot before is gone on from; the result is the same.
    """
    aged, known = AgedRows.of(rows), known or Derivation()
    merged = merge_buckets(aged)
    weighed = weigh_buckets(definition, aged, as_of_ms, known.fading)
    model = model_for(definition.algorithm.name, definition.algorithm.parameters)
    dimension = definition.dimension
    arms = sorted(definition.arm_names)
    segments = sorted({segment for segment, _ in weighed})
    learned_of = arms if definition.candidates is None else [*arms, CANDIDATES]
    by_segment = {segment: [weighed[segment, arm] for arm in learned_of] for segment in segments}
    derived = known.derive(model, definition.grid, arms, by_segment)
    told = reward_sums(definition, aged.ever.items()) if definition.reward.is_weighted else None
    records = []
    for segment, posterior in zip(segments, derived, strict=True):
        statistics = [merged.get((segment, arm)) or Statistics.zero(dimension) for arm in arms]
        records.append(
            {
                "segment": segment,
                "arms": arms,
                "counts": [row.n for row in statistics],
                "reward_sums": [
                    row.reward_sum if told is None else told.get((segment, arm), 0)
                    for arm, row in zip(arms, statistics, strict=True)
                ],
                "parameters": [
                    {"name": name, "shape": list(array.shape), "data": np.ascontiguousarray(array, "<f8").tobytes()}
                    for name, array in sorted(posterior.arrays().items())
                ],
            }
        )
    return records


def snapshot_fields(
    definition: PolicyDefinition,
    rows: Rows | AgedRows,
    marks: Mapping[int, Mark],
    version: int,
    parent: str,
    base: Base | None = None,
    known: Derivation | None = None,
) -> dict[str, Any]:
    """Return every field of a `snapshot` record, with all posteriors in `segments`.

    Args:
        definition: of the policy, in the generation that is published.
        rows: what has been learned, the base included.
        marks: how far each partition of the ledger is in.
        version: its number.
        parent: id of the version before.
        base: what a replay has put under the generation.
        known: what was derived for the version before, to go on from.
    """
    aged = AgedRows.of(rows)
    canonical = to_canonical_json(definition)
    alone_ms = base.event_time_ms if base else 0
    latest_ms = max((m.event_time_ms for m in marks.values()), default=alone_ms)
    return {
        "policy": definition.name,
        "version": version,
        "parent": parent,
        "generation": definition.generation,
        "definition_hash": hashlib.sha256(canonical).hexdigest(),
        "definition": canonical.decode(),
        "schema_hash": definition.schema_hash,
        "ledger_offsets": [{"partition": source, "offset": marks[source].ledger_offset} for source in sorted(marks)],
        "event_time_ms": event_time_of(marks, base),
        "posterior_sha256": posterior_sha256(definition, aged, latest_ms),
        "segments": segment_posteriors(definition, aged, latest_ms, known),
        "rollback_of": 0,
        "exposures": count_exposures(definition, aged, latest_ms),
        "base_plan": base.plan if base else "",
        "base_cuts": base.cuts if base else [],
        "parts": [],
    }


def event_time_of(marks: Mapping[int, Mark], base: Base | None) -> int:
    """Return the event time that a snapshot is complete up to."""
    # A base is closed: once something is learned beside it, that says how far one is.
    alone_ms = base.event_time_ms if base else 0
    return min((mark.event_time_ms for mark in marks.values()), default=alone_ms)


def build_snapshot(
    definition: PolicyDefinition,
    rows: Rows | AgedRows,
    marks: Mapping[int, Mark],
    version: int,
    parent: str,
    base: Base | None = None,
) -> bytes:
    """Return a snapshot as one record, however large; its id is `snapshot_id` of it. Arguments as `snapshot_fields`."""
    return avro.encode("snapshot", snapshot_fields(definition, rows, marks, version, parent, base))


def snapshot_id(content: bytes) -> str:
    """Return the content address of a snapshot record."""
    return hashlib.sha256(content).hexdigest()

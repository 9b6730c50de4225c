"""A published snapshot against what the ledger says it should be: equal, or the first difference in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.exposures import count_exposures
from pipeline.publish.snapshot import as_published, posterior_sha256, segment_posteriors

# Posterior parameters are float64 from one canonical derivation; linear algebra libraries differ in the last bits.
RELATIVE_TOLERANCE = 1e-9


class Difference(NamedTuple):
    """Where a snapshot is not what its ledger prefix says."""

    where: str
    published: str
    recomputed: str


def first_difference(
    snapshot: Mapping[str, Any],
    definition: PolicyDefinition,
    rows: Sequence[tuple[RowKey, Statistics]],
    as_of_ms: int = 0,
    *,
    is_outline: bool = False,
) -> Difference | None:
    """Return the first difference in reading order, or None when the snapshot is proven.

    `as_of_ms` is the latest event time of the ledger prefix. Of an outline, parameters and what is in parts are left
    out.
    """
    return next(_differences(snapshot, definition, rows, as_of_ms, is_outline=is_outline), None)


def _differences(
    snapshot: Mapping[str, Any],
    definition: PolicyDefinition,
    rows: Sequence[tuple[RowKey, Statistics]],
    as_of_ms: int,
    *,
    is_outline: bool,
) -> Iterator[Difference]:
    aged = as_published(snapshot["posterior_sha256"], definition, rows, as_of_ms)
    if not (is_outline and snapshot["parts"]):
        recomputed = segment_posteriors(definition, aged, as_of_ms)
        bare = [{**segment, "parameters": []} for segment in recomputed] if is_outline else recomputed
        yield from _all_segments(snapshot["segments"], bare)
    yield from _exposure_differences(snapshot["exposures"], definition, aged)
    expected = posterior_sha256(definition, aged, as_of_ms)
    if snapshot["posterior_sha256"] != expected:
        yield Difference("posterior_sha256", snapshot["posterior_sha256"], expected)


def _all_segments(seen: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    published, recomputed = ({segment["segment"]: segment for segment in each} for each in (seen, expected))
    for name in sorted(published.keys() | recomputed.keys()):
        if name not in published or name not in recomputed:
            yield Difference(f"segment {name}", _presence(name in published), _presence(name in recomputed))
            continue
        yield from _segment_differences(name, published[name], recomputed[name])


def _exposure_differences(
    published: Sequence[Mapping[str, Any]], definition: PolicyDefinition, rows: AgedRows
) -> Iterator[Difference]:
    """Compare what caps and budgets go by; an older release published none."""
    for seen in published:
        window_ms = seen["window_ms"]
        for expected in count_exposures(definition, rows, seen["until_ms"]):
            if expected["window_ms"] == window_ms and expected != seen:
                where = f"exposures within {window_ms} ms"
                yield Difference(where, str(seen["counts"]), str(expected["counts"]))


def _segment_differences(
    name: str, published: Mapping[str, Any], recomputed: Mapping[str, Any]
) -> Iterator[Difference]:
    if published["arms"] != recomputed["arms"]:
        yield Difference(f"segment {name}: arms", str(published["arms"]), str(recomputed["arms"]))
        return
    for field, words in (("counts", "count"), ("reward_sums", "reward sum in grid units")):
        for arm, seen, expected in zip(published["arms"], published[field], recomputed[field], strict=True):
            if seen != expected:
                yield Difference(f"segment {name}, arm {arm}: {words}", str(seen), str(expected))
    for seen, expected in zip(published["parameters"], recomputed["parameters"], strict=True):
        if not _is_close(seen, expected):
            yield Difference(f"segment {name}: posterior parameter {seen['name']}", "differs", "see posterior")


def _is_close(seen: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    if (seen["name"], seen["shape"]) != (expected["name"], expected["shape"]):
        return False
    a, b = (np.frombuffer(parameter["data"], dtype="<f8") for parameter in (seen, expected))
    return bool(np.allclose(a, b, rtol=RELATIVE_TOLERANCE, atol=0.0))


def _presence(is_there: bool) -> str:
    return "there" if is_there else "missing"

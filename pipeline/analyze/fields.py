"""Contexts → fields: what is known of a visitor, as levels to group by and as columns to predict from. Pure.

A number goes by its rank among all seen, so that stretching it changes nothing; a word by its commonest values, the
rare ones together. A field that can tell nobody apart is left out, and its reason is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.models.model import Floats

SEGMENT = "segment"
OTHERS, MISSING = "(others)", "(missing)"
MOST_LEVELS = 20
"""Of a word; what is rarer goes with the others."""
LEAST_SUBJECTS = 30
"""Of a word's value, below which it goes with the others."""
PARTS = 3
"""Of a number's range, each with as many decisions, where it is told by levels."""
FEW_VALUES = 6
"""A number with so few values is told by each of them."""


class Field(NamedTuple):
    """One thing that is known of N decisions."""

    name: str
    codes: Indices
    """(N,) index into `levels`."""
    levels: tuple[str, ...]
    columns: Floats
    """(N, m) to predict from: of a number its rank from -1 to 1, and its square; of a word 0 and 1 for each level."""


class Fields(NamedTuple):
    """What there is, and what there is not."""

    usable: tuple[Field, ...]
    left_out: dict[str, str]
    """Why, by name."""

    def named(self, name: str) -> Field | None:
        """Return one of them."""
        return next((one for one in self.usable if one.name == name), None)


def fields_of(log: DecisionLog, names: Iterable[str] | None = None) -> Fields:
    """Read the fields of a log's contexts, and its segment; `names`: only those."""
    wanted = None if names is None else set(names)
    seen = sorted({key for context in log.contexts for key in context} - {SEGMENT})
    columns: dict[str, Sequence[object]] = {SEGMENT: [log.segments[place] for place in log.segment.tolist()]}
    columns |= {name: [context.get(name) for context in log.contexts] for name in seen}
    unit = log.clusters.unit
    usable: list[Field] = []
    left_out: dict[str, str] = {}
    for name, values in columns.items():
        if wanted is not None and name not in wanted:
            continue
        found = _field(name, values, unit)
        if isinstance(found, Field):
            usable.append(found)
        elif name != SEGMENT:
            left_out[name] = found
    absent = dict.fromkeys(sorted((wanted or set()) - {*columns}), "is in no context")
    return Fields(tuple(usable), left_out | absent)


def columns_of(fields: Sequence[Field], count: int) -> Floats:
    """Return the columns of several fields side by side, (N, m), each with mean 0 and deviation 1."""
    table = np.hstack([np.zeros((count, 0)), *(field.columns for field in fields)])
    deviation = table.std(axis=0)
    scaled: Floats = (table - table.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0)
    return scaled


def _field(name: str, values: Sequence[object], unit: Indices) -> Field | str:
    """Return the field, or in words why there is none."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, list | tuple | dict) for value in known):
        return "holds lists, of which none is a level"
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return _number(name, np.array([np.nan if value is None else value for value in values], np.float64))
    words = [MISSING if value is None else _word(value) for value in values]
    return _words(name, words, unit)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(name: str, numbers: Floats) -> Field | str:
    there = np.isfinite(numbers)
    values = np.unique(numbers[there])
    if len(values) < 2 and there.all():
        return f"is always {values[0]:g}"
    if len(values) <= FEW_VALUES:
        codes, levels = np.searchsorted(values, numbers), tuple(f"{value:g}" for value in values)
    else:
        edges = np.unique(np.quantile(numbers[there], np.arange(1, PARTS) / PARTS))
        codes = np.searchsorted(edges, numbers, side="left")
        between = (f"above {low:g} to {high:g}" for low, high in pairwise(edges))
        levels = (f"to {edges[0]:g}", *between, f"above {edges[-1]:g}")
    from scipy.stats import rankdata  # noqa: PLC0415  half a second to import, and few commands need it

    ranks = np.zeros(len(numbers))
    if there.any():
        ranks[there] = 2.0 * (rankdata(numbers[there]) - 0.5) / there.sum() - 1.0
    columns = [ranks, ranks * ranks] if len(values) > 2 else [ranks]
    if not there.all():
        columns.append(1.0 - there)
        codes, levels = np.where(there, codes, len(levels)), (*levels, MISSING)
    return Field(name, codes.astype(np.int64), levels, np.column_stack(columns))


def _words(name: str, words: Sequence[str], unit: Indices) -> Field | str:
    found, codes, counts = np.unique(np.array(words, object).astype(str), return_inverse=True, return_counts=True)
    if len(found) < 2:
        return f"is always {found[0]}"
    common = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
    kept = [
        place
        for place in sorted(common.tolist())
        if counts[place] >= LEAST_SUBJECTS and len(np.unique(unit[codes == place])) >= LEAST_SUBJECTS
    ]
    if not kept:
        return f"has {len(found):,} values, and none with {LEAST_SUBJECTS} subjects"
    place_of = np.full(len(found), len(kept))
    place_of[kept] = np.arange(len(kept))
    levels = tuple(str(found[place]) for place in kept) + ((OTHERS,) if len(kept) < len(found) else ())
    if len(levels) < 2:
        return f"is always {levels[0]}"
    level = place_of[codes].astype(np.int64)
    return Field(name, level, levels, (level[:, None] == np.arange(len(levels))).astype(np.float64))

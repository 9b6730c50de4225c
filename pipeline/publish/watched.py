"""A policy's rows as monitors look at them: rewards made of their kinds where these are counted apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.samples import WATCH
from pipeline.publish.objectives import rewarded

Rows = Iterable[tuple[RowKey, Statistics]]


def watched_rows(definition: PolicyDefinition, rows: Rows) -> list[tuple[RowKey, Statistics]]:
    """Return sums and samples; rewards that are made of kinds are rounded to the grid, row by row."""
    known = list(rows)
    if not definition.reward.is_weighted:
        return [(key, row) for key, row in known if not key.tally or key.tally.startswith(WATCH)]
    samples = [(key, row) for key, row in known if key.tally.startswith(WATCH)]
    made = rewarded(definition, known, is_plain=False)
    return [*samples, *((key, Statistics(row.dimension, np.rint(row.sums).astype(np.int64))) for key, row in made)]

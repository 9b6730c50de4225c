"""Posteriors that go on from those of the snapshot before: only rows whose sums have changed are derived anew. Pure.

Invariant: the same bytes as deriving all of them, which holds where an arm's posterior is a function of its own sums
alone. Where arms or segments learn from each other, all are derived every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.models import ALGORITHMS
from pipeline.models.grid import Grid
from pipeline.models.model import LearnsAcrossSegments, Model, Posterior, Sums, posteriors
from pipeline.models.sums.contexts import ContextSums
from pipeline.models.sums.groups import GroupSums
from pipeline.models.sums.importance import ImportanceSums
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import WeightedSums
from pipeline.publish.fading import Fading


class _Basis(NamedTuple):
    """What, beside the sums, posteriors are a function of."""

    model: Model
    grid: Grid
    arms: Sequence[str]


class _Known(NamedTuple):
    """One segment of the snapshot before."""

    sums: Sequence[Sums]
    posterior: Posterior


class Derivation:
    """What was derived last for one policy; nothing at first."""

    def __init__(self) -> None:
        self._basis: _Basis | None = None
        self._segments: dict[str, _Known] = {}
        self.fading = Fading()
        """The sums that it was derived of, as far as buckets are weighed."""

    def derive(
        self, model: Model, grid: Grid, arms: Sequence[str], segments: Mapping[str, Sequence[Sums]]
    ) -> list[Posterior]:
        """Return each segment's posterior, from a row of sums for each arm."""
        info = ALGORITHMS[model.name]
        if info.learns_across_arms or info.pools or isinstance(model, LearnsAcrossSegments):
            return posteriors(model, list(segments.values()), grid)
        basis = _Basis(model, grid, list(arms))
        known = self._segments if basis == self._basis else {}
        derived = {name: _Known(sums, _go_on(model, grid, known.get(name), sums)) for name, sums in segments.items()}
        self._basis, self._segments = basis, derived
        return [one.posterior for one in derived.values()]


def _go_on(model: Model, grid: Grid, known: _Known | None, sums: Sequence[Sums]) -> Posterior:
    if known is None:
        return model.posterior(sums, grid)
    changed = [place for place, pair in enumerate(zip(known.sums, sums, strict=True)) if not _is_same(*pair)]
    if not changed:
        return known.posterior
    if len(changed) == len(sums):
        return model.posterior(sums, grid)
    fresh = model.posterior([sums[place] for place in changed], grid).parameters
    parameters = {name: array.copy() for name, array in known.posterior.parameters.items()}
    for name, array in parameters.items():
        array[changed] = fresh[name]
        array.setflags(write=False)
    return Posterior(parameters)


def _is_same(before: Sums, after: Sums) -> bool:
    if isinstance(before, ContextSums | GroupSums | ImportanceSums):
        return before.is_same(after)
    if isinstance(before, Statistics):
        return isinstance(after, Statistics) and before == after
    return (
        isinstance(before, WeightedSums)
        and isinstance(after, WeightedSums)
        and before.features == after.features
        and np.array_equal(before.sums, after.sums)
    )

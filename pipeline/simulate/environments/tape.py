"""Chance, by decision: row t is the same after the same seed, in whatever order rows are asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.models.model import Floats

BLOCK = 1_024


class Tape:
    """Endless rows of independent draws."""

    def __init__(self, seed: int, purpose: int, columns: int, kind: Literal["uniform", "normal"] = "uniform") -> None:
        self._seed = (seed, purpose)
        self._columns = columns
        self._kind = kind
        self._blocks: dict[int, Floats] = {}

    def row(self, t: int) -> Floats:
        """Return the (columns,) draws of decision t."""
        number, place = divmod(t, BLOCK)
        block = self._blocks.get(number)
        if block is None:
            rng = np.random.default_rng((*self._seed, number))
            shape = (BLOCK, self._columns)
            block = rng.random(shape) if self._kind == "uniform" else rng.standard_normal(shape)
            self._blocks[number] = block
        row: Floats = block[place]
        return row


def arm_names(count: int) -> tuple[str, ...]:
    """Name arms so that they sort as they are numbered.

    >>> arm_names(2)
    ('arm-000', 'arm-001')
    """
    return tuple(f"arm-{number:03}" for number in range(count))


def numeric(count: int) -> tuple[dict[str, object], ...]:
    """Return features x0, x1, … within ±1."""
    return tuple({"name": f"x{i}", "kind": "numeric", "low": -1.0, "high": 1.0} for i in range(count))


def as_context(values: Floats) -> dict[str, object]:
    """Return the context of such features.

    >>> as_context(np.array([0.5]))
    {'x0': 0.5}
    """
    return {f"x{i}": value for i, value in enumerate(values.tolist())}

"""A classification data set as a bandit: classes are arms, and the right one pays 1 (Dudík et al. 2011, section 5)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.models.model import Floats
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.tape import as_context


class Classification:
    """Any X and y, as scikit-learn has them; rows come in an order of the seed's, again and again."""

    def __init__(self, X: Floats, y: Sequence[object], decisions: int = 0) -> None:
        """Take X (n, d) and n labels; each makes one decision where none are given."""
        rows = np.asarray(X, np.float64)
        labels = [str(label) for label in y]
        if rows.ndim != 2 or len(rows) != len(labels) or not len(rows):
            raise ValueError(f"X of shape {rows.shape} and {len(labels)} labels are no data set")
        if not np.isfinite(rows).all():
            raise ValueError("X has values that are no finite numbers")
        varying = rows[:, np.ptp(rows, axis=0) > 0.0]
        self._rows = varying
        names = sorted(set(labels))
        self._labels = np.array([names.index(label) for label in labels])
        low, high = varying.min(axis=0).tolist(), varying.max(axis=0).tolist()
        features = tuple(
            {"name": f"x{i}", "kind": "numeric", "low": a, "high": b}
            for i, (a, b) in enumerate(zip(low, high, strict=True))
        )
        arms = tuple(f"class-{place:03}" for place in range(len(names)))
        self.setting = Setting(arms, features=features, decisions=decisions or len(rows))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._order = np.random.default_rng((seed, 0)).permutation(len(self._rows))

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return as_context(self._rows[self._row(t)])

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return float(arm == self._labels[self._row(t)])

    def best(self, t: int) -> int:
        """See `Environment`."""
        return int(self._labels[self._row(t)])

    def _row(self, t: int) -> int:
        return int(self._order[t % len(self._order)])


class Blobs(Classification):
    """Classes that are two normal clouds each, in a few dimensions: somewhat more than lines can tell apart."""

    def __init__(self, classes: int = 5, dimension: int = 8, decisions: int = 3_000) -> None:
        """Take the number of classes and features."""
        rng = np.random.default_rng(20_110_211)
        y = rng.integers(classes, size=decisions)
        centres = 1.2 * rng.standard_normal((classes, 2, dimension))
        X = centres[y, rng.integers(2, size=decisions)] + rng.standard_normal((decisions, dimension))
        super().__init__(X, y.tolist(), decisions)


class Table(Classification):
    """A CSV file: a line of headings, then numbers and, in the last column, the label."""

    def __init__(self, data: str, decisions: int = 0) -> None:
        """Take the file's path."""
        try:
            with Path(data).open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if row][1:]
        except OSError as error:
            raise ConfigError(f"environment table, data={data}", [f"can't be read: {error.strerror}"]) from error
        super().__init__(np.array([row[:-1] for row in rows], np.float64), [row[-1] for row in rows], decisions)


class Digits(Classification):
    """Handwritten digits, 8 by 8 (from scikit-learn), on their first principal components."""

    def __init__(self, components: int = 16, decisions: int = 0) -> None:
        """Take how many components are kept."""
        try:
            from sklearn.datasets import load_digits  # noqa: PLC0415  an optional library
        except ImportError as error:
            raise ConfigError("environment digits", ["needs scikit-learn: pip install scikit-learn"]) from error
        X, y = load_digits(return_X_y=True)
        centred = X - X.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        super().__init__(centred @ axes[:components].T, y.tolist(), decisions)

"""Whether something goes along with something else: a max-t test by flipping the signs of subjects. Pure.

With z and y less their means, a subject's score is U = Σ (z - z̄)(y - ȳ) over its decisions. Where y does not go along
with z, a sum of scores is as likely with some of their signs turned, whatever their sizes are: so the largest of
|Σ U| / sqrt(Σ U²) over all columns is compared with what it comes to under random signs (the wild cluster bootstrap
with the null imposed: Cameron, Gelbach & Miller 2008; of a maximum: Romano & Wolf 2005). Few subjects of great weight
make great scores under every sign, and no false alarm.

Ten decisions of which none earned anything vary by nothing, and seem sure. So what is seen is measured by no less than
what Σ U² is expected to be: Σ (z - z̄)² times what (y - ȳ)² is where nothing goes along with z, as a score test does.

Of several tests each is told by Holm's (1979) p-value: the chance that any alarm is false is what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluate.log import Clusters
from pipeline.models.model import Floats

FLIPS = 1_999
MOST_UNITS = 20_000
"""Scores of more subjects are added up to so many first: sums of independent ones are independent."""
_CHUNK = 4_000_000
_NOTHING = 1e-24
"""Of the squares of z and y: what rounding leaves of a column that is constant."""


def association(
    z: Floats,
    y: Floats,
    clusters: Clusters,
    rng: np.random.Generator,
    flips: int = FLIPS,
    expected: Floats | None = None,
) -> float:
    """Return the p-value of "no column of y goes along with any of z"; 1 where nothing varies.

    Args:
        z: (N, m).
        y: (N, k).
        clusters: what varies independently.
        rng: of the signs.
        flips: how many times signs are drawn.
        expected: (N, k) what (y - ȳ)² is expected to be; None: the same for each decision.
    """
    z, y = z - z.mean(axis=0), y - y.mean(axis=0)
    scores = _by_unit(z, y, clusters)
    squares = np.square(scores).sum(axis=0)
    scale = np.square(z).sum(axis=0)[:, None] * np.square(y).sum(axis=0)
    varies = squares > _NOTHING * scale.ravel()
    if not varies.any():
        return 1.0
    least = np.square(z).T @ (np.broadcast_to(np.square(y).mean(axis=0), y.shape) if expected is None else expected)
    sums = np.abs(scores[:, varies].sum(axis=0))
    seen = float((sums / np.sqrt(np.maximum(squares, least.ravel())[varies])).max())
    scores = scores[:, varies] / np.sqrt(squares[varies])
    as_large, n = 0, len(scores)
    step = max(_CHUNK // n, 1)
    for start in range(0, flips, step):
        signs = rng.integers(0, 2, (min(step, flips - start), n), np.int8).astype(np.float64)
        signs += signs - 1.0
        # what rounding may make of the very same sum counts as as large
        as_large += int((np.abs(signs @ scores).max(axis=1) >= seen * (1.0 - 1e-12)).sum())
    return (1 + as_large) / (1 + flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for before, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min((len(p_values) - before) * p_values[place], 1.0))
        adjusted[place] = largest
    return adjusted


def _by_unit(z: Floats, y: Floats, clusters: Clusters) -> Floats:
    """Return the scores, (units, m k)."""
    unit = clusters.unit % MOST_UNITS
    count = min(clusters.how_many, MOST_UNITS)
    columns = [np.bincount(unit, one * other, count) for one in z.T for other in y.T]
    return np.column_stack(columns).astype(np.float64)

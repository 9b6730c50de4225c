"""An Open Bandit campaign → a log: every item an arm, every position a segment.

Saito, Aihara, Matsutani & Narita, arXiv:2008.07146. The campaigns' Thompson sampling drew once for every item and
filled the three positions with the best draws in order, so at position r it shows an item with the chance that its
draw is the r-th best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.demo.open_bandit import Impression
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.ranks import beta_ranks
from pipeline.evaluate.target import Fixed
from pipeline.models.model import Floats


def log_of(impressions: Sequence[Impression]) -> DecisionLog:
    """Return a campaign's log, in order of time."""
    ordered = sorted(impressions, key=lambda impression: (impression.at_ms, impression.row))
    items = tuple(sorted({one.item for one in ordered}, key=int))
    positions = tuple(map(str, sorted({one.position for one in ordered})))
    arm = np.array([items.index(one.item) for one in ordered])
    segment = np.array([positions.index(str(one.position)) for one in ordered])
    possible = np.zeros((len(positions), len(items)), np.bool_)
    possible[segment, arm] = True
    return DecisionLog(
        arms=items,
        segments=positions,
        arm=arm,
        segment=segment,
        reward=np.array([float(one.is_clicked) for one in ordered]),
        propensity=np.array([one.propensity for one in ordered]),
        contexts=[{"position": one.position, **one.features} for one in ordered],
        decided_at_ms=np.array([one.at_ms for one in ordered]),
        offer=segment,
        offered=np.ones_like(possible),
        possible=possible,
        bounds=(0.0, 1.0),
        weight_bound_known=False,
        least_propensity=np.array([one.propensity for one in ordered]),
    )


def ranked_thompson(name: str, log: DecisionLog, alpha: Floats, beta: Floats) -> Fixed:
    """Return the target that fills position r with the r-th best of one draw an item.

    Raises:
        ConfigError: the parameters aren't one an item, or positions aren't 1, 2, …
    """
    if len(alpha) != len(log.arms) or len(beta) != len(log.arms):
        raise ConfigError(name, [f"has {len(alpha)} arms, the log has {len(log.arms)}"])
    ranks = [int(segment) for segment in log.segments]
    if min(ranks) < 1 or max(ranks) > len(log.arms):
        raise ConfigError(name, [f"positions {ranks} are not ranks from 1 to {len(log.arms)}"])
    table = beta_ranks(alpha, beta, max(ranks))
    return Fixed(name, table[[rank - 1 for rank in ranks]])

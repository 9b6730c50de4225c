"""Simulated visitors: what each would do under every arm, drawn up front from a seed. Pure.

So policies can be compared on the very same visitors, whatever each of them shows. The rates are far above
a shop's, that the differences may show within a minute; each segment has a best arm of its own:

    chance of a click, and of a purchase after it; reward 0.2 for a click, 1 for a purchase

                  collab_filter   content_based   hybrid
    new             .35  .20        .70  .60      .45  .25
    returning       .70  .60        .45  .25      .35  .20
    premium         .45  .25        .35  .20      .70  .60
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.policy.reward import RewardRules

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SEGMENTS = ("new", "returning", "premium")
ARMS = ("collab_filter", "content_based", "hybrid")
SEGMENT_SHARES = (0.40, 0.35, 0.25)
CLICK, PURCHASE = "click", "purchase"

_BEST, _SECOND, _THIRD = (0.70, 0.60), (0.45, 0.25), (0.35, 0.20)
RATES: Floats = np.array([[_THIRD, _BEST, _SECOND], [_BEST, _SECOND, _THIRD], [_SECOND, _THIRD, _BEST]])
"""(segment, arm, 2): P(click), P(purchase | click)."""

# Mean and longest delay of a click after the decision, and of a purchase after the click; together below the
# shortest window of the policy, 5 s.
CLICK_DELAY_MS = (400, 2_000)
PURCHASE_DELAY_MS = (800, 2_500)


class Act(NamedTuple):
    """Something that a visitor does."""

    kind: str
    delay_ms: int
    """After the decision."""


@dataclass(frozen=True, eq=False)
class Visitors:
    """N visitors in order of arrival."""

    segments: Indices
    """(N,) index into `SEGMENTS`."""
    visits: Indices
    """(N,) visits so far; below 2 for new visitors only."""
    clicks: NDArray[np.bool_]
    """(N, K) whether the visitor would click under each arm."""
    purchases: NDArray[np.bool_]
    """(N, K) whether the visitor would buy under each arm; only after a click."""
    click_delays_ms: Indices
    """(N,) decision → click."""
    purchase_delays_ms: Indices
    """(N,) click → purchase."""

    def __len__(self) -> int:
        return len(self.segments)

    def context(self, visitor: int) -> dict[str, int | bool]:
        """Return what a site would know of a visitor; the policy's rules make the segment of it."""
        is_premium = SEGMENTS[self.segments[visitor]] == "premium"
        return {"premium": is_premium, "visits": int(self.visits[visitor])}

    def acts(self, visitor: int, arm: int) -> list[Act]:
        """Return what a visitor does once `arm` is shown, in order."""
        acts = []
        if self.clicks[visitor, arm]:
            acts.append(Act(CLICK, int(self.click_delays_ms[visitor])))
        if self.purchases[visitor, arm]:
            acts.append(Act(PURCHASE, int(self.click_delays_ms[visitor] + self.purchase_delays_ms[visitor])))
        return acts

    def rewards(self, rules: RewardRules) -> Floats:
        """Return (N, K): what each visitor would be worth under each arm, where the best of its outcomes counts."""
        click, purchase = rules.worth(CLICK, 1.0), rules.worth(PURCHASE, 1.0)
        rewards: Floats = np.maximum(self.clicks * click, self.purchases * purchase)
        return rewards


def simulate_visitors(count: int, seed: int) -> Visitors:
    """Draw visitors; the same count and seed give the same ones."""
    rng = np.random.default_rng(seed)
    segments = rng.choice(len(SEGMENTS), count, p=SEGMENT_SHARES)
    returning_visits = rng.integers(2, 40, count)
    first_visits = rng.integers(0, 2, count)
    rates = RATES[segments]
    clicks = rng.random((count, len(ARMS))) < rates[..., 0]
    purchases = clicks & (rng.random((count, len(ARMS))) < rates[..., 1])
    return Visitors(
        segments=segments.astype(np.int64),
        visits=np.where(segments == SEGMENTS.index("new"), first_visits, returning_visits),
        clicks=clicks,
        purchases=purchases,
        click_delays_ms=_delays_ms(rng, count, CLICK_DELAY_MS),
        purchase_delays_ms=_delays_ms(rng, count, PURCHASE_DELAY_MS),
    )


def true_means(rules: RewardRules) -> Floats:
    """Return (segment, arm): the expected reward, P(click) · (P(buy | click) · purchase + P(not) · click)."""
    click, purchase = rules.worth(CLICK, 1.0), rules.worth(PURCHASE, 1.0)
    clicks, buys = RATES[..., 0], RATES[..., 1]
    means: Floats = clicks * (buys * max(purchase, click) + (1.0 - buys) * click)
    return means


def _delays_ms(rng: np.random.Generator, count: int, mean_and_longest: tuple[int, int]) -> Indices:
    mean, longest = mean_and_longest
    return np.minimum(rng.exponential(mean, count), longest).astype(np.int64)

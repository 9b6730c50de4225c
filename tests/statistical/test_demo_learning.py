"""The demo without broker and processes: does the policy win by the margin that the demo promises, for any seed?

Outcomes come with the visitors' own delays, and a decision knows them a second later than that.
"""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from pipeline.demo.regret import cumulative_regret, last_third_shares, uniform_choices
from pipeline.demo.simulated import homepage_policy, play_seconds
from pipeline.demo.visitors import ARMS, SEGMENTS, Visitors, simulate_visitors, true_means
from pipeline.models import model_for
from pipeline.models.chances.floor import apply_floor
from pipeline.models.grid import Grid, reward_to_grid
from pipeline.models.sums.statistics import Statistics

HOMEPAGE = homepage_policy()
FRESHNESS_MS = 1_000


def choose_all(visitors: Visitors, seed: int) -> np.ndarray:
    """Play the policy; it settles optimistically, so a decision counts as 0 until its outcome is known."""
    model = model_for(HOMEPAGE.algorithm.name, HOMEPAGE.algorithm.parameters)
    grid = Grid(HOMEPAGE.reward_exponent)
    rng = np.random.default_rng(seed)
    counts = np.zeros((len(SEGMENTS), len(ARMS)), np.int64)
    sums = np.zeros_like(counts)
    worth = {
        kind: reward_to_grid(HOMEPAGE.reward.worth(kind, 1.0), grid.reward_exponent) for kind in ("click", "purchase")
    }
    known: list[tuple[float, int, int, int, int]] = []
    propensities = np.full((len(SEGMENTS), len(ARMS)), 1 / len(ARMS))
    choices = np.zeros(len(visitors), np.int64)
    last_published_ms = 0.0
    for visitor in range(len(visitors)):
        now_ms = visitor * 1000 * play_seconds(len(visitors)) / len(visitors)
        while known and known[0][0] <= now_ms:
            _, segment, arm, decisions, reward = heapq.heappop(known)
            counts[segment, arm] += decisions
            sums[segment, arm] += reward
        if now_ms - last_published_ms >= HOMEPAGE.publish_interval_ms:
            last_published_ms = now_ms
            for segment in range(len(SEGMENTS)):
                rows = [
                    Statistics(0, np.array([n, total, 0]))
                    for n, total in zip(counts[segment], sums[segment], strict=True)
                ]
                weights = model.probabilities(model.posterior(rows, grid), None)
                propensities[segment] = apply_floor(weights, HOMEPAGE.floor)
        segment = int(visitors.segments[visitor])
        arm = choices[visitor] = rng.choice(len(ARMS), p=propensities[segment])
        heapq.heappush(known, (now_ms + FRESHNESS_MS, segment, arm, 1, 0))
        before = 0
        for act in visitors.acts(visitor, arm):
            change = worth[act.kind] - before
            heapq.heappush(known, (now_ms + act.delay_ms + FRESHNESS_MS, segment, arm, 0, change))
            before = worth[act.kind]
    return choices


@pytest.mark.parametrize("seed", range(12))
def test_in_a_short_demo_the_policy_loses_far_less_than_half_of_what_chance_does(seed: int) -> None:
    visitors = simulate_visitors(1_500, seed)
    choices = choose_all(visitors, seed)
    means = true_means(HOMEPAGE.reward)
    uniform = uniform_choices(visitors.segments, len(ARMS), np.random.default_rng((seed, 1)))
    lost, lost_by_chance = (cumulative_regret(chosen, visitors.segments, means)[-1] for chosen in (choices, uniform))
    assert lost < 0.4 * lost_by_chance
    shares = last_third_shares(choices, visitors.segments, len(SEGMENTS), len(ARMS))
    assert (shares.argmax(axis=1) == means.argmax(axis=1)).all()
    assert shares.max(axis=1).min() > 0.7

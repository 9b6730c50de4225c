"""With delays corrected for, what comes late is neither taken for what never comes, nor waited for."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.merging import weigh_buckets
from pipeline.simulate.environments.delayed import DAY_MS, DisplayAdvertising, OnlyDelays
from pipeline.simulate.learner import Learner
from pipeline.simulate.run import run
from pipeline.simulate.spec import definition_of

SEEDS = range(101, 121)  # none of those that the priors' weights were chosen on


def played(
    environment: DisplayAdvertising, settle: str, seed: int, *, floor: float = 0.0, refresh: int = 400
) -> tuple[Learner, float]:
    """Play a whole environment, in batches of `refresh` decisions; return the learner, and its regret."""
    environment.reset(seed)
    definition = definition_of("beta_thompson", environment.setting, floor=floor, settle=settle)
    learner = Learner(settle, definition, environment.setting, np.random.default_rng((seed, 1)))
    found = run(environment, learner, environment.setting.decisions, refresh=refresh)
    return learner, found.total_regret


def means(learner: Learner, definition: PolicyDefinition, at_ms: int) -> np.ndarray:
    """Return each arm's mean reward as a posterior would have it."""
    weighed = weigh_buckets(definition, learner.rows(), at_ms)
    segment = definition.segments.names[0]
    sums = [weighed[segment, arm] for arm in definition.arm_names]
    return np.array([np.ldexp(one.reward_sum, -definition.reward_exponent) / one.n for one in sums])


@pytest.mark.parametrize(("settle", "is_fair"), [("optimistic", False), ("delay_corrected", True)])
def test_arms_that_differ_only_in_their_delays_seem_equally_good(settle, is_fair):
    # Windows are of thirty days, so after forty three quarters are open. Every arm is shown as often (a floor of
    # all but a fifth), so that the means are of independent decisions, and batches may be large. Arms convert at 0.1.
    days = 40
    environment = OnlyDelays(days, 10_000)
    leads = []
    for seed in SEEDS:
        learner, _ = played(environment, settle, seed, floor=0.199, refresh=2_000)
        found = means(learner, learner.definition, days * DAY_MS)
        fast = np.array([environment.is_fast(arm) for arm in range(5)])
        leads.append(found[fast].mean() - found[~fast].mean())
    lead, error = np.mean(leads), np.std(leads, ddof=1) / np.sqrt(len(leads))
    if is_fair:
        assert abs(lead) < 2 * error, (lead, error)
    else:
        assert lead > 3 * error, (lead, error)


def test_correcting_for_delays_halves_the_regret_of_taking_what_is_open_for_failures():
    environment = DisplayAdvertising()
    # Seed by seed the same visitors: the difference to half of it is what counts, in standard errors of its mean.
    regrets = np.array([[played(environment, settle, seed)[1] for settle in SETTLES] for seed in SEEDS])
    optimistic, corrected = regrets.T
    rest = optimistic / 2 - corrected
    assert rest.mean() > 2 * rest.std(ddof=1) / np.sqrt(len(rest)), (regrets.mean(axis=0), rest)


SETTLES = ("optimistic", "delay_corrected")

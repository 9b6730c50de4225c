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


def regret(environment: DisplayAdvertising, settle: str, seed: int) -> float:
    """Play a whole environment, in batches of 400 decisions; return the regret."""
    environment.reset(seed)
    definition = definition_of("beta_thompson", environment.setting, floor=0.0, settle=settle)
    learner = Learner(settle, definition, environment.setting, np.random.default_rng((seed, 1)))
    return run(environment, learner, environment.setting.decisions, refresh=400).total_regret


def means(learner: Learner, definition: PolicyDefinition, at_ms: int) -> np.ndarray:
    """Return each arm's mean reward as a posterior would have it."""
    weighed = weigh_buckets(definition, learner.rows(), at_ms)
    segment = definition.segments.names[0]
    sums = [weighed[segment, arm] for arm in definition.arm_names]
    return np.array([np.ldexp(one.reward_sum, -definition.reward_exponent) / one.n for one in sums])


def lead_of_fast_arms(settle: str, days: int, seed: int) -> tuple[float, float]:
    """Return by how much fast arms seem better than others that convert as often, and by how much they were lucky.

    Every arm is shown as often (a floor of all but a fifth), so that the means are of independent decisions. Arms
    convert at 0.1 within thirty days.
    """
    environment = OnlyDelays(days, 10_000)
    environment.reset(seed)
    definition = definition_of("beta_thompson", environment.setting, floor=0.199, settle=settle)
    learner = Learner(settle, definition, environment.setting, np.random.default_rng((seed, 1)))
    found = run(environment, learner, environment.setting.decisions, refresh=100)
    fast = np.array([environment.is_fast(arm) for arm in range(5)])
    seeming = means(learner, learner.definition, days * DAY_MS)
    right = np.array([found.rewards[found.arms == arm].mean() for arm in range(5)])
    return float(seeming[fast].mean() - seeming[~fast].mean()), float(right[fast].mean() - right[~fast].mean())


@pytest.mark.parametrize(("settle", "is_fair"), [("optimistic", False), ("delay_corrected", True)])
def test_arms_that_differ_only_in_their_delays_seem_equally_good(settle, is_fair):
    # After forty days three quarters are open.
    leads = np.array([lead_of_fast_arms(settle, 40, seed)[0] for seed in SEEDS])
    lead, error = leads.mean(), leads.std(ddof=1) / np.sqrt(len(leads))
    if is_fair:
        assert abs(lead) < 2 * error, (lead, error)
    else:
        assert lead > 3 * error, (lead, error)


def test_while_nobody_has_seen_the_tail_fast_arms_keep_little_of_their_lead():
    # After ten days a third of what comes is of ages that no decision has reached. Taken for failures, open decisions
    # give fast arms 0.019 of 0.1; with every arm's tail as all arms' it is 0.013; as each arm goes, 0.0074.
    leads = np.array([np.subtract(*lead_of_fast_arms("delay_corrected", 10, seed)) for seed in SEEDS])
    assert leads.mean() < 0.01, leads


def test_correcting_for_delays_halves_the_regret_of_taking_what_is_open_for_failures():
    environment = DisplayAdvertising()
    # Seed by seed the same visitors: the difference to half of it is what counts, in standard errors of its mean.
    regrets = np.array([[regret(environment, settle, seed) for settle in SETTLES] for seed in SEEDS])
    optimistic, corrected = regrets.T
    rest = optimistic / 2 - corrected
    assert rest.mean() > 2 * rest.std(ddof=1) / np.sqrt(len(rest)), (regrets.mean(axis=0), rest)


SETTLES = ("optimistic", "delay_corrected")

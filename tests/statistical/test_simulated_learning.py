"""In the simulator, policies are as good as they should be, relative to each other, on the same visitors."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.simulate.learner import Learner
from pipeline.simulate.named import environment_for
from pipeline.simulate.run import run
from pipeline.simulate.spec import definition_of

SEEDS = range(1, 7)


def regrets(environment_name: str, spec: str, decisions: int, **options: str) -> np.ndarray:
    environment = environment_for(environment_name, options)
    definition = definition_of(spec, environment.setting, floor=0.0, settle="optimistic")
    found = []
    for seed in SEEDS:
        environment.reset(seed)
        learner = Learner(spec, definition, environment.setting, np.random.default_rng((seed, 1)))
        found.append(run(environment, learner, decisions, refresh=20).total_regret)
    return np.array(found)


@pytest.mark.parametrize(
    ("environment", "better", "worse", "decisions"),
    [
        ("bernoulli", "beta_thompson", "fixed_split:decisions=2000", 3_000),
        ("bernoulli", "beta_thompson", "ucb1", 3_000),
        ("bernoulli", "tsallis_inf", "ucb1", 3_000),
        ("bernoulli", "exp3", "ucb1", 3_000),
        ("segments", "hierarchical_thompson", "ucb1", 2_000),
        ("switching", "beta_thompson:half_life=300", "beta_thompson", 4_000),
        ("drift", "beta_thompson:half_life=300", "beta_thompson", 4_000),
        ("logistic", "linear_thompson", "beta_thompson", 1_000),
        ("logistic", "linear_ensemble", "beta_thompson", 1_000),
        ("catalogue", "hybrid_thompson", "beta_thompson", 400),
    ],
)
def test_a_policy_made_for_an_environment_beats_one_that_is_not(environment, better, worse, decisions):
    # Seed by seed the same visitors: the difference is what counts, in standard errors of its mean.
    rest = regrets(environment, worse, decisions) - regrets(environment, better, decisions)
    assert rest.mean() > 2 * rest.std(ddof=1) / np.sqrt(len(rest)), rest

"""A ramp that is looked at again and again: how often an equal policy is shown to more, taken back, or halted."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import numpy as np

from pipeline.cli.ramp import BACK, PAUSE, UP
from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.policy.figure_condition import parse_condition
from pipeline.rollout.figures import Step, figures_of, names_of

RUNS, SUBJECTS, SHARE = 60, 2_000, 0.2
LOOKS = range(200, SUBJECTS + 1, 200)
STEP = Step(0, 3_600_000, SHARE, (0.0, 1.0), ())
PLAIN = Decision(
    *("x", "homepage", 1, "all", "a", 0.5, ("a", "b"), (0.5, 0.5), {}, b"", ""),
    decided_at_ms=0,
    snapshot_version=1,
    snapshot_id="",
    subject_hash=None,
    reason="policy",
)


def ever(rate_of_new: float, rate_of_old: float, seed: int) -> Counter[str]:
    """Return in how many runs each condition held at any of the looks."""
    conditions = {text: parse_condition(text, names_of(())) for text in (UP, *PAUSE, *BACK, "lift.once.low > 0")}
    rng = np.random.default_rng(seed)
    held: Counter[str] = Counter()
    for _ in range(RUNS):
        is_new = rng.random(SUBJECTS) < SHARE
        earned = rng.random(SUBJECTS) < np.where(is_new, rate_of_new, rate_of_old)
        entries = [
            Entry(1, is_settled=True, reward=float(one), segment="all", decision=PLAIN._replace(action_id=str(number)))
            for number, one in enumerate(earned)
        ]
        seen: set[str] = set()
        for end in LOOKS:
            sides = ([entries[i] for i in range(end) if is_new[i] == side] for side in (True, False))
            figures = figures_of(*sides, STEP)
            seen |= {text for text, condition in conditions.items() if condition.holds(figures)}
        held.update(seen)
    return held


def test_ten_looks_at_an_equal_policy_move_it_no_more_often_than_is_said():
    """Each side of an interval that may be looked at at any time misses in 2.5 % at most: 1.5 of 60, deviation 1.2."""
    held = ever(0.2, 0.2, seed=1)
    most = 0.025 * RUNS + 3 * sqrt(0.025 * 0.975 * RUNS)
    assert held[UP] <= most
    assert held[BACK[0]] <= most
    # 1 in 1,000 of all runs at most: of 60 two or more come in 0.2 %.
    assert held[PAUSE[0]] <= 1
    # The interval of one look, looked at ten times, moves it more often: were it the same, this would be red.
    assert held[UP] < held["lift.once.low > 0"]


def test_a_better_policy_goes_up_and_a_worse_one_goes_back():
    """0.4 against 0.2 with 400 and 1,600 subjects: sqrt(.4·.6/400 + .2·.8/1600) = 0.026, so 0.2 is 7.5 of them."""
    better, worse = ever(0.4, 0.2, seed=2), ever(0.2, 0.4, seed=3)
    assert better[UP] >= 0.99 * RUNS
    assert better[BACK[0]] <= 1
    assert worse[BACK[0]] >= 0.99 * RUNS
    assert worse[UP] <= 1

"""The label-rate monitor over whole months: silent where all is well, and red soon after outcomes stop.

A month is made as the sum of Poisson streams: decisions with a daily cycle, each arm with its own rate, outcomes after
an exponential delay. The expected outcomes of a look are the decisions before it, weighed by the chance to come then.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.monitor.label_rate import LabelRate
from pipeline.monitor.totals import Totals
from pipeline.policy.monitors import LabelRateRule

RULE = LabelRateRule()
LOOK_S = RULE.look_ms // 1000
DAY = 86_400 // LOOK_S
LOOKS = 30 * DAY
WINDOW_S = 86_400.0
MEAN_DELAY_S = 7_200.0
RATES = np.array([0.02, 0.06])
"""What comes of a decision of each arm, in the mean."""
Floats = NDArray[np.float64]


def decisions_of(rng: np.random.Generator, per_look: float) -> Floats:
    """(LOOKS, arms): more by day than by night, 9 to 1, another level each week, and one arm that comes to the fore."""
    look = np.arange(LOOKS)
    cycle = 1.0 + 0.8 * np.sin(2 * math.pi * look / DAY)
    week = np.repeat(rng.uniform(0.7, 1.4, LOOKS // (7 * DAY) + 1), 7 * DAY)[:LOOKS]
    share = np.clip(0.5 + 0.4 * look / LOOKS, 0.0, 1.0)
    return rng.poisson(per_look * cycle * week * np.stack([1 - share, share])).T.astype(float)


def outcomes_of(rng: np.random.Generator, decisions: Floats, drift: float) -> Floats:
    """(LOOKS, arms): after a delay, cut off at the window; the rates wander by `drift` a day, up and down."""
    lags = np.arange(int(WINDOW_S / LOOK_S) + 1)
    chance = np.diff(1.0 - np.exp(-LOOK_S * np.append(lags, lags[-1] + 1) / MEAN_DELAY_S))
    wander = np.exp(np.cumsum(rng.normal(0.0, drift / math.sqrt(DAY), LOOKS)))
    arriving = np.stack([np.convolve(column, chance)[:LOOKS] for column in decisions.T], axis=1)
    return rng.poisson(arriving * RATES * np.clip(wander, 0.5, 2.0)[:, None]).astype(float)


def states_of(decisions: Floats, outcomes: Floats) -> list[str]:
    """What is told of each look; '' where it goes on."""
    rate, states = LabelRate(0.0, 1.0, WINDOW_S), []
    rows = [("all", "a"), ("all", "b")]
    for number, (n, reward) in enumerate(zip(decisions.cumsum(0), outcomes.cumsum(0), strict=True)):
        totals = Totals(dict(zip(rows, n.astype(int).tolist(), strict=True)), dict(zip(rows, reward, strict=True)))
        look = rate.see(number * float(LOOK_S), totals, RULE)
        states.append("" if look is None else look.state)
    return states


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("months", [20, pytest.param(200, marks=pytest.mark.faults)])
def test_in_calm_months_it_is_silent(months: int):
    rng = np.random.default_rng(74)
    looks, told = 0, 0
    for month in range(months):
        # From a small policy, of which a look takes half a day, to a large one.
        decisions = decisions_of(rng, per_look=(20, 200, 2_000)[month % 3])
        states = states_of(decisions, outcomes_of(rng, decisions, drift=0.05))
        looks += sum(state != "" for state in states)
        told += sum(state in {"stopped", "jumped"} for state in states)
    assert looks > 500 * months
    # The stated rate is less than one in a hundred policy-months.
    assert told <= months // 100


# A stop can be told of 56 expected outcomes (0.8 × 56 > 6 √56). The quietest look of a day has 0.2 of the decisions of
# the mean one, 0.7 of that in a quiet week, of which 0.047 bring something: 2,000 × 0.2 × 0.7 × 0.047 = 13, 4.3 looks,
# and twice as many where one had begun before the stop. With a tenth of the traffic, ten times as long.
@pytest.mark.parametrize(("per_look", "within_looks"), [(2_000, 10), (200, 90)])
def test_a_stop_is_told_within_its_stated_delay(per_look: float, within_looks: int):
    rng = np.random.default_rng(75)
    decisions = decisions_of(rng, per_look)
    outcomes = outcomes_of(rng, decisions, drift=0.05)
    stop = 20 * DAY + DAY // 4  # at the top of a day
    outcomes[stop:] = 0
    states = states_of(decisions, outcomes)
    assert "stopped" not in states[:stop]
    assert "stopped" in states[stop : stop + within_looks]
    # And not over before it is.
    assert {state for state in states[stop + within_looks :] if state} == {"stopped"}


def test_a_producer_that_sends_everything_ten_times_is_told_as_soon():
    rng = np.random.default_rng(76)
    decisions = decisions_of(rng, 2_000)
    outcomes = outcomes_of(rng, decisions, drift=0.05)
    jump = 20 * DAY + DAY // 4
    outcomes[jump:] *= 10
    states = states_of(decisions, outcomes)
    assert "jumped" not in states[:jump]
    assert "jumped" in states[jump : jump + 10]


def test_what_is_told_of_a_look_is_told_once_for_each_look():
    rng = np.random.default_rng(77)
    decisions = decisions_of(rng, 2_000)
    states = states_of(decisions, outcomes_of(rng, decisions, drift=0.05))
    assert all(state in {"", "ok"} for state in states)
    assert any(before != after for before, after in pairwise(states))

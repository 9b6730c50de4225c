"""What a ramp does next: one step, nothing, a halt, or back."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.figure_condition import parse_condition
from pipeline.rollout.ramp import Named, Rules, next_move

NAMES = ("lift.low", "lift.high", "srm.p_value")
GOOD = {"lift.low": 0.01, "lift.high": 0.03, "srm.p_value": 0.8}
OPEN = {"lift.low": -0.01, "lift.high": 0.03, "srm.p_value": 0.8}
BAD = {"lift.low": -0.03, "lift.high": -0.01, "srm.p_value": 0.8}
UNEVEN = {"lift.low": 0.01, "lift.high": 0.03, "srm.p_value": 1e-6}


def named(text: str) -> Named:
    return Named(text, parse_condition(text, NAMES))


RULES = Rules((0.05, 0.2, 0.5, 1.0), named("lift.low > 0"), [named("srm.p_value < 0.001")], [named("lift.high < 0")])


def test_good_figures_take_it_through_all_steps_and_no_further():
    shares, share = [], 0.05
    while (move := next_move(share, GOOD, RULES)).act == "up":
        share = move.share
        shares.append(share)
    assert shares == [0.2, 0.5, 1.0]
    assert move.act == "done"


def test_the_first_step_asks_for_no_figures():
    assert next_move(0.0, {}, RULES)[:2] == ("up", 0.05)


def test_what_is_open_waits_and_says_what_it_waits_for():
    move = next_move(0.2, OPEN, RULES)
    assert move == ("wait", 0.2, "does not hold: lift.low > 0 (lift.low is -0.01)")
    assert next_move(0.2, {}, RULES).why == "does not hold: lift.low > 0 (lift.low is not known yet)"


def test_harm_takes_it_back_to_nobody():
    assert next_move(0.5, BAD, RULES) == ("back", 0.0, "lift.high < 0 (lift.high is -0.01)")


def test_groups_that_cannot_be_compared_halt_it_where_it_stands_however_good_it_looks():
    assert next_move(0.2, UNEVEN, RULES)[:2] == ("pause", 0.2)


def test_where_it_is_harmful_and_uneven_it_goes_back():
    assert next_move(0.2, BAD | {"srm.p_value": 1e-6}, RULES).act == "back"


def test_what_was_halted_stays_so_whatever_the_figures_say():
    assert next_move(0.2, GOOD, RULES, "srm.p_value < 0.001") == ("halted", 0.2, "srm.p_value < 0.001")


def test_a_share_set_by_hand_goes_on_to_the_next_step_above_it():
    assert next_move(0.3, GOOD, RULES).share == 0.5


@pytest.mark.parametrize("steps", [(), (0.2, 0.05), (0.05, 0.05), (0.0, 1.0), (0.5, 1.5)])
def test_steps_rise_within_reason(steps: tuple[float, ...]):
    with pytest.raises(ConfigError, match="--steps"):
        Rules(steps, RULES.up, (), ())

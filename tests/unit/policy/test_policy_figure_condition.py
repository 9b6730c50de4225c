"""Conditions over figures: read, asked, and answered by names where there is no such figure."""

from __future__ import annotations

import itertools

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.figure_condition import parse_condition

NAMES = ("lift.low", "lift.high", "srm.p_value", "kind.add-to-cart.low")


def holds(text: str, **figures: float | None) -> bool | None:
    return parse_condition(text, ["a", "b", "c"]).holds(figures)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1", False),
        ("a >= 1", True),
        ("a<b", True),
        ("1e-3 < a", True),
        ("a >= 100%", True),
        ("a > -.5 and b < +2.5", True),
        ("a > 1 or b > 1", True),
        # `and` binds closer than `or`: a > 1 or (b > 1 and a > 5), which is false, and (a > 1 or b > 1) and a > 5 too;
        # b > 1 or a > 1 and a > 5 tells them apart.
        ("b > 1 or a > 1 and a > 5", True),
        ("(b > 1 or a > 1) and a > 5", False),
    ],
)
def test_comparisons_are_joined_as_everybody_reads_them(text: str, expected: bool):
    assert holds(text, a=1.0, b=2.0) is expected


def test_what_is_not_known_is_neither_true_nor_false():
    """Kleene's tables: T and U is U, F and U is F, T or U is T, F or U is U."""
    truth = {True: 1.0, False: -1.0, None: None}
    for left, right in itertools.product(truth, repeat=2):
        both = False if False in (left, right) else None if None in (left, right) else True
        either = True if True in (left, right) else None if None in (left, right) else False
        assert holds("a > 0 and b > 0", a=truth[left], b=truth[right]) is both
        assert holds("a > 0 or b > 0", a=truth[left], b=truth[right]) is either


def test_a_figure_that_there_is_not_is_answered_by_those_that_there_are():
    with pytest.raises(ConfigError) as refused:
        parse_condition("lift.lo > 0", NAMES, "--back-if")
    assert refused.value.what == "--back-if"
    (fault,) = refused.value.faults
    assert "there is no figure 'lift.lo'" in fault
    assert all(name in fault for name in NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lift.low",
        "lift.low >",
        "lift.low > 0 and",
        "lift.low > 0 lift.high",
        "lift.low = 0",
        "(lift.low > 0",
        "lift.low > 0)",
        "lift.low > 0 > 1",
        "__import__('os').system('true') > 0",
        "lift.low > 0; lift.high < 1",
        "not lift.low > 0",
        f"{'(' * 400}lift.low > 0",
        "lift.low > 0 and " * 100 + "lift.low > 0",
    ],
)
def test_what_is_no_condition_is_refused_with_an_example(text: str):
    with pytest.raises(ConfigError, match=r"An example: lift\.low > 0"):
        parse_condition(text, NAMES)


def test_figures_are_said_beside_a_condition():
    condition = parse_condition("lift.low > 0 or kind.add-to-cart.low > 1%", NAMES)
    said = list(condition.in_words({"lift.low": -0.0123456}))
    assert said == ["lift.low is -0.012346", "kind.add-to-cart.low is not known yet"]

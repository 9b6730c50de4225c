"""What a sampled decision counts for, by examples that are worked out by hand, and by chance that is true or not."""

from __future__ import annotations

import numpy as np
from scipy.stats import chisquare

from pipeline.policy.samples import (
    BINS,
    BOUNDS,
    DRAWS,
    LOG,
    OCTAVES,
    PROPENSITIES,
    REASONS,
    REWARD,
    REWARD_COLUMNS,
    Came,
    Drawn,
    is_sampled,
    reward_column,
    reward_least,
    sample_tallies,
    sample_widths,
)
from tests.samples import define, plain_policy

POLICY = define(plain_policy())
ARMS, SHARES = ("a", "b", "c"), (0.2, 0.5, 0.3)


def tallied(drawn: Drawn, action_id: str = "x", reward: int = 0) -> dict[tuple[str, int], int]:
    came = Came(action_id, 0, b"", (), reward)
    return {(one.row, one.column): one.amount for one in sample_tallies(POLICY, drawn, came)}


def test_a_draw_falls_where_its_arm_lies_by_propensity_and_by_name():
    # By propensity b, c, a: c lies on [0.5, 0.8), places 8 to 12 of 16. By name a, b, c: on [0.7, 1), places 11 to 15.
    for number in range(50):
        found = tallied(Drawn("c", ARMS, SHARES, "policy"), f"x{number}")
        (first,) = [column for row, column in found if row == DRAWS and column < BINS]
        (second,) = [column - BINS for row, column in found if row == DRAWS and column >= BINS]
        assert 8 <= first <= 12
        assert 11 <= second <= 15


def test_a_weight_is_what_a_uniform_policy_would_give_it():
    found = tallied(Drawn("c", ARMS, SHARES, "policy"))
    # 1 / (3 × 0.3) = 1.111…, of which 1,024 are one: 1,138, and its square 1.2346: 1,264.
    assert [found[LOG, column] for column in range(3)] == [1, 1_138, 1_264]


def test_one_arm_s_propensity_is_counted_by_its_octave():
    octaves = {0.2: 2, 0.5: 0, 0.3: 1}  # [1/8, 1/4), [1/2, 1], [1/4, 1/2)
    seen = set()
    for number in range(60):
        found = tallied(Drawn("b", ARMS, SHARES, "policy"), f"x{number}")
        (octave,) = [column for row, column in found if row == PROPENSITIES and column < OCTAVES]
        (share,) = [share for share, at in octaves.items() if at == octave]
        seen.add(share)
        assert found[PROPENSITIES, OCTAVES + octave] == round(share * 2**30)
        assert ((PROPENSITIES, 2 * OCTAVES + octave) in found) == (share == 0.5)
    assert seen == set(SHARES)


def test_who_is_held_out_was_not_drawn():
    found = tallied(Drawn("a", ARMS, SHARES, "holdout"))
    assert found == {(REASONS, 2): 1, (REWARD, reward_column(0)): 1}


def test_no_amount_is_beyond_its_row_nor_beyond_what_an_erasure_may_take_back():
    widths = sample_widths(POLICY)
    drawn = Drawn("a", ("a", "b"), (1e-9, 1.0 - 1e-9), "policy")
    for one in sample_tallies(POLICY, drawn, Came("x", 0, b"", (), -32_768)):
        assert one.width == widths[one.row]
        assert 0 <= one.column < one.width
        assert abs(one.amount) <= 1 << 30


def test_the_size_of_a_reward_is_told_from_its_column():
    for reward in (-32_768, -5, -1, 0, 1, 2, 3, 4, 6, 100, 32_768):
        column = reward_column(reward)
        assert 0 <= column < REWARD_COLUMNS
        least = reward_least(column)
        assert abs(least) <= abs(reward) <= 1.5 * abs(least)
    columns = [reward_column(reward) for reward in range(-40, 41)]
    assert columns == sorted(columns)


def counted(drawn_by: tuple[float, ...], decisions: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw arms by other chances than are logged, or by the same; return the two histograms."""
    rng = np.random.default_rng(5)
    places = np.zeros(2 * BINS)
    for number, arm in enumerate(rng.choice(3, decisions, p=drawn_by)):
        for (row, column), amount in tallied(Drawn(ARMS[arm], ARMS, SHARES, "policy"), f"x{number}").items():
            if row == DRAWS:
                places[column] += amount
    return places[:BINS], places[BINS:]


def test_true_draws_fall_evenly_and_others_do_not():
    assert all(chisquare(places).pvalue > 1e-3 for places in counted(SHARES))
    assert all(chisquare(places).pvalue < 1e-9 for places in counted((0.3, 0.5, 0.2)))


def test_a_sample_has_its_share_and_is_the_same_whenever_it_is_asked():
    ids = [f"0199-{number}" for number in range(20_000)]
    chosen = [one for one in ids if is_sampled(one, 0.05)]
    # Within five standard deviations: √(20,000 × 0.05 × 0.95) = 31.
    assert abs(len(chosen) - 1_000) < 155
    assert all(is_sampled(one, 0.1) for one in chosen)
    assert not any(is_sampled(one, 0.0) for one in ids)


def test_a_feature_at_its_bound_counts_also_where_units_that_bend_stand_beside_it():
    feature = {"name": "age", "kind": "numeric", "low": 0.0, "high": 10.0}
    for name in ("lin_ucb", "auto"):
        plain = plain_policy() | {"context": [feature], "algorithm": {"name": name}}
        plain["reward"] |= {"low": 0.0, "high": 1.0}
        policy = define(plain)
        assert (policy.features.encoder is not None) == (name == "auto")
        for age, is_at_bound in ((10.0, True), (5.0, False)):
            came = Came("x", 0, policy.features.encode({"age": age}).astype("<i2").tobytes(), (), 0)
            found = [(one.row, one.column) for one in sample_tallies(policy, Drawn("c", ARMS, SHARES, "policy"), came)]
            assert ((BOUNDS, 0) in found, (BOUNDS, 1) in found) == (True, is_at_bound)

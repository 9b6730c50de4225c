"""The bench of what nobody tuned, in a size for tests: its environments are what they say, and its table is right."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.peers import textbook
from benchmarks.untuned import cases, measure
from benchmarks.untuned.units import Measured
from pipeline.simulate.environment import Expecting
from pipeline.simulate.environments.linear import Linear
from pipeline.simulate.run import run

PLAIN = [name for name, case in cases.CASES.items() if case.family != "data"]  # those need scikit-learn
SOME = 8
"""Arms that are looked at: of a thousand not all."""


@pytest.mark.parametrize("name", PLAIN)
def test_rewards_and_contexts_lie_within_their_bounds_and_no_arm_is_better_than_the_best(name):
    environment = cases.CASES[name].make()
    environment.reset(5)
    setting = environment.setting
    for t in range(20):
        context = environment.context(t)
        for feature in setting.features:
            assert feature["low"] <= context[feature["name"]] <= feature["high"]
        best = environment.best(t)
        for arm in range(len(setting.arms))[:SOME]:
            assert setting.low <= environment.reward(t, arm) <= setting.high
            if isinstance(environment, Expecting):
                assert environment.mean(t, arm) <= environment.mean(t, best) + 1e-9


def test_other_units_change_numbers_and_not_who_is_best():
    plain, told = Linear(3, 4), Measured(Linear(3, 4), 50.0, -20.0, cases.MIXED)
    for environment in (plain, told):
        environment.reset(1)
    # Rewards 50 r - 20; the second feature in 0.003 of its unit, the third 7 lower.
    assert told.reward(3, 1) == pytest.approx(50.0 * plain.reward(3, 1) - 20.0)
    assert told.context(3)["x1"] == pytest.approx(0.003 * plain.context(3)["x1"])
    assert told.context(3)["x2"] == pytest.approx(plain.context(3)["x2"] - 7.0)
    assert told.best(3) == plain.best(3)


@pytest.mark.parametrize(
    "configuration", ["klucb 1.0", "ucb1 0.1", "beta 2.0", "gauss 0.3", "greedy 0.05", "fading 1000"]
)
def test_the_textbook_learns_rates(configuration):
    assert _regret("rates-10", configuration) < 0.9 * _uniform("rates-10")


@pytest.mark.parametrize("configuration", ["linucb 0.3", "pairs 0.3", "fourier 0.1", "lints 0.1"])
def test_the_textbook_learns_lines(configuration):
    assert _regret("linear-2", configuration) < 0.7 * _uniform("linear-2")


def test_pairs_of_features_part_what_no_line_does():
    assert _regret("corners", "pairs 0.3") < 0.4 * _uniform("corners")
    assert _regret("corners", "linucb 0.3") > 0.7 * _uniform("corners")


def test_the_peer_that_was_best_on_the_trial_seeds_is_judged_by_others(tmp_path):
    (found,) = measure.measure([1, 2], [3, 4, 5], ["rates-2"], scale=0.01, libraries=False, kept=tmp_path)
    told = {
        folder.name: {int(one.name): float(one.read_text()) for one in folder.iterdir()}
        for folder in (tmp_path / "rates-2-50").iterdir()
    }
    peers = {name: regret for name, regret in told.items() if name.startswith("textbook")}
    assert len(peers) == len(textbook.configurations(cases.CASES["rates-2"].make().setting))
    best = min(peers, key=lambda name: np.mean([peers[name][seed] for seed in (3, 4, 5)]))
    # Of all the others nobody has looked at what they would have come to.
    assert {name for name, regrets in peers.items() if {1, 2} & regrets.keys()} == {best}
    assert found.peer.replace(" ", "_") == best
    assert found.tuned.tolist() == [peers[best][1], peers[best][2]]
    assert found.shipped.tolist() == [told["auto"][1], told["auto"][2]]
    assert found.bare.tolist() == [told["auto_floor_0"][1], told["auto_floor_0"][2]]
    (again,) = measure.measure([1, 2], [3, 4, 5], ["rates-2"], scale=0.01, libraries=False, kept=tmp_path)
    assert again.to_plain() == found.to_plain()


def test_a_peer_is_not_chosen_on_a_seed_that_it_is_judged_by():
    with pytest.raises(ValueError, match="seen 2 in both"):
        list(measure.measure([1, 2], [2, 3], ["rates-2"], scale=0.01, libraries=False))
    at_fault = CliRunner().invoke(main, ["untuned", "--first-seed", "9000", "--seeds", "5"])
    assert at_fault.exit_code == 2
    assert "seeds 9000 to 9004: peers are tuned on 9001 to 9040" in at_fault.output


def test_a_table_says_what_the_floor_costs_how_far_behind_it_is_and_where_by_more_than_chance():
    one = measure.Found("x", np.array([11.0, 13.0]), np.array([10.0, 10.0]), "peer", np.array([20.0, 40.0]))
    # 12 of 30; the floor costs 1 and 3 of 10: 20 % on average, and 10 % is what one difference in two means.
    # 9 and 27 less than the peer: 18, and 9 is half of what they differ by.
    assert "| x | 12 ± 1, 12.8 | 10 ± 0 | +20.0% ± 10.0% | 30 ± 10, 38 (peer) | -18 ± 9 | 0.40 |" in measure.table(
        [one]
    )
    # 1 and 5 more than 10 and 8: 3 ± 2, which is more than one standard error.
    other = measure.Found("y", np.array([11.0, 13.0]), np.array([10.0, 10.0]), "peer", np.array([10.0, 8.0]))
    table = measure.table([one, other])
    assert "| +3 ± 2 | **1.33** |" in table
    assert "Better or within one standard error in 1 of 2" in table


def _regret(case: str, configuration: str) -> float:
    environment = cases.CASES[case].make()
    environment.reset(1)
    player = textbook.TextbookPlayer(configuration, environment.setting, 1)
    return run(environment, player, 1_000, refresh=20).total_regret


def _uniform(case: str) -> float:
    environment = cases.CASES[case].make()
    environment.reset(1)
    arms = range(len(environment.setting.arms))
    return sum(
        environment.mean(t, environment.best(t)) - np.mean([environment.mean(t, arm) for arm in arms])
        for t in range(1_000)
    )

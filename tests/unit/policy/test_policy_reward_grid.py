"""A worth or value that the grid would change by more than a hundredth is named, with the step."""

from __future__ import annotations

import orjson
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import ConfigError
from pipeline.policy.parsing.parse import load_canonical_json, load_policy, parse_policy
from pipeline.policy.parsing.reward_grid import grid_doubts, grid_faults
from pipeline.policy.parsing.toml import to_toml
from tests.samples import plain_policy

PURCHASE = {"kind": "purchase", "worth": 1.0, "window": "1d", "times_value": True}


def rules(reward: dict, *outcomes: dict):
    plain = plain_policy(combine="sum", outcomes=outcomes) | {"algorithm": {"name": "gaussian_thompson"}}
    plain["reward"] = {"combine": "sum", "outcomes": list(outcomes), **reward}
    return parse_policy(plain, "a policy").reward


def test_worths_far_below_the_step_are_faults_that_name_it():
    click = {"kind": "click", "worth": 0.35, "window": "30m"}
    faults = grid_faults(
        rules({"low": 0.0, "high": 100_000.0}, click, PURCHASE | {"value_low": 0.0, "value_high": 1e5})
    )
    # 100,000 in 2^15 steps: a step is 4 (2 would reach to 65,536 only).
    assert [fault.partition(",")[0] for fault in faults] == [
        "reward.outcomes: worth 0.35 of click counts as 0",
        "reward.outcomes: a value 1.0 of purchase",
    ]
    assert all("in steps of 4:" in fault for fault in faults)


@pytest.mark.parametrize(("worth", "is_fault"), [(1.0, False), (1.004, False), (0.7, True), (5.99, False), (0.1, True)])
def test_a_hundredth_is_the_limit(worth, is_fault):
    # Bounds of 5,000 have steps of 1/4: 1.004 counts 1 (0.4 %), 0.7 counts 0.75, 5.99 counts 6 (0.2 %).
    found = grid_faults(rules({"low": 0.0, "high": 5_000.0}, {"kind": "click", "worth": worth, "window": "30m"}))
    assert bool(found) == is_fault


def test_a_resolution_takes_the_place_of_the_bounds():
    made = rules({"resolution": 0.01}, {"kind": "click", "worth": 0.35, "window": "30m"})
    # The largest power of two that is at most 0.01 is 2^-7, and 2^15 of those are 256.
    assert (made.low, made.high, made.exponent) == (0.0, 256.0, 7)
    assert grid_faults(made) == []
    made = rules({"resolution": 0.01, "low": -5.0}, {"kind": "click", "worth": 0.35, "window": "30m"})
    assert (made.low, made.high) == (-5.0, 256.0)
    with pytest.raises(ConfigError, match=r"reward\.high: 1000\.0 is beyond ±256"):
        rules({"resolution": 0.01, "high": 1_000.0}, {"kind": "click", "worth": 0.35, "window": "30m"})


@pytest.mark.parametrize("resolution", [0.0, 1e-9, float("nan"), "fine"])
def test_bounds_beside_a_resolution_that_is_none_are_known_keys(resolution):
    with pytest.raises(ConfigError) as refused:
        rules({"resolution": resolution, "low": 0.0, "high": 1.0}, {"kind": "click", "worth": 0.5, "window": "30m"})
    assert [fault.partition(":")[0] for fault in refused.value.faults] == ["reward.resolution"]


def test_values_that_a_step_swallows_between_the_declared_ones_are_doubts():
    basket = PURCHASE | {"value_low": 0.0, "value_high": 10_000.0}
    (doubt,) = grid_doubts(rules({"low": 0.0, "high": 10_000.0}, basket))
    # A step is 1/2: half of one is a hundredth of 25, and all of 0.25.
    assert doubt.startswith("values of purchase below 25 are changed by more than 1 %, those below 0.25 count nothing")


def test_what_is_stored_is_read_whatever_its_grid():
    plain = plain_policy() | {"algorithm": {"name": "gaussian_thompson"}}
    plain["reward"] |= {"high": 100_000.0}
    with pytest.raises(ConfigError, match="in steps of 4"):
        load_policy(to_toml(plain), "a file")
    assert load_canonical_json(orjson.dumps(plain), "a record").reward.high == 100_000.0


def test_validate_names_features_that_use_hardly_any_of_their_bounds(tmp_path):
    plain = plain_policy() | {"context": [{"name": "price", "kind": "numeric", "low": 0.0, "high": 100_000.0}]}
    policy, log = tmp_path / "p.toml", tmp_path / "log.jsonl"
    policy.write_text(to_toml(plain), "utf-8")
    log.write_text("".join(f'{{"context": {{"price": {i}}}}}\n' for i in range(300)) + '{"price": -1}\n', "utf-8")
    done = CliRunner().invoke(cli, ["policy", "validate", str(policy), "--log", str(log)], catch_exceptions=False)
    assert done.exit_code == 0
    # 98 % lie in 2 to 296, which is 0.29 % of 100,000.
    assert "price uses 0.29% of its bounds" in done.stderr
    assert 'kind = "logarithmic"' in done.stderr
    assert "1 of 301 contexts are refused (feature-out-of-bounds)" in done.stderr

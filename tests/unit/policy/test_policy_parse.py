from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.weighted import ArmPrior
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import Arm, Attribution
from pipeline.policy.kinds import CategoricalFeature, CyclicFeature, NumericFeature
from pipeline.policy.parsing.parse import load_canonical_json, load_policy, parse_policy
from pipeline.policy.reward import OutcomeRule
from pipeline.policy.segments import Condition

Place = tuple[str | int, ...]
ABSENT = object()


def faults_of(raw: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_policy(raw, "test.toml")
    return caught.value.faults


def put(raw: Any, place: Place, value: object) -> Any:
    """Set, or take out, the value at `place`."""
    table = raw
    for step in place[:-1]:
        table = table[step]
    if value is ABSENT:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    return raw


def test_reads_every_part(full):
    policy = parse_policy(full, "test.toml")

    assert (policy.name, policy.generation, policy.floor) == ("homepage", 3, 0.02)
    assert policy.arms == (Arm("collab_filter"), Arm("hybrid"), Arm("bestsellers", retired=True))
    assert policy.features.features == (
        NumericFeature("age", 0.0, 100.0),
        CategoricalFeature("device", ("mobile", "desktop")),
        CyclicFeature("hour", 24.0),
    )
    assert policy.segments.default == "other"
    assert policy.segments.rules[0].conditions == (Condition("visits", "below", 2.0),)
    assert policy.reward.combination == "sum"
    assert policy.reward.cap == 400.0
    assert policy.reward.outcomes == (
        OutcomeRule("click", 1.0, 1_800_000),
        OutcomeRule("purchase", 1.0, 86_400_000, times_value=True, value_low=0.0, value_high=500.0),
    )
    assert policy.attribution == Attribution("wait", 600_000)
    assert (policy.publish_interval_ms, policy.bucket_ms) == (250, 43_200_000)


def test_fills_in_every_default(smallest):
    policy = parse_policy(smallest, "test.toml")

    assert policy.generation == 1
    assert policy.segments.segment_for({}) == "default"
    assert policy.dimension == 0
    assert policy.reward.combination == "max"
    assert policy.attribution == Attribution("wait", 600_000)
    assert (policy.floor, policy.floors.share) == (0.0, 0.01)
    assert (policy.publish_interval_ms, policy.bucket_ms) == (1_000, 86_400_000)


@pytest.mark.parametrize("exploration", [{}, {"share": 0.01}])
def test_without_a_floor_arms_have_a_share_together_however_many_they_are(smallest, exploration):
    smallest["arms"] = [{"name": f"arm{number}"} for number in range(500)]
    smallest["exploration"] = exploration
    policy = parse_policy(smallest, "test.toml")
    assert policy.to_plain()["exploration"] == {"share": 0.01}
    assert parse_policy(policy.to_plain(), "again").definition_hash == policy.definition_hash


def test_a_floor_of_each_arm_means_what_it_always_meant(smallest):
    smallest["exploration"] = {"floor": 0.02}
    policy = parse_policy(smallest, "test.toml")
    assert (policy.floor, policy.floors.share) == (0.02, None)
    assert policy.to_plain()["exploration"] == {"floor": 0.02}


def test_a_floor_of_each_and_a_share_of_all_are_not_both(smallest):
    smallest["exploration"] = {"floor": 0.02, "share": 0.1}
    with pytest.raises(ConfigError, match=r"exploration.share: stands beside floor"):
        parse_policy(smallest, "test.toml")


def test_a_share_of_everything_leaves_nothing_to_choose_with(smallest):
    smallest["exploration"] = {"share": 1.0}
    with pytest.raises(ConfigError, match=r"exploration.share: 1.0 is not a number from 0 to below 1"):
        parse_policy(smallest, "test.toml")


def test_an_implied_parameter_is_written_only_where_it_is_set(smallest):
    before = to_canonical_json(parse_policy(smallest, "test.toml"))
    smallest["algorithm"]["sharpness"] = 1
    assert to_canonical_json(parse_policy(smallest, "test.toml")) == before
    smallest["algorithm"]["sharpness"] = 2
    policy = parse_policy(smallest, "test.toml")
    assert policy.algorithm.parameters == {"prior_alpha": 1.0, "prior_beta": 1.0, "sharpness": 2.0}
    assert load_canonical_json(to_canonical_json(policy), "policies@0") == policy


def test_an_algorithm_that_counts_takes_no_negative_rewards(smallest):
    smallest["algorithm"] = {"name": "poisson_thompson"}
    smallest["reward"] = {"low": -1, "high": 9, "outcomes": smallest["reward"]["outcomes"]}
    (fault,) = faults_of(smallest)
    assert fault == (
        "reward.low: -1.0 is below 0, and poisson_thompson counts; "
        "choose one of auto_rates, gaussian_thompson, epsilon_greedy, fixed_split"
    )


def test_reads_what_is_known_of_an_arm_and_how_old_decisions_fade(full):
    for arm in full["arms"]:
        arm["features"] = {"price": 0.5, "is_new": 1}
    full["arms"][0]["prior"] = {"mean": 100, "weight": 20}
    full["forgetting"] = {"half_life": "7d", "window": "30d"}
    policy = parse_policy(full, "test.toml")

    assert policy.arms[0].features == (("is_new", 1.0), ("price", 0.5))
    # Rewards from 0 to 500 with a mean of 100 vary most if they are 0 or 500: (100 - 0) * (500 - 100).
    assert policy.arms[0].prior == ArmPrior(100.0, 20.0, 40_000.0)
    assert policy.forgetting == Forgetting(7 * 86_400_000, 30 * 86_400_000)
    assert load_canonical_json(to_canonical_json(policy), "policies@0") == policy


def test_what_arms_share_has_a_bound(full):
    # The context has 6 entries: (1 + 42) * 6 = 258.
    for arm in full["arms"]:
        arm["features"] = {f"f{number}": 0 for number in range(42)}
    full["algorithm"] = {"name": "hybrid_ucb"}
    (fault,) = faults_of(full)
    assert fault.startswith("arms: 1 + 42 features of the arms times 6 entries of the context vector are 258 that")


def test_an_arm_s_feature_stays_near_one(full):
    for arm in full["arms"]:
        arm["features"] = {"price": 0.5}
    full["arms"][1]["features"]["price"] = 9
    (fault,) = faults_of(full)
    assert fault == "arms[1].features.price: 9 is not a number within ±8"


def test_an_algorithm_gets_its_own_defaults_for_what_is_not_said(full):
    expected = {name: parameter.default for name, parameter in ALGORITHMS["linear_thompson"].parameters.items()}
    assert parse_policy(full, "test.toml").algorithm.parameters == expected | {"ridge": 2.0}


def test_names_every_fault_at_once(full):
    full["name"] = "home page"
    full["generation"] = 0
    full["arms"][1]["name"] = "collab_filter"
    full["segments"]["rules"][0]["when"]["visits"]["below"] = "two"
    full["context"][0].update(low=7, high=3)
    full["algorithm"]["ridge"] = -1
    full["reward"]["outcomes"][0]["window"] = "31d"
    full["attribution"]["settle"] = "optimist"
    full["exploration"]["floor"] = 0.5
    full["publsh"] = {}

    places = [fault.split(":")[0] for fault in faults_of(full)]

    assert sorted(places) == sorted(
        [
            "name",
            "generation",
            "arms[1].name",
            "segments.rules[0].when.visits.below",
            "context[0].low",
            "algorithm.ridge",
            "reward.outcomes[0].window",
            "attribution.settle",
            "exploration.floor",
            "publsh",
        ]
    )


def test_an_empty_policy_is_told_all_that_it_lacks():
    places = [fault.split(":")[0] for fault in faults_of({})]
    assert places == ["name", "reward.low", "reward.high", "reward.outcomes", "arms", "algorithm.name"]


FAULTS: list[tuple[Place, object, str]] = [
    (("name",), ABSENT, "name: missing; write 1 to 64 letters, digits, _ . or -"),
    (("name",), "x" * 65, 'name: "xxx.*" is not a name'),
    (("name",), "a\n", r'name: "a\\n" is not a name'),
    (("name",), 7, "name: 7 is not a name"),
    (("generation",), 1.0, "generation: 1.0 is not a whole number from 1 to 2147483647"),
    (("generation",), True, "generation: true is not a whole number"),
    (("generation",), 2**31, "generation: 2147483648 is not a whole number"),
    (("arms",), [], "arms: has 0 entries, expected 1 to 10000"),
    (("arms",), {"name": "a"}, r"arms: .* is not an array of tables, each under \[\[arms\]\]"),
    (("arms",), [{"name": f"a{i}"} for i in range(10_001)], "arms: has 10001 entries, expected 1 to 10000"),
    (("arms", 0), "hybrid", r'arms\[0\]: "hybrid" is not a table'),
    (("arms", 1, "name"), "collab_filter", r'arms\[1\].name: "collab_filter" is already arms\[0\]; give each its own'),
    (("arms", 0, "retired"), "no", r'arms\[0\].retired: "no" is not true or false; write one, without quotes'),
    (("arms", 0, "retird"), True, r'retird: unknown key; did you mean "retired"\?; accepted: features, name, prior,'),
    (("arms", 0, "prior"), {"mean": 501, "weight": 1}, r"arms\[0\].prior.mean: 501 is not a number from 0.0 to 500.0"),
    (("arms", 0, "prior"), {"mean": 1, "weight": 0}, r"prior.weight: 0 is not a number of decisions above 0"),
    (("arms", 0, "prior"), {"mean": 1}, r"arms\[0\].prior.weight: missing"),
    (
        ("arms", 1, "features"),
        {"cost": 1},
        r"arms\[1\].features: are \['cost'\], those of arms\[0\] are \[\]; give all",
    ),
    (("arms",), [{"name": "a", "retired": True}], "arms: all 1 are retired; leave at least one"),
    (("segments", "default"), "", 'segments.default: "" is not a name'),
    (("segments", "rules", 0, "when"), {}, r"segments.rules\[0\].when: has no condition"),
    (("segments", "rules", 0, "when"), ABSENT, r"segments.rules\[0\].when: has no condition"),
    (("segments", "rules", 0, "when", "visits"), 2, r"when.visits: 2 compares nothing; write \{ equals = \.\.\. \}"),
    (("segments", "rules", 0, "when", "visits"), {}, "when.visits: {} compares nothing"),
    (("segments", "rules", 0, "when", "visits", "bellow"), 2, r'visits.bellow: unknown key; did you mean "below"\?'),
    (("segments", "rules", 0, "when", "a b"), {"equals": 1}, 'when."a b": is not a field\'s name'),
    (("segments", "rules", 1, "when", "country", "in"), [], "country.in: has 0 entries, expected 1 to 1000"),
    (("segments", "rules", 1, "when", "country", "in"), [[]], r"country.in\[0\]: \[\] is not text, a finite number"),
    (("segments", "rules", 1, "when", "premium", "equals"), None, "premium.equals: null is not text"),
    (("segments", "rules", 1, "when", "age", "at_most"), True, "age.at_most: true is not a finite number"),
    (("context", 0, "kind"), "numerical", r'context\[0\].kind: .* is not one of numeric, .*; did you mean "numeric"\?'),
    (("context", 0, "low"), 100, r"context\[0\].low: 100 is not below high 100"),
    (("context", 0, "low"), "0", r'context\[0\].low: "0" is not a finite number'),
    (("context", 0, "low"), float("nan"), r"context\[0\].low: nan is not a finite number"),
    (("context", 0, "low"), 10**400, r"context\[0\].low: 1000.* is not a finite number"),
    (("context", 0, "low"), 10**5000, r"context\[0\].low: int too large to show is not a finite number"),
    (
        ("context", 0, "period"),
        3,
        r"context\[0\].period: unknown key; accepted: beyond, clock, high, kind, low, missing, name",
    ),
    (("context", 1, "name"), "age", r'context\[1\].name: "age" is already context\[0\]'),
    (("context", 1, "values"), ["a", 1], r"context\[1\].values\[1\]: 1 is not text; write it in quotes"),
    (("context", 1, "values"), ["a", "a"], r'context\[1\].values\[1\]: "a" is already values\[0\]; list it once'),
    (("context", 1, "values"), ["\ud800"], r"context\[1\].values\[0\]: .* is not text"),
    (("context", 2, "period"), 0, r"context\[2\].period: 0 is not a finite number above 0"),
    # 1 intercept + 1 age + 253 words + 2 of the hour = 257.
    (("context", 1, "values"), [str(i) for i in range(253)], "context: gives 257 entries .*, expected at most 256"),
    (
        ("context", 0),
        {"name": "x", "kind": "numeric", "low": -1e308, "high": 1e308},
        "low: -1e\\+308 is too far from high",
    ),
    (("context",), [{"name": "x", "kind": "y"}], r"context\[0\].kind: "),  # not also: there is no feature
    (("context",), [], "context: has no feature, but linear_thompson learns from features"),
    (("algorithm", "name"), ABSENT, "algorithm.name: missing; write one of auto, auto_linear, .*, hybrid_ucb"),
    (("algorithm", "name"), "lin_ucp", r'algorithm.name: .*; did you mean "lin_ucb"\?'),
    (("algorithm", "ridge"), 0, "algorithm.ridge: 0 is not a number from "),
    (("algorithm", "rigde"), 1, r'algorithm.rigde: unknown key; did you mean "ridge"\?'),
    (("algorithm",), "lin_ucb", 'algorithm: "lin_ucb" is not a table of keys and values'),
    (("algorithm",), {"name": "beta_thompson"}, "reward: bounds 0.0 to 500.0 are not within 0 to 1, as beta_thompson"),
    (("reward", "low"), 500, "reward.low: 500 is not below high 500"),
    (("reward", "high"), 1e13, r"reward.high: 10000000000000.0 is not a number within ±1e\+12"),
    (("reward", "combine"), "most", "reward.combine: .* is not one of first, last, max, sum"),
    (("reward", "combine"), "max", 'reward.cap: 400.0 caps nothing with combine = "max"; use "sum" or drop cap'),
    (("reward", "cap"), 500.5, "reward.cap: 500.5 is not above low 0.0 and at most high 500.0"),
    (("reward", "cap"), 0, "reward.cap: 0.0 is not above low 0.0"),
    (("reward", "outcomes", 0, "kind"), "click", r'reward.outcomes\[1\].kind: "click" is already reward.outcomes\[0\]'),
    (("reward", "outcomes", 0, "window"), "999ms", r'window: "999ms" is not a duration from "1s" to "30d"'),
    (("reward", "outcomes", 0, "window"), 30, r"window: 30 is not a duration .*; write a whole number and ms, s, m, h"),
    (("reward", "outcomes", 0, "window"), "1.5h", r'window: "1.5h" is not a duration'),
    (("reward", "outcomes", 0, "value_low"), 500, "value_low: 500.0 is not below value_high 500.0"),
    (("reward", "outcomes", 0, "value_high"), ABSENT, r"outcomes\[0\].value_high: missing"),
    (("reward", "outcomes", 0, "worth"), 1e10, r"value_high: 500.0 times worth 10000000000.0 is beyond ±1e\+12"),
    (("reward", "outcomes", 1, "value_low"), 0, r"outcomes\[1\].value_low: 0 bounds nothing; set times_value = true"),
    (("attribution", "grace"), "31d", 'attribution.grace: "31d" is not a duration from "0s" to "30d"'),
    # Two arms are active: 2 * 0.5 = 1 leaves nothing to choose with.
    (("exploration", "floor"), 0.5, "exploration.floor: 0.5 for each of 2 active arms .*; write a number below 0.5"),
    (("exploration", "floor"), -0.1, "exploration.floor: -0.1 is not a number from 0 to 1"),
    (("publish", "interval"), "1ms", 'publish.interval: "1ms" is not a duration from "10ms" to "1d"'),
    (("forgetting",), {"halflife": "7d"}, r'forgetting.halflife: unknown key; did you mean "half_life"\?'),
    (("forgetting",), {"window": "30h"}, 'forgetting.window: "30h" is not a whole number of the buckets of "12h"'),
    (("forgetting",), {"half_life": "6h"}, 'forgetting.half_life: "6h" is shorter than the buckets of "12h"'),
    (("statistics", "bucket"), "1y", 'statistics.bucket: "1y" is not a duration'),
    (("statistics",), [], r"statistics: \[\] is not a table of keys and values"),
    (("\ud800\n",), {}, r'^"\\ud800\\n": unknown key; accepted: '),
    (("exploraton",), {}, r'exploraton: unknown key; did you mean "exploration"\?'),
]


@pytest.mark.parametrize(("place", "value", "expected"), FAULTS, ids=[".".join(map(str, case[0])) for case in FAULTS])
def test_one_mistake_gives_one_fault_that_says_where_and_what(full, place, value, expected):
    (fault,) = faults_of(put(full, place, value))
    assert re.search(expected, fault), fault


def test_the_floor_may_take_all_of_a_single_arm(smallest):
    smallest["exploration"] = {"floor": 1.0}
    assert parse_policy(smallest, "test.toml").floor == 1.0


def test_retired_arms_leave_the_floor_to_the_active_ones(full):
    full["exploration"]["floor"] = 0.49  # twice: 0.98 < 1, three times would be above it
    assert parse_policy(full, "test.toml").floor == 0.49


def test_rewards_too_small_for_their_grid_are_refused(smallest):
    smallest["reward"]["high"] = 1e-7
    assert faults_of(smallest) == ("reward.high: 1e-07 is too small a scale; let low or high be 1e-06 or more",)


def test_the_error_names_its_source(smallest):
    del smallest["name"]
    with pytest.raises(ConfigError, match=r"^test\.toml: name: missing"):
        parse_policy(smallest, "test.toml")


@pytest.mark.parametrize("text", ["name =", "a = " + "[" * 10_000, "a = 1\na = 2", f"a = {'9' * 5000}"])
def test_text_that_is_no_toml_is_refused_with_its_source(text):
    with pytest.raises(ConfigError, match=r"^bad\.toml: is not TOML"):
        load_policy(text, "bad.toml")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_json_are_refused_with_their_source(text):
    with pytest.raises(ConfigError, match=r"^policies@7: is not JSON"):
        load_canonical_json(text, "policies@7")


def test_json_that_is_no_object_is_refused():
    with pytest.raises(ConfigError, match="is a JSON list, expected an object"):
        load_canonical_json("[]", "policies@7")


# An alphabet is given, because the table of all Unicode takes Hypothesis seconds to build on a fresh clone.
TEXT = st.text("a1_. é携\n", max_size=5) | st.just("\ud800")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def places_in(value: Any, place: Place = ()) -> list[Place]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for step, inner in steps for found in places_in(inner, (*place, step)))]


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # `full` is copied, never changed
def test_whatever_stands_in_any_place_is_read_back_the_same_or_a_config_error(full, data):
    raw = deepcopy(full)
    place = data.draw(st.sampled_from(places_in(raw)[1:]))
    put(raw, place, data.draw(JSON | st.just(ABSENT)))
    try:
        policy = parse_policy(raw, "test.toml")
    except ConfigError:
        return
    assert load_canonical_json(to_canonical_json(policy), "policies@0") == policy


def test_kinds_that_are_counted_apart_must_not_be_worth_more_than_the_bounds_together(full):
    del full["reward"]["cap"]
    full["reward"]["combine"] = "weighted"
    full["reward"]["outcomes"] = [
        {"kind": "click", "worth": 300.0, "window": "1h"},
        {"kind": "purchase", "worth": 2.0, "window": "1d", "times_value": True, "value_low": -5, "value_high": 200},
    ]
    with pytest.raises(ConfigError) as caught:
        parse_policy(full, "x")
    (fault,) = caught.value.faults
    assert fault.startswith("reward.outcomes: are together worth -10 to 700, beyond 0.0 to 500.0, and combine =")


def test_kinds_that_are_counted_apart_are_few_enough_for_a_ledger_record(full):
    del full["reward"]["cap"]
    full["reward"]["combine"] = "weighted"
    full["reward"]["outcomes"] = [{"kind": f"k{number}", "worth": 1.0, "window": "1h"} for number in range(40)]
    with pytest.raises(ConfigError, match="columns when they are counted apart, expected at most 512"):
        parse_policy(full, "x")

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.guardrails import (
    Budget,
    EligibilityRule,
    ExposureCap,
    Floors,
    FrequencyCap,
    Guardrails,
    Holdout,
    NewArms,
    Rollout,
    Switches,
)
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy
from pipeline.policy.segments import Condition
from tests.unit.policy.test_policy_parse import ABSENT, JSON, faults_of, places_in, put

GUARDED = """
[exploration]
floor = 0.02
arms = { hybrid = 0.05 }
segments = { new = 0.1 }
new_arms = { floor = 0.2, until = 500 }

[guardrails]
control = "collab_filter"
diversity = 1.5
stale_after = "6h"
holdout = { share = 0.05, salt = "2026" }
frequency = { shows = 3, window = "1d" }
[[guardrails.eligibility]]
arms = ["hybrid"]
only_when = { age = { at_least = 18 } }
never_when = { country = { in = ["SA"] }, member = { equals = false } }
[[guardrails.caps]]
arm = "hybrid"
share = 0.5
window = "7d"
[guardrails.budget]
amount = 1000
window = "20d"
costs = { hybrid = 0.5 }

[rollout]
of = "frontpage"
share = 0.2

[killed]
arms = ["bestsellers"]
"""


@pytest.fixture
def guarded(full: dict[str, Any]) -> dict[str, Any]:
    return full | tomllib.loads(GUARDED)


def test_reads_every_part(guarded):
    policy = parse_policy(guarded, "test.toml")
    assert policy.floor == 0.02
    assert policy.floors == Floors({"hybrid": 0.05}, {"new": 0.1}, NewArms(0.2, 500))
    assert policy.guardrails == Guardrails(
        control="collab_filter",
        diversity=1.5,
        stale_after_ms=21_600_000,
        eligibility=(
            EligibilityRule(
                ("hybrid",),
                (Condition("age", "at_least", 18.0),),
                (Condition("country", "in", ("SA",)), Condition("member", "equals", operand=False)),
            ),
        ),
        holdout=Holdout(0.05, "2026"),
        frequency=FrequencyCap(3, 86_400_000),
        caps=(ExposureCap("hybrid", 0.5, 604_800_000),),
        budget=Budget(1000.0, 1_728_000_000, {"hybrid": 0.5}, soft=0.2),
    )
    assert policy.guardrails.windows_ms == (604_800_000, 1_728_000_000)
    assert policy.rollout == Rollout("frontpage", 0.2, "serve")
    assert policy.switches == Switches(is_killed=False, arms=("bestsellers",))


def test_canonical_json_reads_back_as_the_same_definition(guarded):
    policy = parse_policy(guarded, "test.toml")
    text = to_canonical_json(policy)
    again = load_canonical_json(text, "policies@0")
    assert again == policy
    assert to_canonical_json(again) == text


def test_what_is_not_declared_is_not_written_so_an_older_policy_keeps_its_hash(full):
    text = to_canonical_json(parse_policy(full, "test.toml")).decode()
    assert '"exploration":{"floor":0.02}' in text
    assert not any(part in text for part in ("guardrails", "rollout", "killed"))
    full |= {"guardrails": {}, "killed": {"policy": False, "arms": []}}
    assert to_canonical_json(parse_policy(full, "test.toml")).decode() == text


def test_guardrails_change_the_definition_but_not_the_statistics(full, guarded):
    plain, held = parse_policy(full, "test.toml"), parse_policy(guarded, "test.toml")
    assert plain.definition_hash != held.definition_hash
    assert plain.statistics_hash == held.statistics_hash


G, X = "guardrails", "exploration"
FAULTS = [
    ((X, "arms", "hybird"), 0.1, "exploration.arms.hybird: is no arm of this policy; it has collab_filter, hybrid"),
    ((X, "arms", "hybrid"), 1.5, "exploration.arms.hybrid: 1.5 is not a number from 0 to 1"),
    # Two arms are active: 0.05 + 0.96 = 1.01; 0.05 + 0.02 elsewhere.
    ((X, "segments", "new"), 0.96, "exploration.segments.new: the floors of the 2 active arms come to 1.01"),
    ((X, "arms", "hybrid"), 0.98, r"exploration: the floors of the 2 active arms come to 1, which leaves nothing"),
    ((X, "segments", "old"), 0.1, "exploration.segments.old: is no segment of this policy; it has new, other, premium"),
    ((X, "new_arms", "until"), 0, "exploration.new_arms.until: 0 is not a whole number from 1"),
    ((X, "new_arms", "untill"), 5, r'exploration.new_arms.untill: unknown key; did you mean "until"\?'),
    ((G, "control"), "bestsellers", 'guardrails.control: "bestsellers" is no active arm of this policy'),
    ((G, "diversity"), 2.5, "guardrails.diversity: 2.5 is not a number from 1 to 2, as there are 2 active arms"),
    ((G, "stale_after"), "0s", 'guardrails.stale_after: "0s" is not a duration from "1s"'),
    ((G, "eligibility", 0, "arms"), ["hybird"], r'eligibility\[0\].arms\[0\]: "hybird" is no arm of this policy'),
    ((G, "eligibility", 0, "arms"), [], r"eligibility\[0\].arms: has 0 entries, expected 1 to 3"),
    ((G, "eligibility", 0), {"arms": ["hybrid"]}, r"eligibility\[0\]: has no condition; write only_when = "),
    ((G, "eligibility", 0, "only_when"), {}, r"only_when: has no condition; write one like only_when = "),
    ((G, "holdout", "share"), 1, "holdout.share: 1 is not a number above 0, below 1"),
    ((G, "holdout", "salt"), 7, "holdout.salt: 7 is not text of 1 to 64 characters"),
    ((G, "frequency", "shows"), 0, "frequency.shows: 0 is not a whole number from 1 to 1000"),
    ((G, "caps", 0, "share"), 0, r"caps\[0\].share: 0 is not a number above 0, at most 1"),
    ((G, "caps", 0, "arm"), "old", r'caps\[0\].arm: "old" is no arm of this policy'),
    # Buckets are of 12 hours.
    ((G, "caps", 0, "window"), "1h", r'caps\[0\].window: "1h" is shorter than statistics.bucket "12h"'),
    ((G, "budget", "costs"), {}, "budget.costs: names no arm; write what showing one costs"),
    ((G, "budget", "costs"), {"hybrid": 1, "collab_filter": 1}, "budget.costs: every active arm costs"),
    ((G, "budget", "costs", "hybrid"), 0, "budget.costs.hybrid: 0 is not a finite number above 0"),
    ((G, "budget", "soft"), 0, "budget.soft: 0 is not a number above 0, at most 1"),
    # A fifth of 3 days is less than the attribution window of a day.
    ((G, "budget", "window"), "3d", 'budget.window: settle = "wait" reports a decision only after "1d", too late'),
    (("rollout", "of"), "homepage", 'rollout.of: "homepage" is this policy itself'),
    (("rollout", "share"), 20, "rollout.share: 20 is not a number from 0 to 1"),
    (
        ("rollout", "mode"),
        "shadwo",
        r'rollout.mode: "shadwo" is not one of serve, shadow, apprentice; did you mean "shadow"\?',
    ),
    (("killed", "arms"), ["x"], r'killed.arms\[0\]: "x" is no arm of this policy'),
    (("killed", "polcy"), True, r'killed.polcy: unknown key; did you mean "policy"\?'),
]


@pytest.mark.parametrize(("place", "value", "expected"), FAULTS, ids=[".".join(map(str, case[0])) for case in FAULTS])
def test_one_mistake_gives_one_fault_that_says_where_and_what(guarded, place, value, expected):
    (fault,) = faults_of(put(guarded, place, value))
    assert re.search(expected, fault), fault


def test_an_arm_is_capped_once_and_something_is_always_shown(guarded):
    caps = guarded["guardrails"]["caps"]
    (fault,) = faults_of(put(deepcopy(guarded), ("guardrails", "caps"), caps * 2))
    assert fault.startswith('guardrails.caps[1].arm: "hybrid" is already guardrails.caps[0]')
    # 0.5 + 0.4 < 1
    other = {"arm": "collab_filter", "share": 0.4, "window": "7d"}
    (fault,) = faults_of(put(guarded, ("guardrails", "caps"), [*caps, other]))
    assert fault.startswith("guardrails.caps: the caps of all active arms come to less than 1, but something is shown")


def test_a_rule_holds_its_arms_to_every_condition(guarded):
    (rule,) = parse_policy(guarded, "test.toml").guardrails.eligibility
    grown = {"age": 30.0}
    assert rule.admits(grown)
    assert not rule.admits({})  # a missing field meets nothing, so what is allowed only then is not
    assert not rule.admits({"age": 17.0})
    assert rule.admits(grown | {"country": "SA"})  # both conditions of never_when, or neither counts
    assert not rule.admits(grown | {"country": "SA", "member": False})


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # `guarded` is copied, never changed
def test_whatever_stands_in_any_place_is_read_back_the_same_or_a_config_error(guarded, data):
    raw = deepcopy(guarded)
    sections = [place for place in places_in(raw)[1:] if place[0] in {"exploration", "guardrails", "rollout", "killed"}]
    put(raw, data.draw(st.sampled_from(sections)), data.draw(JSON | st.just(ABSENT)))
    try:
        policy = parse_policy(raw, "test.toml")
    except ConfigError:
        return
    assert load_canonical_json(to_canonical_json(policy), "policies@0") == policy

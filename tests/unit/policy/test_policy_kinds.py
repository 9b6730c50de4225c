"""Contexts that bend: what may be missing, out of bounds, or a word that nobody has listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import orjson
import pytest

from pipeline.errors import ConfigError, InvalidRecordError
from pipeline.evaluate.context_log import read_contexts
from pipeline.events import MAX_TIME_MS, decision_from
from pipeline.join.admission import encode_missing
from pipeline.policy.contexts import bits_for, possible_contexts
from pipeline.policy.feature_use import feature_doubts, lacking_doubts
from pipeline.policy.features import FeatureSchema
from pipeline.policy.kinds import (
    BooleanFeature,
    CategoricalFeature,
    ClockFeature,
    CyclicFeature,
    HashedFeature,
    NumericFeature,
    OptionalFeature,
    QuantileFeature,
)
from pipeline.policy.kinds.clock import SHOWN
from pipeline.policy.parsing.parse import load_policy
from pipeline.serve import Decided, decide, load_snapshot
from tests.harness.taught import taught
from tests.samples import define, linear_policy, plain_decision

ONE = 4096
DOCUMENT = (Path(__file__).parents[3] / "docs/context.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("context", [{}, {"age": None}])
def test_what_is_missing_is_an_entry_of_its_own(context):
    schema = FeatureSchema((OptionalFeature(NumericFeature("age", 0.0, 100.0)),))
    assert schema.encode(context).tolist() == [ONE, 0, ONE]
    assert schema.encode({"age": 100}).tolist() == [ONE, ONE, 0]


def test_what_is_there_and_wrong_is_refused_though_it_might_be_missing():
    schema = FeatureSchema((OptionalFeature(NumericFeature("age", 0.0, 100.0)),))
    with pytest.raises(InvalidRecordError, match=r"age is 101, expected 0\.0 to 100\.0"):
        schema.encode({"age": 101})


def test_a_word_that_is_not_listed_counts_as_other_and_what_is_no_word_is_refused():
    device = CategoricalFeature("device", ("phone", "desk"), has_other=True)
    assert [device.encode(word) for word in ("desk", "fridge")] == [(0, ONE, 0), (0, 0, ONE)]
    with pytest.raises(InvalidRecordError, match="device is 3"):
        device.encode(3)


@pytest.mark.parametrize(("value", "entry"), [(-5.0, -ONE), (1e300, ONE), (50, 0)])
def test_a_number_out_of_bounds_is_clipped_where_that_is_declared(value, entry):
    assert NumericFeature("age", 0.0, 100.0, clips=True).encode(value) == (entry,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, "7"])
def test_what_is_no_finite_number_is_clipped_nowhere(value):
    with pytest.raises(InvalidRecordError):
        NumericFeature("age", 0.0, 100.0, clips=True).encode(value)


def test_a_hashed_word_has_the_same_entry_on_every_machine():
    # BLAKE2b of 8 bytes, little-endian, by another program: bit 0 is the sign, the rest modulo 8 the place.
    city = HashedFeature("city", 8)
    digest = subprocess.run(["b2sum", "-l", "64"], input=b"city\0Bonn", capture_output=True, check=True).stdout
    number = int.from_bytes(bytes.fromhex(digest.split()[0].decode()), "little")
    expected = [0] * 8
    expected[(number >> 1) % 8] = ONE if number & 1 else -ONE
    assert list(city.encode("Bonn")) == expected


def test_hashed_words_spread_over_entries_and_signs():
    city = HashedFeature("city", 8)
    words = [city.encode(f"city-{number}") for number in range(1_000)]
    # 1,000 words in 16 places, 62.5 each, standard deviation 7.7: five of them are 38.
    counts = [sum(word[slot] == sign for word in words) for slot in range(8) for sign in (ONE, -ONE)]
    assert sum(counts) == 1_000
    assert all(24 <= count <= 101 for count in counts)


@pytest.mark.parametrize(
    ("value", "place"),
    # Three stretches of a third each: 5 is half of the first, 100 the end of the second, 550 half of the last.
    [(-1, -1.0), (0, -1.0), (5, -2 / 3), (10, -1 / 3), (100, 1 / 3), (550, 2 / 3), (1_000, 1.0), (1e9, 1.0)],
)
def test_a_rank_is_linear_between_knots(value, place):
    assert QuantileFeature("basket", (0.0, 10.0, 100.0, 1_000.0)).encode(value) == (round(place * ONE),)


def test_a_truth_is_one_or_minus_one_and_nothing_else():
    member = BooleanFeature("member")
    assert [member.encode(value) for value in (True, False)] == [(ONE,), (-ONE,)]
    for value in (1, 0, "true", None):
        with pytest.raises(InvalidRecordError, match="expected true or false"):
            member.encode(value)


def test_an_interaction_is_every_entry_times_every_entry():
    features = (CategoricalFeature("device", ("phone", "desk")), NumericFeature("age", 0.0, 100.0))
    schema = FeatureSchema(features, interactions=(("device", "age"),))
    # Age 25 is -0.5, on a desk: (0, 1) x (-0.5).
    assert schema.encode({"device": "desk", "age": 25}).tolist() == [ONE, 0, ONE, -2048, 0, -2048]
    assert [name for name, _ in schema.entries()] == ["intercept", "device", "age", "device × age"]


@pytest.mark.parametrize(
    ("shows", "zone", "expected"),
    [
        # 2026-07-01 21:30 UTC, a Wednesday: in Berlin (summer) 23:30, in Tokyo 6:30 of the Thursday.
        ("hour", "UTC", 21.5),
        ("hour", "Europe/Berlin", 23.5),
        ("hour", "Asia/Tokyo", 6.5),
        ("weekday", "Europe/Berlin", 2.0),
        ("weekday", "Asia/Tokyo", 3.0),
    ],
)
def test_a_clock_fills_in_what_nobody_sends(shows, zone, expected):
    at_ms = 1_782_941_400_000
    schema = FeatureSchema((ClockFeature(CyclicFeature("when", 24.0), shows, zone),))
    assert schema.filled({}, at_ms) == {"when": expected}
    vectors, (error,) = schema.encode_at([{}], [at_ms])
    assert error is None
    assert vectors.tolist() == [schema.encode({"when": expected}).tolist()]


@pytest.mark.parametrize(
    ("shows", "zone", "expected"),
    # 9999-12-31 is a Friday; in Tokyo it is Saturday morning, of a year that Python's calendar has not.
    [("hour", "UTC", 23 + 59 / 60), ("hour", "Asia/Tokyo", 8 + 59 / 60), ("weekday", "Asia/Tokyo", 5.0)],
)
def test_a_clock_shows_something_at_every_time_that_a_decision_may_have(shows, zone, expected):
    clock = ClockFeature(CyclicFeature("when", 24.0), shows, zone)
    assert clock.value(MAX_TIME_MS) == expected
    assert 0.0 <= clock.value(0) <= SHOWN[shows].last


def test_a_time_zone_is_the_lock_s_and_not_the_machine_s(tmp_path):
    # A machine that holds Berlin for UTC, and a process that looks there first.
    (tmp_path / "Europe").mkdir()
    utc = files("tzdata.zoneinfo").joinpath("UTC").read_bytes()
    (tmp_path / "Europe/Berlin").write_bytes(utc)
    asked = (
        "from zoneinfo import ZoneInfo; from datetime import datetime\n"
        "from pipeline.policy.kinds import ClockFeature, CyclicFeature\n"
        "print(datetime.fromtimestamp(1_782_941_400, ZoneInfo('Europe/Berlin')).hour,"
        " ClockFeature(CyclicFeature('when', 24.0), 'hour', 'Europe/Berlin').value(1_782_941_400_000))"
    )
    environment = os.environ | {"PYTHONTZPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["21", "23.5"]


def test_what_a_context_says_itself_stands_against_the_clock():
    schema = FeatureSchema((ClockFeature(CyclicFeature("when", 24.0), "hour", "UTC"),))
    assert schema.filled({"when": 3}, 0) == {"when": 3}


def test_a_node_logs_what_its_clock_showed_and_decides_by_it():
    raw = linear_policy()
    raw["context"] = [{"name": "when", "kind": "cyclic", "period": 24.0, "clock": "hour", "time_zone": "UTC"}]
    policy = define(raw)
    snapshot = load_snapshot(taught(policy, 1))
    at_ms = 1_782_941_400_000  # 21:30 UTC
    made = decide(snapshot, policy.name, {}, None, rng=np.random.default_rng(1), action_id="a", now_ms=at_ms)
    assert isinstance(made, Decided)
    assert (made.reason, made.decision.context) == ("policy", {"when": 21.5})
    assert made.decision.context_vector == policy.features.encode({"when": 21.5}).tobytes()


def test_join_fills_in_what_a_foreign_producer_left_out():
    raw = linear_policy()
    raw["context"] = [{"name": "when", "kind": "cyclic", "period": 24.0, "clock": "hour", "time_zone": "UTC"}]
    policy, at_ms = define(raw), 1_782_941_400_000
    decision = decision_from(plain_decision("a", at_ms, policy=policy.name, context={}))
    assert encode_missing([(decision, policy)]) == [policy.features.encode({"when": 21.5}).tobytes()]


def test_a_product_is_rounded_half_to_even():
    # Bounds of ±4096 make a number its own entry: 2048 × 1 / 4096 is half a step, 2048 × 3 / 4096 one and a half.
    schema = FeatureSchema((NumericFeature("a", -ONE, ONE), NumericFeature("b", -ONE, ONE)), interactions=(("a", "b"),))
    assert schema.encode({"a": 2048, "b": 1}).tolist()[-1] == 0
    assert schema.encode({"a": 2048, "b": 3}).tolist()[-1] == 2


def test_interactions_of_a_policy_that_has_none_leave_its_encoding_as_it_was():
    plain = FeatureSchema((NumericFeature("age", 0.0, 100.0),))
    assert plain.hashed() == [{"name": "age", "kind": "numeric", "low": 0.0, "high": 100.0}]


def test_contexts_are_counted_with_what_interactions_tell_apart():
    numbers = NumericFeature("a", -1.0, 1.0), NumericFeature("b", -1.0, 1.0)
    device = CategoricalFeature("device", ("phone", "desk"), has_other=True)
    # On the coarsest grid a number is -1, 0 or 1; a word is one of three.
    assert possible_contexts(FeatureSchema((*numbers, device)), 0) == 3 * 3 * 3
    assert possible_contexts(FeatureSchema((*numbers, device), interactions=(("a", "device"),)), 0) == 3 * 3 * 3
    crossed = FeatureSchema(numbers, interactions=(("a", "b"),))
    assert possible_contexts(crossed, 0) > possible_contexts(FeatureSchema(numbers), 0)
    assert bits_for(crossed, 9) is None


def test_the_page_of_kinds_shows_a_policy_that_is_valid_and_says_the_same_again():
    raw = linear_policy()
    raw.pop("context")
    policy = define(raw | tomllib.loads(EXAMPLE))
    vector, (error,) = policy.features.encode_many([{"device": "fridge", "hour": 23, "city": "Bonn"}])
    assert error is None
    assert vector.shape == (1, policy.dimension)
    assert define(policy.to_plain()) == policy


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ('kind = "hashed"\nslots = 1', r"slots: 1 is not .*2 to 255"),
        ('kind = "quantile"\nknots = [1, 1]', r"knots: .*does not rise"),
        ('kind = "quantile"\nknots = [3]', r"knots: "),
        ('kind = "numeric"\nlow = 0\nhigh = 1\nbeyond = "cut"', r'beyond: "cut" is not one of refuse, clip'),
        ('kind = "boolean"\nmissing = "zero"', r'missing: "zero" is not one of refuse, indicator'),
        ('kind = "cyclic"\nperiod = 24\nclock = "hour"\ntime_zone = "Berlin"', r"time_zone: .*a time zone, like"),
        (
            'kind = "cyclic"\nperiod = 24\nclock = "moon"\ntime_zone = "UTC"',
            r'clock: "moon" is not one of hour, w',
        ),
        (
            'kind = "numeric"\nlow = 0\nhigh = 12\nclock = "hour"\ntime_zone = "UTC"',
            r"clock: shows 0 to 23\.98, and it refuses that: x is 23\.98.*, expected 0\.0 to 12\.0",
        ),
        ('kind = "boolean"\nclock = "weekday"\ntime_zone = "UTC"', r"clock: .*expected true or false"),
        ('kind = "cyclic"\nperiod = 7\nclock = "weekday"\ntime_zone = "localtime"', r"time_zone: .*a time zone, like"),
        ('kind = "boolen"', r'did you mean "boolean"'),
    ],
)
def test_a_faulty_table_says_what_is_accepted(keys, fault):
    with pytest.raises(Exception, match=fault):
        load_policy(_policy(f'[[context]]\nname = "x"\n{keys}\n'), "test")


@pytest.mark.parametrize(
    ("pairs", "fault"),
    [
        ('[["x", "y"]]', r"interactions\[0\].*\"y\" is no feature"),
        ('[["x", "x"]]', r"interactions\[0\].*one feature twice"),
        ('[["x"]]', r"interactions\[0\].*no pair"),
        ('["x"]', r"interactions\[0\].*no pair"),
    ],
)
def test_a_faulty_interaction_says_what_is_accepted(pairs, fault):
    text = f'interactions = {pairs}\n{_policy()}[[context]]\nname = "x"\nkind = "boolean"\n'
    with pytest.raises(Exception, match=fault):
        load_policy(text, "test")


def test_validate_says_what_a_log_would_make_of_it(tmp_path):
    policy, log = tmp_path / "shop.toml", tmp_path / "contexts.jsonl"
    policy.write_text(EXAMPLE.replace("\n[[", f"\n{_policy()}\n[[", 1), encoding="utf-8")
    fridges = [{"device": "fridge", "hour": 3, "basket": 5.0, "city": "Bonn"}] * 3
    rich = [{"device": "mobile", "hour": 3, "basket": 1e9, "city": "Bonn"}]
    lacking = [{"device": "mobile", "hour": 3, "city": "Ulm"}] * 2
    log.write_bytes(b"\n".join(map(orjson.dumps, fridges + rich + lacking)))
    command = [sys.executable, "-m", "pipeline", "policy", "validate", str(policy), "--log", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "device counts 50.0% of its words as other: 'fridge' (3)" in done.stderr.replace('"', "'")
    assert "basket is clipped to 0.0 to 10000.0 in 1 of 4 contexts" in done.stderr
    assert "basket is missing in 2 of 6 contexts" in done.stderr
    assert "a request that lacks one of device, city is decided by chance" in done.stderr  # a clock shows the hour


def test_a_context_of_a_log_without_what_a_clock_shows_is_not_called_refused():
    raw = linear_policy()
    raw["context"] = [{"name": "when", "kind": "cyclic", "period": 24.0, "clock": "hour", "time_zone": "UTC"}]
    assert feature_doubts(define(raw), [{}, {"when": 3}]) == []
    assert lacking_doubts(define(raw)) == []


LACKING = FeatureSchema(
    (
        CategoricalFeature("Device", ("phone", "desk")),
        OptionalFeature(NumericFeature("age", 0.0, 100.0)),
        OptionalFeature(BooleanFeature("member")),
        ClockFeature(CyclicFeature("when", 24.0), "hour", "UTC"),
    )
)


@pytest.mark.parametrize(
    ("table", "contexts"),
    [
        # Empty cells of what may be missing are missing; a comma is a decimal one where semicolons delimit.
        (
            "device;age;member;when\nphone;7,5;yes;3\ndesk;;;\n",
            [{"Device": "phone", "age": 7.5, "member": True, "when": 3.0}, {"Device": "desk"}],
        ),
        ("device\nphone\n", [{"Device": "phone"}]),
        ("age;device\n;desk\n1;phone\n", [{"Device": "desk"}, {"Device": "phone", "age": 1.0}]),
    ],
)
def test_a_table_of_contexts_may_lack_what_a_request_may(table, contexts):
    found, _ = read_contexts(table.encode(), "t.csv", LACKING)
    assert found == contexts
    assert LACKING.encode_at(found, [0] * len(found))[1] == [None] * len(found)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("age\n1\n", "column device is missing"),
        ("device;age\n;1\n", "row 2, column device: is empty"),
        ("device;age\nphone;\ndesk;old\n", "row 3, column age: 'old', expected a number"),
        ("device;age;age\nphone;1;2\n", "column age is there 2 times"),
    ],
)
def test_what_is_wrong_in_a_table_of_contexts_is_told_though_it_might_be_missing(table, fault):
    with pytest.raises(ConfigError, match=fault):
        read_contexts(table.encode(), "t.csv", LACKING)


def _policy(context: str = "") -> str:
    return f"""name = "shop"
arms = [{{ name = "a" }}, {{ name = "b" }}]
segments = {{ default = "all" }}
algorithm = {{ name = "lin_ucb" }}
{context}[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
"""

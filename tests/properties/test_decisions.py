"""Law 10: whatever a caller sends and a policy declares, there is an answer that a record can carry, or a reason."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.events import Decision
from pipeline.learn.memory import RowKey
from pipeline.models import ALGORITHMS
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.guardrails import Switches
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import Decided, LoadedSnapshot, NoAnswer, load_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer
from pipeline.serve.guardrails.chain import Exposures

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ARMS = ["a", "b", "c", "d", "old"]
POLICY: dict[str, Any] = {
    "name": "p",
    "arms": [{"name": arm, "retired": arm == "old"} for arm in ARMS],
    "segments": {"default": "other", "rules": [{"name": "new", "when": {"visits": {"below": 2}}}]},
    "context": [
        {"name": "age", "kind": "numeric", "low": 0, "high": 100},
        {"name": "device", "kind": "categorical", "values": ["mobile", "desktop"]},
        {"name": "hour", "kind": "cyclic", "period": 24},
    ],
    "algorithm": {"name": "linear_thompson"},
    "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "5s"}]},
    "exploration": {
        "floor": 0.02,
        "arms": {"c": 0.1},
        "segments": {"new": 0.05},
        "new_arms": {"floor": 0.2, "until": 50},
    },
    "guardrails": {
        "control": "b",
        "diversity": 1.5,
        "stale_after": "1h",
        "holdout": {"share": 0.1},
        "frequency": {"shows": 2, "window": "1h"},
        "eligibility": [
            {"arms": ["a", "d"], "only_when": {"age": {"at_least": 18}}},
            {"arms": ["c"], "never_when": {"country": {"in": ["SA", 7, True]}}},
        ],
        "caps": [{"arm": "a", "share": 0.4, "window": "1d"}, {"arm": "b", "share": 0.5, "window": "1d"}],
        "budget": {"amount": 100, "window": "2d", "costs": {"a": 1, "d": 2.5}},
    },
}
FLOORS = {"other": {"a": 0.02, "b": 0.02, "c": 0.1, "d": 0.02}, "new": {"a": 0.05, "b": 0.05, "c": 0.1, "d": 0.05}}
SOUND = {"age": 30.0, "device": "mobile", "hour": 13.5, "visits": 3}


@cache
def snapshot_of(algorithm: str, name: str = "p", *, rollout: bool = False) -> LoadedSnapshot:
    raw = POLICY | {"name": name, "algorithm": {"name": algorithm}}
    if rollout:
        raw |= {"rollout": {"of": "p", "share": 0.5}}
    definition = parse_policy(raw, "test")
    rng = np.random.default_rng(4)
    rows = []
    for arm, shown in zip(ARMS, (200, 100, 100, 20, 50), strict=True):
        X = rng.integers(-4096, 4097, (shown, definition.dimension)).astype(np.int16)
        X[:, 0] = 4096
        statistics = Statistics(definition.dimension, contributions(X, (rng.random(shown) < 0.2) * 2**15))
        rows.append((RowKey(name, 1, "other", arm, 19_675), statistics))
    return load_snapshot(build_snapshot(definition, rows, {0: Mark(1, NOW_MS)}, 1, ""))


text = st.text("aB1_ é携\n\x00", max_size=6) | st.sampled_from(["mobile", "SA", "\ud800"])
scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | text
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308])
)
value = scalar | st.lists(scalar, max_size=3) | st.dictionaries(text, scalar, max_size=2)
field = st.sampled_from(["age", "device", "hour", "visits", "country"]) | text
context = st.dictionaries(field, value, max_size=7) | st.dictionaries(field, value, max_size=2).map(SOUND.__or__)
listed = st.none() | st.lists(st.sampled_from([*ARMS, "zebra", "携"]), max_size=6)
count = st.integers(0, 500)
exposures = st.fixed_dictionaries(dict.fromkeys(ARMS, count))
switched = st.none() | st.builds(Switches, st.booleans(), st.lists(st.sampled_from(ARMS), max_size=4).map(tuple))


def known_by(
    algorithm: str, counts: dict[str, int], until_ms: int, switches: Switches | None, age_ms: int, *, follows: bool
) -> Known:
    windows = tuple(Exposures(days * DAY_MS, until_ms, counts) for days in (1, 2))
    snapshots = {"p": replace(snapshot_of(algorithm), exposures=windows)}
    if follows:
        snapshots["next"] = replace(snapshot_of("beta_thompson", "next", rollout=True), exposures=windows)
    return Known(snapshots, {} if switches is None else {"p": switches}, age_ms=lambda _policy, _now_ms: age_ms)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=200, deadline=None)
@given(
    context=context,
    eligible=listed,
    counts=exposures,
    until_ms=st.sampled_from([0, 1, NOW_MS - DAY_MS, NOW_MS, NOW_MS + DAY_MS]),
    switches=switched,
    age_ms=st.sampled_from([0, 3_600_000]),
    subject=st.none() | st.sampled_from([f"s{i}" for i in range(30)]),
    follows=st.booleans(),
)
def test_every_request_has_an_answer_that_a_record_can_carry(
    algorithm, context, eligible, counts, until_ms, switches, age_ms, subject, follows
):
    known = known_by(algorithm, counts, until_ms, switches, age_ms, follows=follows)
    request = Request("p", context, eligible, "a1", NOW_MS, subject)
    for _ in range(4):  # the same subject again and again meets the frequency cap
        answered = answer(known, request, np.random.default_rng(len(counts)))
        if isinstance(answered, NoAnswer):
            assert answered.reason == "no-eligible-arm"
            return
        assert_sound(answered, request, switches)


def assert_sound(answered: Decided, request: Request, switches: Switches | None) -> None:
    decision = decode_event(avro.encode("decision", answered.decision._asdict()), "decision", {})
    assert isinstance(decision, Decision)
    p = np.array(decision.probabilities)
    assert abs(p.sum() - 1.0) < 1e-9
    assert (p >= 0.0).all()
    assert decision.propensity == p[list(decision.eligible).index(decision.arm)] > 0.0
    assert list(decision.eligible) == sorted(set(decision.eligible))
    if request.eligible is not None:
        assert set(decision.eligible) <= set(request.eligible)
    shown = set(decision.eligible)
    assert "old" not in shown
    if decision.policy == "p" and switches is not None:
        assert shown.isdisjoint(switches.arms)
    age = request.context.get("age")
    if isinstance(age, bool) or not isinstance(age, int | float) or not age >= 18:
        assert shown.isdisjoint({"a", "d"})
    if answered.fallback in {None, "unencodable-context"} and decision.reason != "holdout":
        of_segment = FLOORS[decision.segment]
        for arm, propensity in zip(decision.eligible, p, strict=True):
            # The floors of arms that cost go with the budget; all others stand.
            if arm not in {"a", "d"}:
                assert propensity >= of_segment[arm] - 1e-12


@settings(max_examples=100, deadline=None)
@given(context=context, eligible=listed)
def test_without_a_snapshot_the_callers_list_is_answered_from(context, eligible):
    answered = answer(Known({}), Request("p", context, eligible, "a1", NOW_MS, None), np.random.default_rng(1))
    if not eligible:
        assert isinstance(answered, NoAnswer)
        assert answered.reason == ("no-snapshot" if eligible is None else "no-eligible-arm")
        return
    assert isinstance(answered, Decided)
    assert answered.fallback == "no-snapshot"
    assert set(answered.probabilities) == set(eligible)
    decode_event(avro.encode("decision", answered.decision._asdict()), "decision", {})

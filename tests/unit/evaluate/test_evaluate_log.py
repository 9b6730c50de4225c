"""From ledger records to a log, and from a log to what a policy would have done there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.evaluate import Settings, evaluate, prepare
from pipeline.evaluate.learned import learned_elsewhere, published
from pipeline.evaluate.ledger import ActionKey, Gathering
from pipeline.evaluate.target import Fixed, Logged, Uniform
from pipeline.policy.guardrails import Switches
from pipeline.publish.snapshot import build_snapshot
from pipeline.report.tally import tally
from tests.samples import CLICK, LIKE, define, exp3_policy, plain_decision, plain_policy

POLICY = define(plain_policy())
ONE = 1 << POLICY.reward_exponent
QUICK = Settings(resamples=50)


def record(number: int, arm: str = "a", *, reward: int = 0, revision: int = 2, **others: Any) -> dict[str, Any]:
    """Give the fields of a ledger record that the log is made of."""
    settled = others.pop("is_settled", True)
    decision = plain_decision(f"x{number}", decided_at_ms=number, arm=arm, **others)
    return {
        "action_id": f"x{number}",
        "policy": "homepage",
        "generation": 1,
        "revision": revision,
        "is_settled": settled,
        "segment": decision["segment"],
        "reward": reward,
        "reward_exponent": POLICY.reward_exponent,
        "attribution": POLICY.statistics_hash,
        "decided_at_ms": number,
        "outcomes": [],
        "decision": orjson.dumps(decision),
        "is_erased": False,
        "undecodable": "",
    }


def decision_of(number: int, **others: Any) -> bytes:
    """Give a record of `decisions`."""
    return orjson.dumps(plain_decision(f"x{number}", **others))


def gathered(*records: dict[str, Any]) -> Gathering:
    gathering = Gathering(POLICY)
    gathering.add(records)
    return gathering


def test_of_an_action_the_highest_revision_counts_whatever_the_order():
    records = [record(1, reward=ONE, revision=3), record(1, revision=2), record(1, revision=1, is_settled=False)]
    for order in (records, records[::-1]):
        log, left_out = gathered(*order).log()
        assert (len(log), log.mean_reward, left_out) == (1, 1.0, [])


def test_an_id_that_comes_again_once_its_row_has_expired_is_another_decision():
    day_ms = 86_400_000
    first = record(1, reward=ONE, revision=3)
    again = record(1, "b") | {"decided_at_ms": day_ms, "decision": decision_of(1, decided_at_ms=day_ms)}
    for order in ((first, again), (again, first)):
        gathering = gathered(*order)
        log, left_out = gathering.log()
        assert (log.reward.tolist(), left_out) == ([1.0, 0.0], [])
        # Of nobody known, each is a unit of its own; and so they are in a report.
        assert log.clusters.how_many == 2
        assert tally(gathering.entries.values()).groups["no_snapshot"].group.subjects == 2
    erased = first | {"is_erased": True, "decision": b"", "revision": 2**62}
    assert gathered(first, again, erased).log()[0].reward.tolist() == [0.0]


def test_each_decision_of_an_id_that_came_again_is_of_its_own_subject():
    gathering = gathered(record(1), record(1) | {"decided_at_ms": 9, "decision": decision_of(1, decided_at_ms=9)})
    gathering.identify(decision_of(1, decided_at_ms=at, subject_hash=who) for at, who in ((9, "bea"), (1, "ada")))
    assert gathering.log()[0].subjects == ["ada", "bea"]


def test_the_analysis_group_may_be_asked_alone_or_left_out():
    gathering = gathered(record(1, reward=ONE), record(2, is_analysis=True), record(3, reward=ONE, is_analysis=True))
    assert len(gathering.log()[0]) == 3
    of_it, left_out = gathering.log(analysis=True)
    assert (of_it.actions, left_out) == (["x2", "x3"], ["1 decisions are not of the analysis group and were left out"])
    others, left_out = gathering.log(analysis=False)
    assert (others.actions, len(left_out)) == (["x1"], 1)
    assert "2 decisions are of the analysis group" in left_out[0]
    with pytest.raises(ConfigError, match="not of the analysis group"):
        gathered(record(1)).log(analysis=True)


def test_what_is_held_out_says_nothing_of_what_another_policy_would_have_shown_there():
    # b always pays and a never does: every arm alike earns .5. With the half that is held out, on a, it would be .25.
    held_out = [record(place, "a", propensity=1.0, reason="holdout") for place in range(400)]
    shown = [
        record(400 + place, "ab"[place % 2], propensity=0.5, reward=ONE * (place % 2), eligible=["a", "b"],
               probabilities=[0.5, 0.5])
        for place in range(400)
    ]  # fmt: skip
    log, left_out = gathered(*held_out, *shown).log()
    assert left_out == [next(words for words in left_out if words.startswith("400 decisions of the holdout"))]
    found = evaluate(prepare(log, POLICY.features), Uniform(), QUICK, np.random.default_rng(1))
    assert found.of("IPS").value == pytest.approx(0.5)
    assert found.support.mean_weight == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="400 decisions of the holdout were left out"):
        gathered(*held_out).log()


def test_open_decisions_and_other_policies_are_left_out_and_the_former_are_told():
    other = record(3) | {"policy": "another"}
    older = record(4) | {"generation": 2}
    log, left_out = gathered(record(1), record(2, is_settled=False), other, older).log()
    assert len(log) == 1
    assert left_out == ["1 decisions are still open and were left out"]


def test_what_is_erased_counts_for_nothing_and_nothing_of_it_is_kept():
    erased = record(2, reward=ONE, revision=2**62) | {"is_erased": True, "decision": b""}
    for order in ([record(1), record(2), erased], [erased, record(2), record(1)]):
        gathering = gathered(*order)
        log, left_out = gathering.log()
        assert (len(log), log.mean_reward, left_out) == (1, 0.0, ["1 decisions were erased and were left out"])
        assert gathering.entries[ActionKey("x2", 2)].decision is None


def test_a_ledger_without_a_settled_decision_is_refused_in_words():
    with pytest.raises(ConfigError, match="holds no settled decision; 1 decisions are still open"):
        gathered(record(1, is_settled=False)).log()


def test_arms_that_were_not_offered_and_arms_that_had_no_chance_are_told_apart():
    vector = {"eligible": ["a", "b"], "probabilities": [0.0, 1.0], "propensity": 1.0}
    log, _ = gathered(
        record(1, "b", **vector), record(2, "a", eligible=["a"], probabilities=[1.0], propensity=1.0)
    ).log()
    assert log.offered[log.offer].tolist() == [[True, True], [True, False]]
    assert log.possible[log.offer].tolist() == [[False, True], [True, False]]
    assert log.weight_bound_known
    assert Uniform().propensities(log, slice(0, 2)).tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_without_vectors_what_a_segment_never_showed_counts_as_unsupported():
    log, _ = gathered(*(record(i, "a") for i in range(20))).log()
    found = evaluate(prepare(log, POLICY.features), Uniform(), QUICK, np.random.default_rng(0))
    assert found.support.unsupported == pytest.approx(0.5)
    assert any("never showed there" in words for words in found.warnings)


def test_the_logging_policy_evaluates_to_its_own_mean():
    rng = np.random.default_rng(8)
    records = [
        record(i, "ab"[i % 2], reward=int(rng.integers(ONE + 1)), propensity=float(rng.uniform(0.1, 0.9)))
        for i in range(300)
    ]
    log, _ = gathered(*records).log()
    found = evaluate(prepare(log, POLICY.features), Logged(), QUICK, rng)
    for name in ("IPS", "SNIPS", "clipped IPS", "DR", "Switch-DR"):
        assert found.of(name).value == pytest.approx(log.mean_reward, rel=1e-12), name
    (by,) = found.warnings
    assert by.startswith("by action")


def test_a_policy_is_not_asked_about_decisions_that_it_learned_from():
    # b was shown once, in decision 0, and paid; a never pays. Who has not seen decision 0 knows nothing of b.
    records = [record(0, "b", reward=ONE), *(record(i, "a") for i in range(1, 100))]
    log, _ = gathered(*records).log()
    target = learned_elsewhere("file", POLICY, log)
    chances = target.propensities(log, slice(0, 100))[:, log.arms.index("b")]
    # Posterior of a: about 80 failures, of b: Beta(1, 1) against Beta(2, 1); the floor is 1 %.
    elsewhere = int(np.flatnonzero(log.folds != log.folds[0])[0])
    assert chances[0] < chances[elsewhere]
    knows_b = [snapshot.segments["other"].posterior.parameters["alpha"][1] == 2 for snapshot in target.snapshots]
    assert knows_b == [fold != log.folds[0] for fold in range(5)]


def test_a_policy_that_counts_by_propensity_learns_from_the_one_that_was_logged():
    records = [record(i, "ab"[i % 2], reward=ONE * (i % 4 == 1), propensity=[0.8, 0.25][i % 2]) for i in range(100)]
    policy = define(exp3_policy())
    log, _ = gathered(*records).log()
    target = learned_elsewhere("file", policy, log)
    for held_out, snapshot in enumerate(target.snapshots):
        arms, kept = log.arm, target.which != held_out
        of_b = kept & (arms == log.arms.index("b"))
        found = snapshot.segments["other"].posterior.parameters
        assert found["earned"] == pytest.approx([0.0, log.reward[of_b].sum() / 0.25], rel=1e-4)
        assert found["drawn"] == pytest.approx([(kept & ~of_b).sum() / 0.8, of_b.sum() / 0.25], rel=1e-4)


def test_a_snapshot_decides_as_a_node_would_where_the_log_offered_other_arms():
    vector = {"eligible": ["a", "zzz"], "probabilities": [0.5, 0.5]}
    log, _ = gathered(
        record(1, **vector), record(2, "zzz", eligible=["zzz"], probabilities=[1.0], propensity=1.0)
    ).log()
    target = published("homepage@1", build_snapshot(POLICY, [], {}, 1, ""), log)
    # Of the first list it knows a only; of the second none, so each alike.
    assert target.propensities(log, slice(0, 2)).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_a_fixed_target_shares_its_chances_among_the_arms_on_offer():
    log, _ = gathered(
        record(1, eligible=["a"], probabilities=[1.0], propensity=1.0),
        record(2, eligible=["a", "b"], probabilities=[0.5, 0.5]),
    ).log()
    target = Fixed("three to one", np.array([[0.25, 0.75]]))
    assert target.propensities(log, slice(0, 2)).tolist() == [[1.0, 0.0], [0.25, 0.75]]


def test_a_policy_without_the_arms_of_the_log_is_refused():
    log, _ = gathered(record(1)).log()
    stranger = define(plain_policy() | {"arms": [{"name": "c"}, {"name": "d"}]})
    with pytest.raises(ConfigError, match="arms a of the log are not among its 2 arms"):
        learned_elsewhere("file", stranger, log)


def test_a_log_with_a_reward_beyond_its_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"reward 1\.5 lies outside its bounds 0\.0 to 1\.0"):
        gathered(record(1, reward=3 * ONE // 2)).log()


def test_where_kinds_are_counted_apart_a_reward_is_made_of_the_outcomes_by_the_present_worths():
    plain = plain_policy(combine="weighted", outcomes=(CLICK | {"worth": 0.5}, LIKE))
    outcomes = [{"outcome_id": kind, "kind": kind, "value": 1.0, "occurred_at_ms": 1} for kind in ("click", "like")]
    policy = define(plain)
    gathering = Gathering(policy)
    of = {"attribution": policy.statistics_hash}
    gathering.add([record(1) | of | {"outcomes": outcomes}, record(2) | of | {"outcomes": outcomes[:1]}])
    assert sorted(entry.reward for entry in gathering.entries.values()) == [0.5, 0.75]


def guarded(**others: Any) -> Any:
    return define(plain_policy() | others)


def test_a_target_is_asked_with_its_guardrails_holdout_and_switches():
    log, _ = gathered(*(record(i, "ab"[i % 2]) for i in range(40))).log()
    b = log.arms.index("b")
    no_b = {"eligibility": [{"arms": ["b"], "only_when": {"age": {"at_least": 18}}}]}
    for name, others in {
        "a rule that the contexts don't meet": {"guardrails": no_b},
        "a killed arm": {"killed": {"arms": ["b"]}},
        "a killed policy": {"killed": {"policy": True}, "guardrails": {"control": "a"}},
        "all are held out": {"guardrails": {"control": "a", "holdout": {"share": 0.9}}},
    }.items():
        chances = learned_elsewhere("file", guarded(**others), log).propensities(log, slice(0, 40))[:, b]
        assert (chances == 0.0).sum() >= 30, name
    floors = guarded(exploration={"floor": 0.0, "arms": {"b": 0.3}})
    assert learned_elsewhere("file", floors, log).propensities(log, slice(0, 40))[:, b].min() >= 0.3


def test_a_switch_thrown_after_a_snapshot_acts_on_it():
    log, _ = gathered(*(record(i, "ab"[i % 2]) for i in range(4))).log()
    content = build_snapshot(POLICY, [], {}, 1, "")
    target = published("homepage@1", content, log, Switches(arms=("a",)))
    assert target.propensities(log, slice(0, 4))[:, log.arms.index("a")].tolist() == [0.0] * 4


def test_what_history_can_not_tell_is_named():
    rails = {
        "frequency": {"shows": 3, "window": "1d"},
        "stale_after": "6h",
        "budget": {"amount": 5, "window": "1d", "costs": {"a": 0.4}},
        "caps": [{"arm": "b", "share": 0.2, "window": "7d"}],
    }
    rollout = {"of": "another", "share": 0.05, "mode": "serve"}
    log, _ = gathered(*(record(i, "ab"[i % 2]) for i in range(40))).log()
    target = learned_elsewhere("file", guarded(guardrails=rails, rollout=rollout), log)
    found = evaluate(prepare(log, POLICY.features), target, QUICK, np.random.default_rng(0))
    told = " ".join(found.to_plain()["left_out"])
    for word in ("budget", "cap on b", "frequency cap", "stale_after", "rollout"):
        assert word in told, word


def test_where_a_target_has_nothing_to_show_it_earns_nothing_and_that_is_said():
    log, _ = gathered(*(record(i, "a", eligible=["a"], probabilities=[1.0], propensity=1.0) for i in range(200))).log()
    target = published("homepage@1", build_snapshot(POLICY, [], {}, 1, ""), log, Switches(arms=("a",)))
    found = evaluate(prepare(log, POLICY.features), target, QUICK, np.random.default_rng(0))
    assert found.of("IPS").value == 0.0
    assert found.support.unanswered == 1.0
    assert any("nothing to show" in words for words in found.warnings)


def test_folds_know_nothing_of_the_order_of_the_log_and_keep_a_person_whole():
    log, _ = gathered(*(record(i) for i in range(2_000))).log()
    slot = np.arange(2_000) % 5
    # In turn, the decisions of a fold would all be of one slot; by hash each slot has its fifth, ± 4 · 0.02.
    for fold in range(5):
        shares = np.bincount(slot[log.folds == fold], minlength=5) / (log.folds == fold).sum()
        assert np.abs(shares - 0.2).max() < 0.08
    subjects = [f"s{i % 50}" for i in range(2_000)]
    of_subject = replace(log, subjects=subjects)
    assert all(len({of_subject.folds[i] for i in range(s, 2_000, 50)}) == 1 for s in range(50))


def test_a_promotion_does_not_end_the_history_where_the_rules_tell_the_past():
    shorter = define(plain_policy(outcomes=(CLICK | {"window": "5s"}, LIKE)) | {"generation": 2})
    credited = {"outcome_id": "o", "kind": "click", "value": 1.0}
    soon, late = ([credited | {"occurred_at_ms": at_ms}] for at_ms in (4_000, 9_000))
    past = [record(i, reward=ONE) | {"outcomes": outcomes} for i, outcomes in enumerate((soon, late))]
    present = record(5, reward=ONE) | {"generation": 2, "attribution": shorter.statistics_hash}
    gathering = Gathering(shorter, known=[POLICY, shorter])
    gathering.add([*past, present])
    log, left_out = gathering.log()
    # By the present rules a click counts for 5 s: of the past, the one that came after 4 s.
    assert (log.reward.tolist(), left_out) == ([1.0, 0.0, 1.0], [])
    old = Gathering(POLICY, 1, known=[POLICY, shorter])
    old.add([*past, present])
    assert old.log()[0].reward.tolist() == [1.0, 1.0]


def test_what_the_past_can_not_tell_by_the_present_rules_is_left_out_and_named():
    longer = define(plain_policy(outcomes=(CLICK | {"window": "20s"}, LIKE)) | {"generation": 2})
    gathering = Gathering(longer, known=[POLICY, longer])
    gathering.add([record(1), record(2) | {"generation": 2, "attribution": longer.statistics_hash}])
    log, left_out = gathering.log()
    assert len(log) == 1
    (words,) = left_out
    assert "1 decisions of generation 1" in words
    assert "the window of click was 10s then, asked for is 20s" in words


def test_a_weighted_generation_is_told_by_its_own_worths_or_refused_and_never_as_nothing():
    old = define(plain_policy(combine="weighted", outcomes=(CLICK | {"worth": 0.5}, LIKE)))
    outcomes = [{"outcome_id": "o", "kind": "click", "value": 1.0, "occurred_at_ms": 1}]
    records = [record(1) | {"outcomes": outcomes, "attribution": old.statistics_hash}]
    known = Gathering(old, 1, known=[old])
    known.add(records)
    assert known.log()[0].mean_reward == 0.5
    live = define(plain_policy() | {"generation": 2})
    unknown = Gathering(live, 1)
    unknown.add(records)
    with pytest.raises(ConfigError, match="by what rules they earned is not among the policies"):
        unknown.log()


def test_decisions_say_whom_the_ledger_does_not_name():
    gathering = gathered(record(1), record(2), record(3))
    sent = [plain_decision(f"x{i}", decided_at_ms=i, subject_hash=hash_) for i, hash_ in ((1, "s"), (2, None))]
    gathering.identify([*map(orjson.dumps, sent), b"no record"])
    log, _ = gathering.log()
    assert log.subjects == ["s", None, None]
    assert log.clusters.by == "subject, else action"
    found = evaluate(prepare(log, POLICY.features), Logged(), QUICK, np.random.default_rng(0))
    assert {estimate.by for estimate in found.estimates} == {"subject, else action"}
    assert any(words.startswith("by action for 2 of 3 decisions") for words in found.warnings)

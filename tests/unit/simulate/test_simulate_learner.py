"""The player is the loop's own core: same statistics, same posterior, same chances."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.learn.memory import RowKey
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.simulate.environment import Setting
from pipeline.simulate.environments.catalogue import Catalogue
from pipeline.simulate.environments.linear import Linear
from pipeline.simulate.environments.segments import Segments
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import Moments
from pipeline.simulate.run import run
from pipeline.simulate.setting import definition_for

DECISIONS = 400
FLOOR = 0.01


def assert_decides_by(snapshot, learner, environment, floor: float = 0.0) -> None:
    definition = learner.definition
    places = np.arange(DECISIONS, DECISIONS + 50)
    contexts = [environment.context(t) for t in places]
    choices = learner.choose(Moments(places, places * 1_000, contexts, tuple(range(len(environment.setting.arms)))))
    for context, arm, propensity in zip(contexts, *choices, strict=True):
        segment = definition.segments.segment_for(context)
        chances = snapshot.propensities(segment, snapshot.active, definition.features.encode(context))
        name = environment.setting.arms[arm]
        assert propensity == pytest.approx(chances[snapshot.active.index(name)], abs=1e-9)
        assert propensity >= min(floor, 1 / len(environment.setting.arms))


def played(environment, algorithm: str, *, refresh: int = 7, seed: int = 1):
    environment.reset(seed)
    others = {"statistics": {"bucket": "100s"}}  # decisions are a second apart: four buckets
    definition = definition_for(environment.setting, algorithm, {}, floor=FLOOR, others=others)
    learner = Learner(algorithm, definition, environment.setting, np.random.default_rng(seed))
    return learner, run(environment, learner, DECISIONS, refresh=refresh)


@pytest.mark.parametrize(("kind", "algorithm"), [(Segments, "beta_thompson"), (Linear, "lin_ucb")])
def test_the_statistics_are_the_sums_of_what_was_chosen_and_earned(kind, algorithm):
    environment = kind()
    learner, done = played(environment, algorithm)
    definition = learner.definition
    expected: dict[tuple[str, str, int], list[int]] = {}
    for t in range(DECISIONS):
        context = environment.context(t)
        key = (definition.segments.segment_for(context), environment.setting.arms[done.arms[t]], t // 100)
        x = definition.features.encode(context).tolist()
        reward = round(environment.reward(t, done.arms[t]) * 2**definition.reward_exponent)
        row = [1, reward, reward**2, *(reward * a for a in x)]
        row += [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
        expected[key] = [a + b for a, b in zip(expected.get(key, [0] * len(row)), row, strict=True)]
    assert {key: row.sums.tolist() for key, row in learner.statistics().items()} == expected


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (Segments, "beta_thompson"),
        (Segments, "auto"),
        (Linear, "auto"),
        (Segments, "hierarchical_thompson"),
        (Segments, "exp3"),
        (Segments, "tsallis_inf"),
        (Linear, "linear_thompson"),
        (Linear, "linear_ensemble"),
        (Catalogue, "hybrid_thompson"),
        (Catalogue, "logistic_hybrid_thompson"),
    ],
)
def test_it_decides_with_the_chances_that_a_node_would_have_from_a_snapshot_of_its_statistics(kind, algorithm):
    environment = kind()
    learner, _ = played(environment, algorithm)
    definition = learner.definition
    snapshot = load_snapshot(build_snapshot(definition, sorted(learner.rows()), {}, 1, ""))
    assert_decides_by(snapshot, learner, environment, floor=FLOOR)


def test_decisions_count_by_the_propensity_that_they_were_drawn_with():
    environment = Segments()
    learner, done = played(environment, "exp3", refresh=1)
    definition = learner.definition
    expected: dict[tuple[str, str, int], list[int]] = {}
    for t in range(DECISIONS):
        key = (
            definition.segments.segment_for(environment.context(t)),
            environment.setting.arms[done.arms[t]],
            t // 100,
        )
        reward = round(environment.reward(t, done.arms[t]) * 2**15)
        counted = [round(amount / done.propensities[t]) for amount in (2**15, reward)]
        expected[key] = [a + b for a, b in zip(expected.get(key, [0, 0]), counted, strict=True)]
    found = {key[2:5]: row.sums.tolist() for key, row in learner.rows() if key.tally == "importance"}
    assert found == expected


def test_what_is_forgotten_when_publishing_is_forgotten_here():
    environment = Segments()
    environment.reset(1)
    others = {"statistics": {"bucket": "100s"}, "forgetting": {"half_life": "100s", "window": "300s"}}
    definition = definition_for(environment.setting, "beta_thompson", {}, others=others)
    learner = Learner("x", definition, environment.setting, np.random.default_rng(1))
    run(environment, learner, DECISIONS, refresh=7)
    rows = [(RowKey("x", 1, *key), row) for key, row in sorted(learner.statistics().items())]
    snapshot = load_snapshot(build_snapshot(definition, rows, {}, 1, ""))
    assert_decides_by(snapshot, learner, environment)


def test_the_same_seed_plays_the_same_and_another_does_not():
    runs = [played(Segments(), "beta_thompson", seed=seed)[1] for seed in (1, 1, 2)]
    assert (runs[0].arms == runs[1].arms).all()
    assert (runs[0].arms != runs[2].arms).any()


def test_propensities_are_how_often_arms_are_chosen():
    environment = Segments(arms=3)
    learner, _ = played(environment, "beta_thompson")
    places = np.arange(DECISIONS, DECISIONS + 4_000)
    context = {"kind": "new"}
    choices = learner.choose(Moments(places, places, [context] * len(places), (0, 1, 2)))
    for arm in range(3):
        chance = choices.propensities[choices.arms == arm]
        if len(chance):
            error = np.sqrt(chance[0] * (1 - chance[0]) / len(places))
            assert len(chance) / len(places) == pytest.approx(chance[0], abs=5 * error)


def test_only_arms_on_offer_are_chosen_each_by_what_is_known_of_it():
    environment = Segments()
    learner, done = played(environment, "beta_thompson")
    # The arm that was shown most, and the one that was shown least: the former is by far the better known.
    most, least = (int(place) for place in np.bincount(done.arms).argsort()[[-1, 0]])
    eligible = tuple(sorted((most, least)))
    places = np.arange(DECISIONS, DECISIONS + 100)
    choices = learner.choose(Moments(places, places, [{"kind": "new"}] * 100, eligible))
    assert set(choices.arms.tolist()) <= set(eligible)
    rows = [(RowKey("x", 1, *key), row) for key, row in sorted(learner.statistics().items())]
    snapshot = load_snapshot(build_snapshot(learner.definition, rows, {}, 1, ""))
    names = tuple(environment.setting.arms[arm] for arm in eligible)
    chances = snapshot.propensities("new", names, np.zeros(0, np.int16))
    for arm, propensity in zip(*choices, strict=True):
        assert propensity == pytest.approx(chances[eligible.index(arm)], abs=1e-12)


def test_a_policy_of_other_arms_or_smaller_rewards_is_refused():
    environment = Segments()
    definition = definition_for(environment.setting, "beta_thompson", {})
    for setting in (Setting(("a", "b")), Setting(environment.setting.arms, high=2.0)):
        with pytest.raises(ConfigError, match="policy beta_thompson"):
            Learner("x", definition, setting, np.random.default_rng(0))


def test_guardrails_act_in_a_simulation_as_on_a_node():
    environment = Segments(arms=3)
    arms = environment.setting.arms

    def shares(**others) -> np.ndarray:
        environment.reset(1)
        definition = definition_for(environment.setting, "beta_thompson", {}, others=others)
        learner = Learner("x", definition, environment.setting, np.random.default_rng(1))
        return np.bincount(run(environment, learner, 3_000, refresh=20).arms, minlength=3) / 3_000

    refused = {
        "eligibility": [{"arms": [arms[1]], "never_when": {"kind": {"in": ["new", "returning", "premium", "partner"]}}}]
    }
    assert shares(guardrails=refused)[1] == 0.0
    assert shares(killed={"arms": [arms[2]]})[2] == 0.0
    assert shares(killed={"policy": True}, guardrails={"control": arms[0]})[0] == 1.0
    assert shares(guardrails={"control": arms[0], "holdout": {"share": 0.9}})[0] > 0.85
    # A cap of 20 % in the window, and of c / (1 + 0.1) where every context wants the arm.
    best = int(shares().argmax())
    capped = {"caps": [{"arm": arms[best], "share": 0.2, "window": "1h"}]}
    bucket = {"statistics": {"bucket": "10s"}}
    assert shares(guardrails=capped, **bucket)[best] < 0.22


def test_a_simulation_learns_nothing_from_the_analysis_group():
    environment = Segments(arms=3)
    definition = definition_for(environment.setting, "beta_thompson", {}, others={"analysis": {"share": 0.25}})
    learner = Learner("x", definition, environment.setting, np.random.default_rng(1))
    run(environment, learner, 4_000, refresh=20)
    learned = sum(row.n for row in learner.statistics().values())
    # 0.75 × 4,000, standard deviation 27.
    assert 2_870 < learned < 3_130


def test_where_people_keep_answers_what_is_learned_waits_for_the_next_epoch():
    vectors = {}
    minutes = {"assignment": {"sticky": "subject", "epoch": "1m", "constant": ["kind"]}}
    for name, more in (("each", {}), ("kept", minutes)):
        environment = Segments()
        environment.reset(1)
        others = {"statistics": {"bucket": "100s"}, **more}
        definition = definition_for(environment.setting, "beta_thompson", {}, floor=FLOOR, others=others)
        learner = Learner(name, definition, environment.setting, np.random.default_rng(1))
        done = run(environment, learner, DECISIONS, refresh=7)
        kinds = [environment.context(t)["kind"] for t in range(DECISIONS)]
        vectors[name] = {
            (kind, arm, propensity) for kind, arm, propensity in zip(kinds, done.arms, done.propensities, strict=True)
        }
        if more:
            assert learner.left_out == ("that a person keeps an answer: nobody comes twice in an environment",)
    # 400 decisions a second apart are seven minutes, with a vector a kind each. The other learns every 7 decisions.
    most_often = Counter((kind, arm) for kind, arm, _ in vectors["kept"]).most_common(1)[0][1]
    assert 3 < most_often <= 7
    assert Counter((kind, arm) for kind, arm, _ in vectors["each"]).most_common(1)[0][1] > 14


def test_a_policy_that_leaves_nothing_to_show_is_named_with_the_decision():
    environment = Segments(arms=3)
    everything = {"eligibility": [{"arms": list(environment.setting.arms), "only_when": {"kind": {"equals": "?"}}}]}
    definition = definition_for(environment.setting, "beta_thompson", {}, others={"guardrails": everything})
    learner = Learner("x", definition, environment.setting, np.random.default_rng(1))
    with pytest.raises(ConfigError, match="shows nothing at decision 0"):
        run(environment, learner, 10)

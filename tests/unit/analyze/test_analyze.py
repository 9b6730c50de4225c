"""Logs whose truth is known: what is said of them, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.analyze.analyze import Settings, analyze
from pipeline.analyze.answer import sentences
from pipeline.analyze.comparable import comparable
from pipeline.analyze.findings import Analysis
from pipeline.analyze.picture import save_picture
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from tests.decision_logs import log_of

QUICK = Settings(resamples=200)


def shop(effect: float, n: int = 4_000, *, seed: int = 1, phones: float = 0.5, **others: Any) -> DecisionLog:
    """Show b to phones with 0.7 and to desks with 0.3; b earns `effect` more on a phone, and as much less on a desk."""
    rng = np.random.default_rng(seed)
    is_phone = rng.random(n) < phones
    chance = np.where(is_phone, 0.7, 0.3)
    arm = (rng.random(n) < chance).astype(int)
    mean = 0.3 + arm * np.where(is_phone, effect, -effect)
    contexts = [{"device": "phone" if phone else "desk", "age": float(age)}
                for phone, age in zip(is_phone, rng.uniform(18, 80, n), strict=True)]  # fmt: skip
    reward = (rng.random(n) < mean).astype(float)
    return log_of(arm, reward, np.where(arm == 1, chance, 1.0 - chance), contexts, **others)


def of(log: DecisionLog, settings: Settings = QUICK, **others: Any) -> Analysis:
    return analyze(log, settings, np.random.default_rng(0), **others)


def test_where_context_decides_it_says_to_personalise_by_what_and_for_how_much():
    found = of(shop(0.15))
    assert found.personalise == "yes"
    # Half of the visitors get 0.15 more than with either arm for all: 0.3 + 0.15 / 2 against 0.3 + 0.
    assert found.gain.low < 0.075 < found.gain.high
    assert found.values["an arm by context"].low < 0.375 < found.values["an arm by context"].high
    first, second = found.effects
    assert (first.field, second.field) == ("device", "age")
    assert first.adjusted < 0.01 < second.adjusted
    assert first.worth.low > 0.0
    shown = {level.level: next(iter(level.shown)) for level in first.levels}
    assert shown == {"phone": "b", "desk": "a"}
    for level in first.levels:
        expected = 0.3 + (0.15 if level.level == "phone" else -0.15)
        assert abs(level.means["b"] - expected) < 4 * level.standard_errors["b"]
    which, worth, missing = sentences(found)
    assert which == "Show each visitor the arm by context: a for device desk; b for device phone."
    assert worth.startswith("Personalise: it gains +0.0")
    assert "differ by device" in worth
    assert "by action" in missing


def test_where_it_does_not_it_says_not_to_or_how_much_more_it_takes():
    # b is better for everybody: the effect is the same for all, whoever is shown what.
    rng = np.random.default_rng(3)
    log = shop(0.0, 6_000)
    better = np.where(log.arm == 1, rng.random(6_000) < 0.4, log.reward > 0.0).astype(float)
    found = of(log_of(log.arm, better, log.propensity, log.contexts), Settings(resamples=200, worth=0.2))
    assert found.personalise == "no"
    assert (found.leader, found.advice.may_stop) == ("b", True)
    assert found.context_wait.decisions == 0
    assert sentences(found)[0].startswith("Show b to everybody, it is the best of the arms for all: it earns 0.")
    strict = of(log_of(log.arm, better, log.propensity, log.contexts), Settings(resamples=200, worth=1e-6))
    assert strict.personalise == "not yet"
    assert strict.context_wait.decisions > 10_000
    # A decision a minute.
    assert strict.context_wait.time_ms == pytest.approx(strict.context_wait.decisions * 60_000, rel=0.01)
    assert "until context is surely worth it or surely not" in sentences(strict)[2]


def test_an_arm_that_is_shown_to_the_better_visitors_is_no_better():
    # Phones earn twice as much whatever they are shown; b is shown to nine of ten of them.
    rng = np.random.default_rng(4)
    n = 6_000
    is_phone = rng.random(n) < 0.5
    chance = np.where(is_phone, 0.9, 0.1)
    arm = (rng.random(n) < chance).astype(int)
    reward = (rng.random(n) < np.where(is_phone, 0.4, 0.2)).astype(float)
    contexts = [{"device": "phone" if one else "desk"} for one in is_phone]
    found = of(log_of(arm, reward, np.where(arm == 1, chance, 1.0 - chance), contexts))
    assert reward[arm == 1].mean() - reward[arm == 0].mean() > 0.1
    for value in found.arm_values.values():
        assert value.low < 0.3 < value.high
    assert found.personalise != "yes"


def test_regret_is_what_the_rules_would_have_earned_more():
    found = of(shop(0.15, 8_000, seed=5))
    # By context 0.375; the log shows the right arm to 0.7 of each half: 0.3 + 0.5 · 0.7 · 0.15 - 0.5 · 0.3 · 0.15.
    assert found.regret["an arm by context"].low < 0.375 - 0.33 < found.regret["an arm by context"].high
    # One arm for all earns 0.3, whichever: the log has done better than that.
    assert found.regret["one arm for all"].low < -0.03 < found.regret["one arm for all"].high


def test_groups_are_told_apart_by_what_they_are_shown_and_small_ones_withheld():
    log = shop(0.15, 3_000)
    told = [
        {**context, "town": "x" if place < 1_500 else "y" if place < 2_980 else "z"}
        for place, context in enumerate(log.contexts)
    ]
    log = log_of(log.arm, log.reward, log.propensity, told)
    found = of(log, Settings(resamples=100, group_by=("device", "town")))
    assert found.groups is not None
    by_name = {one.group: one for one in found.groups.shown}
    assert set(by_name) == {"phone", "desk", "x", "y"}
    assert by_name["phone"].differs["shares"] < 0.01
    assert by_name["x"].differs["shares"] > 0.05
    share = by_name["phone"].shares["b"]
    assert share["low"] < 0.7 < share["high"]
    # On a phone 0.7 · 0.45 + 0.3 · 0.3.
    assert by_name["phone"].mean_reward["low"] < 0.405 < by_name["phone"].mean_reward["high"]
    assert found.groups.withheld == ["town (others): 20 subjects, 30 are needed"]
    with pytest.raises(ConfigError, match="nothing: is in no context, and makes no groups"):
        of(log, Settings(group_by=("nothing",)))


def test_an_arm_that_could_not_always_be_shown_is_left_out_and_named():
    log = shop(0.1, 2_000)
    possible = np.ones((2_000, 3), np.bool_)
    arm = np.where(np.arange(2_000) % 10 == 9, 2, log.arm)
    possible[:1_000, 2] = False
    arm[:1_000] = log.arm[:1_000]
    found = comparable(log_of(arm, log.reward, log.propensity, log.contexts, possible=possible))
    assert found.arms.tolist() == [0, 1]
    assert "arm c could be shown in 50% of the decisions only" in found.left_out[0]
    assert len(found.log) == 2_000
    with pytest.raises(ConfigError, match="fewer than two arms that can be compared"):
        comparable(log, {"a"})


def test_a_log_of_one_subject_says_nothing_of_others():
    with pytest.raises(ConfigError, match="of one subject: how much others differ takes at least two"):
        of(shop(0.1, 400, subjects=["s0"] * 400))
    assert of(shop(0.1, 400, subjects=["s0"] * 399 + ["s1"])).subjects == 2


def test_decisions_in_which_not_all_could_be_shown_are_left_out_and_counted():
    log = shop(0.1, 2_000)
    possible = np.ones((2_000, 2), np.bool_)
    possible[np.flatnonzero(log.arm == 0)[:50], 1] = False
    found = comparable(log_of(log.arm, log.reward, log.propensity, log.contexts, possible=possible))
    assert (len(found.log), found.left_out) == (1_950, ["50 decisions in which not all of the arms could be shown"])


def test_propensities_that_cannot_be_true_are_doubted():
    log = shop(0.0, 2_000)
    wrong = log_of(log.arm, log.reward, np.full(2_000, 0.25), log.contexts)
    assert any("by their propensities, where true ones come to 100 %" in words for words in of(wrong).doubts)
    assert not any("true ones come to" in words for words in of(log).doubts)


def test_a_draw_that_was_not_the_same_for_all_is_found_out_where_it_is_taken_to_be():
    log = shop(0.0, 2_000)
    shares = np.where(log.arm == 1, log.arm.mean(), 1 - log.arm.mean())
    assumed = log_of(log.arm, log.reward, shares, log.contexts)
    doubts = of(assumed, is_draw_assumed=True).doubts
    assert any(words.startswith("which arm was shown goes along with device") for words in doubts)
    assert not any("goes along with age" in words or "along with time" in words for words in doubts)
    assert not any("goes along" in words for words in of(assumed).doubts)


@pytest.mark.parametrize("log", [shop(0.0, 300), log_of([0, 1] * 100, np.zeros(200), np.full(200, 0.5))])
def test_a_log_that_says_little_is_answered_drawn_and_told_in_json(log, tmp_path):
    found = of(log, Settings(resamples=50))
    assert found.personalise in {"no", "not yet"}
    plain = found.to_plain()
    assert orjson.loads(orjson.dumps(plain)).keys() == plain.keys()
    assert all(sentences(found))
    for name in ("a.png", "b.svg"):
        save_picture(found, tmp_path / "deep" / name)
    assert (tmp_path / "deep" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "deep" / "b.svg").read_bytes()


def test_a_log_that_knows_nothing_of_its_visitors_says_so():
    found = of(log_of([0, 1] * 500, [0.0, 1.0, 1.0, 1.0] * 250, np.full(1_000, 0.5)), Settings(resamples=50))
    which, worth, missing = sentences(found)
    assert which.startswith("Show b to everybody")
    assert worth == "Whether to personalise can't be said: nothing in the log tells one visitor from another."
    assert "a context with the decisions" in missing

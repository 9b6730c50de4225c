"""The learning bench in a size for tests: it runs whole, and says what it found."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from benchmarks import chapelle_li, learning
from benchmarks.learning import Contender
from benchmarks.retrained import Retrained
from pipeline.models import ALGORITHMS
from pipeline.models.chances.best_arm import beta_best
from pipeline.simulate.named import environment_for
from pipeline.simulate.run import Run, run
from pipeline.simulate.spec import definition_of
from pipeline.simulate.summary import Summary, summarise


def contender(name: str, family: str) -> Contender:
    return Contender(name, family, lambda _environment, _seed: None)


def summary(environment: str, name: str, regrets: list[float]) -> Summary:
    def one(regret: float) -> Run:
        unknown = np.full(1, np.nan)
        return Run(np.zeros(1, int), unknown, np.zeros(1), np.array([regret]), np.zeros(1, bool))

    return summarise(environment, name, [one(regret) for regret in regrets])


def test_every_environment_is_played_by_every_algorithm_that_suits_it(tmp_path):
    names = [name for name in learning.ENVIRONMENTS if name != "digits"]  # that one needs scikit-learn
    results = list(learning.measure(2, 0.01, names, with_peers=False))
    assert {found.environment for _, found in results} == set(names)
    played = {one.name for one, _ in results}
    assert set(ALGORITHMS) <= played
    text = learning.write(results, tmp_path)
    report = orjson.loads((tmp_path / "learning.json").read_bytes())
    assert len(report["results"]) == len(results)
    assert all(row["repetitions"] == 2 for row in report["results"])
    assert text.startswith("| policy | bernoulli | segments |")
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")


def test_whom_the_readme_recommends_plays_in_each_environment():
    for name in learning.ENVIRONMENTS:
        if name != "digits":  # that one needs scikit-learn
            environment = environment_for(name, learning.OPTIONS.get(name, {}))
            players = {one.name for one in learning.contenders(name, environment, with_peers=False)}
            assert learning.RECOMMENDED[name] in players, name


def test_the_picture_shows_whom_it_recommends_the_best_and_the_best_of_each_peer(monkeypatch):
    monkeypatch.setattr(learning, "RECOMMENDED", {"arms": "d"})
    regrets = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 5.0, "e": 4.0, "f": 0.5}
    results = [(contender(name, "platform"), summary("arms", name, [regret])) for name, regret in regrets.items()]
    results += [(contender(name, "VW"), summary("arms", name, [len(name)])) for name in ("VW x", "VW yy")]
    assert [one.player for one in learning._shown(results)] == ["d", "f", "a", "b", "VW x"]


def test_the_best_of_each_side_are_compared_seed_by_seed():
    results = [
        (contender("good", "platform"), summary("arms", "good", [10.0, 20.0, 30.0])),
        (contender("bad", "platform"), summary("arms", "bad", [90.0, 90.0, 90.0])),
        (contender("MABWiser a", "MABWiser"), summary("arms", "MABWiser a", [50.0, 50.0, 50.0])),
        (contender("VW b", "VW"), summary("arms", "VW b", [9.0, 18.0, 27.0])),
    ]
    (verdict,) = learning.verdicts(results)
    assert (verdict["policy"], verdict["peer"]) == ("good", "VW b")
    # Differences 1, 2, 3: a mean of 2 and a standard error of 1 / sqrt(3), though the regrets vary ten times as much.
    assert verdict["difference"] == pytest.approx(2.0)
    assert verdict["difference_error"] == pytest.approx(1 / np.sqrt(3))
    assert not verdict["holds"]
    text = learning.table(results)
    assert "| good | **20 ± 5.8** |" in text
    assert "| bad | 90 ± 0 |" in text
    assert "| VW, tuned | 18 ± 5.2 (b) |" in text


def test_arms_are_drawn_as_likely_as_beta_thompson_computes():
    # What `chapelle_li.play` does: the largest of one draw a posterior.
    rng = np.random.default_rng(1)
    alpha, beta = rng.uniform(1.0, 40.0, 10), rng.uniform(1.0, 40.0, 10)
    share = np.bincount(rng.beta(alpha, beta, (100_000, 10)).argmax(axis=1), minlength=10) / 100_000
    chance = beta_best(alpha, beta)
    assert (np.abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 100_000) + 1e-6).all()


def test_who_is_told_nothing_has_the_regret_of_chance_and_who_is_told_has_far_less():
    steps, runs = 2_000, 20
    blind = chapelle_li.play(steps, steps, runs, np.random.default_rng(2))
    told = chapelle_li.play(1, steps, runs, np.random.default_rng(3))
    # The largest of ten Beta(4, 4) is expected at 0.5 + 0.239 (integrated, and below by simulation), chance at 0.5.
    draws = np.random.default_rng(4).beta(4.0, 4.0, (100_000, 10)).max(axis=1)
    expected = steps * (draws.mean() - 0.5)
    assert blind.mean() == pytest.approx(expected, abs=5 * blind.std() / np.sqrt(runs) + 5)
    assert told.mean() < 0.25 * blind.mean()


def test_a_result_is_good_up_to_six_percent_above_what_was_published():
    published = chapelle_li.PUBLISHED[1]

    def result(ratio: float) -> chapelle_li.Result:
        return chapelle_li.Result("flat", 1, (published * ratio, published * ratio))

    assert result(1.05).is_good
    assert not result(1.07).is_good
    assert "| flat | 1 | 9,105 ± 0 | 9,105 | 100% |" in chapelle_li.table([result(1.0)])


def test_a_bench_that_was_stopped_goes_on_to_the_same_figures(tmp_path):
    def played(kept) -> list[list[float]]:
        results = learning.measure(2, 0.01, ["wheel"], with_peers=False, kept=kept)
        return [found.regrets.tolist() for _, found in results]

    whole = played(None)
    assert played(tmp_path) == whole
    first, second = sorted(tmp_path.rglob("lin_ucb/*.npz"))
    assert first.stem == str(learning.FIRST_SEED)
    second.unlink()
    before = first.stat().st_mtime_ns
    assert played(tmp_path) == whole
    assert second.exists()
    assert first.stat().st_mtime_ns == before, "what was kept was played again"


def test_an_encoder_trained_on_the_way_leaves_the_statistics_of_all_decisions():
    environment = environment_for("wheel", {})
    environment.reset(3)
    definition = definition_of("lin_ucb", environment.setting, floor=0.0, settle="optimistic")
    player = Retrained("x", definition, environment.setting, seed=3)
    played = run(environment, player, 240, refresh=20)
    statistics = player._learner.statistics()
    # Trained after 200: 33 entries instead of 3, and every decision counts once, those before it too.
    assert {row.dimension for row in statistics.values()} == {33}
    assert sum(row.n for row in statistics.values()) == 240
    counts = np.bincount(played.arms, minlength=5)
    by_arm = {arm: sum(row.n for key, row in statistics.items() if key[1] == arm) for arm in environment.setting.arms}
    assert [by_arm[arm] for arm in environment.setting.arms] == counts.tolist()

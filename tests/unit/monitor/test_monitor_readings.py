"""What monitors compute, against scipy, numpy and sums worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.monitor.compare import deviations_for, differ, normal_stability_index, stability_index
from pipeline.monitor.contexts import correlations
from pipeline.monitor.monitors import BY_NAME, MONITORS, look
from pipeline.monitor.reading import FIGURES, WITHHELD
from pipeline.monitor.regret import regret_of
from pipeline.monitor.view import View
from pipeline.policy.monitors import THRESHOLDS
from tests.samples import define, plain_policy


def test_every_monitor_has_a_threshold_with_its_source_and_every_threshold_a_monitor():
    assert BY_NAME.keys() == THRESHOLDS.keys()
    assert len(BY_NAME) == len(MONITORS)
    assert all(known.source and known.of and known.default <= known.highest for known in THRESHOLDS.values())


def test_the_stability_index_is_the_sum_of_both_relative_entropies():
    p, q = np.array([400.0, 350.0, 250.0]), np.array([300.0, 300.0, 400.0])
    smooth = [(one + 0.5) / (one + 0.5).sum() for one in (p, q)]
    assert stability_index(p, q) == pytest.approx(stats.entropy(*smooth) + stats.entropy(*smooth[::-1]))


def test_that_of_two_normal_distributions_is_its_integral():
    p, q = stats.norm(0.3, 0.8), stats.norm(-0.1, 1.1)

    def apart(x: float) -> float:
        return float((p.pdf(x) - q.pdf(x)) * (p.logpdf(x) - q.logpdf(x)))

    expected, _ = integrate.quad(apart, -10.0, 10.0)
    assert normal_stability_index(0.3, 0.8**2, -0.1, 1.1**2) == pytest.approx(expected, rel=1e-6)


def test_histograms_differ_where_pearson_s_test_of_twice_the_variance_says_so():
    rng = np.random.default_rng(3)
    for share in (0.5, 0.53, 0.56, 0.6):
        recent, before = rng.multinomial(1_000, [share, 1 - share]), rng.multinomial(1_000, [0.5, 0.5])
        statistic = stats.chi2_contingency([recent, before], correction=False).statistic / 2.0
        expected = stats.chi2.sf(statistic, 1) < 2.0 * stats.norm.sf(3.0)
        assert differ(recent.astype(float), before.astype(float), 3.0) == expected


def test_deviations_leave_one_month_in_a_hundred_over_all_looks_and_figures():
    assert 4_320 * 7 * 2.0 * stats.norm.sf(deviations_for(7, 600_000)) == pytest.approx(0.01)


def row(rewards: list[float], vectors: np.ndarray | None = None) -> Statistics:
    r = np.array(rewards, np.int64)
    if vectors is None:
        return Statistics(0, np.array([len(r), r.sum(), (r * r).sum()], np.int64))
    x = vectors.astype(np.int64)
    upper = (x.T @ x)[np.triu_indices(x.shape[1])]
    return Statistics(x.shape[1], np.concatenate([[len(r), r.sum(), (r * r).sum()], r @ x, upper]))


def test_correlations_are_those_of_the_decisions_themselves():
    rng = np.random.default_rng(4)
    x = np.concatenate([np.full((500, 1), 4_096), rng.integers(-4_096, 4_096, (500, 2))], axis=1)
    r = (x[:, 1] * 3 + rng.integers(-9_000, 9_000, 500)) // 100
    found = correlations(row(r.tolist(), x))
    assert found[0] == 0.0
    for place in (1, 2):
        assert found[place] == pytest.approx(np.corrcoef(x[:, place], r)[0, 1], abs=1e-9)


def test_regret_is_what_the_best_arm_would_have_earned_more():
    arms = [row([1.0] * 300), row([3.0] * 200), row([0.0] * 500)]
    low, middle, high = regret_of(arms, 1.0, 3.0)
    # 1,000 decisions at 3, less 300 + 600: 2,100; nothing varies, so nothing is unsure.
    assert (low, middle, high) == (2_100.0, 2_100.0, 2_100.0)


def test_an_arm_that_hardly_anybody_saw_is_not_the_best():
    assert regret_of([row([1.0] * 300), row([9.0] * 20)], 1.0, 3.0)[1] == 0.0


def test_a_policy_of_which_little_is_known_has_no_figures_and_a_reason_for_each():
    definition = define(plain_policy())
    readings = look(definition, [], 0, 0)
    assert readings.keys() == BY_NAME.keys()
    for one in readings.values():
        assert one.withheld in WITHHELD
        assert not one.is_red
        assert not one.figures


def test_where_people_keep_answers_single_decisions_are_no_draws_and_their_monitors_say_so():
    """A person who comes a hundred times lies a hundred times in one place: that is no fault of the node's."""
    raw = plain_policy(monitors={"sample": 1.0})
    key, rows = RowKey("homepage", 1, "new", "a", 0, "watch:draws"), np.zeros(32, np.int64)
    rows[[3, 20]] = 50_000
    for assignment, is_red in ((None, True), ({"sticky": "subject", "epoch": "7d", "constant": ["visits"]}, False)):
        definition = define(raw if assignment is None else raw | {"assignment": assignment})
        readings = look(definition, [(key, Statistics(-32, rows))], 0, 0)
        assert readings["draws"].is_red is is_red
        if assignment is not None:
            assert {readings[name].withheld for name in ("draws", "propensities", "log")} == {"sticky"}


# Buckets of 20 s: a day has 4,320, so bucket 4,319 is the last of the day that ends with 8,639.
def test_a_day_and_the_week_before_it_do_not_overlap():
    key = RowKey("homepage", 1, "new", "a", 0)
    one = row([1.0])
    rows = [(key._replace(bucket=bucket), one) for bucket in range(0, 8_640, 10)]
    view = View(define(plain_policy()), rows, 8_639, 8_640 * 20_000, lambda figures: deviations_for(figures, 600_000))
    assert (view.shown.recent.count, view.shown.before.count) == (432, 432)
    assert len(MONITORS) * FIGURES < 100

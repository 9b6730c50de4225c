from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pipeline.analyze.fields import Field, Fields, columns_of, fields_of
from tests.decision_logs import log_of


def read(contexts: Sequence[Mapping[str, object]], names: Sequence[str] | None = None) -> Fields:
    count = len(contexts)
    return fields_of(log_of(np.arange(count) % 2, np.zeros(count), np.full(count, 0.5), contexts), names)


def field(values: Sequence[object]) -> Field:
    (found,) = read([{"x": value} for value in values]).usable
    return found


def reason(values: Sequence[object]) -> str:
    found = read([{"x": value} for value in values])
    assert not found.usable
    return found.left_out["x"]


def test_a_number_goes_by_its_rank_so_that_stretching_it_changes_nothing():
    numbers = np.random.default_rng(1).normal(size=90)
    plain, stretched = field(numbers.tolist()), field(np.exp(3.0 * numbers).tolist())
    np.testing.assert_array_equal(plain.columns, stretched.columns)
    np.testing.assert_array_equal(plain.codes, stretched.codes)
    assert np.bincount(plain.codes).tolist() == [30, 30, 30]


def test_a_number_of_few_values_is_told_by_each():
    assert field([1, 2, 2, 5] * 10).levels == ("1", "2", "5")


def test_what_is_missing_is_a_level_and_a_column_of_its_own():
    found = field([None, 1.0, 2.0] * 10)
    assert found.levels == ("1", "2", "(missing)")
    assert found.columns[0].tolist() == [0.0, 1.0]


def test_rare_words_go_together_and_what_tells_nobody_apart_is_left_out_with_its_reason():
    found = field(["de"] * 40 + ["fr"] * 35 + [f"x{i}" for i in range(10)])
    assert found.levels == ("de", "fr", "(others)")
    assert found.columns.sum(axis=0).tolist() == [40.0, 35.0, 10.0]
    assert reason([f"visit {i}" for i in range(50)]) == "has 50 values, and none with 30 subjects"
    assert reason(["de"] * 40) == "is always de"
    assert reason([7] * 40) == "is always 7"
    assert reason([[1.0, 2.0]] * 40) == "holds lists, of which none is a level"


def test_true_is_a_word_and_not_a_number():
    assert field([True, False] * 40).levels == ("false", "true")


def test_only_the_fields_asked_for_are_read_and_those_that_are_not_there_are_named():
    found = read([{"a": i % 2, "b": i % 3} for i in range(60)], ["a", "nothing"])
    assert [one.name for one in found.usable] == ["a"]
    assert found.left_out == {"nothing": "is in no context"}


def test_columns_have_mean_0_and_deviation_1():
    columns = columns_of([field([1, 2, 3] * 20), field(["a", "b"] * 30)], 60)
    assert columns.mean(axis=0) == pytest.approx(0.0)
    assert columns.std(axis=0) == pytest.approx(1.0)
    assert columns_of([], 7).shape == (7, 0)

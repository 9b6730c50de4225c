"""What the benchmarks hold a result against is what the naive fold says."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.load import Load, plain_policy
from tests.naive.fold import naive_fold


@pytest.mark.parametrize("dimension", [0, 3])
def test_the_sums_of_a_load_are_those_of_the_naive_fold(dimension):
    load = Load(200, dimension, "json", seed=5)
    records = [(record.topic, orjson.loads(record.value)) for record in load.records()]
    decisions = [fields for topic, fields in records if topic == "decisions"]
    for decision in decisions:
        # Bounds 0 and 1 become -1 and 1 in steps of 2**-12; the first entry is the intercept.
        entries = [round((value * 2 - 1) * 4096) for value in decision["context"].values()]
        decision["context_vector"] = [4096, *entries] if dimension else []
    naive = naive_fold(plain_policy(dimension), decisions, [fields for topic, fields in records if topic == "outcomes"])
    assert load.sums() == naive.sums
    assert load.sha256() == naive.sha256

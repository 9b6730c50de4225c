"""Each algorithm alone: to fold a decision, to derive the posterior from 30 buckets, to decide."""

from __future__ import annotations

import numpy as np

from benchmarks.load import ARMS, policy
from benchmarks.report import Row
from benchmarks.timing import timed
from pipeline.learn.memory import RowKey
from pipeline.models import ALGORITHMS
from pipeline.models.statistics import Statistics, fold
from pipeline.publish.snapshot import build_snapshot, segment_posteriors
from pipeline.serve.decide import decide
from pipeline.serve.snapshot import load_snapshot

BATCH = 2_000
DIMENSION = 16
BUCKETS = 30
ONE = 2**15


def measure(repetitions: int) -> list[Row]:
    """Measure every algorithm on 10 arms; those that learn from context have 16 entries of it."""
    rows = []
    for name, info in ALGORITHMS.items():
        rows += _measure(name, DIMENSION if info.needs_context else 0, repetitions)
    return rows


def _measure(algorithm: str, dimension: int, repetitions: int) -> list[Row]:
    definition = policy(dimension, algorithm=algorithm)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2**12, (BATCH, dimension)).astype(np.int16)
    X[:, :1] = 2**12
    arms = rng.integers(0, ARMS, BATCH)
    r = (rng.random(BATCH) < 0.1) * ONE

    def folded() -> np.ndarray:
        return fold(arms, ARMS, np.ones(BATCH), r, r * r, X)

    sums = folded()
    rows = [
        (RowKey("bench", 1, "all", f"arm-{arm}", bucket), Statistics(dimension, sums[arm]))
        for bucket in range(BUCKETS)
        for arm in range(ARMS)
    ]
    snapshot = load_snapshot(build_snapshot(definition, rows, {}, 1, ""))
    context = {f"f{i}": 0.5 for i in range(dimension - 1)}

    def decided() -> None:
        decide(snapshot, "bench", context, None, rng=rng, action_id="x", now_ms=0)

    def derived() -> None:
        segment_posteriors(definition, rows)

    title = f"{algorithm}, {ARMS} arms, d={dimension}"
    return [
        timed(f"fold, {title}", "µs/decision", folded, repetitions, times=20, records=BATCH),
        timed(f"posterior of {BUCKETS} buckets, {title}", "µs", derived, repetitions, times=5),
        timed(f"decide, {title}", "µs", decided, repetitions, times=200),
    ]

"""Each algorithm alone: to fold a decision, to derive the posterior from 30 buckets, to decide; and to encode."""

from __future__ import annotations

import numpy as np

from benchmarks.load import ARMS, policy
from benchmarks.report import Row
from benchmarks.timing import timed
from pipeline.learn.ledger import LedgerRecord, fold_ledger
from pipeline.learn.memory import FoldState, RowKey
from pipeline.models import ALGORITHMS
from pipeline.models.sums.statistics import Statistics, fold
from pipeline.models.sums.tally import Tally
from pipeline.policy.encoder import Encoder, Layer
from pipeline.policy.tallies import context_tallies, group_tallies, importance_tallies
from pipeline.publish.snapshot import build_snapshot, segment_posteriors
from pipeline.serve.decision.decide import decide
from pipeline.serve.following.snapshot import load_snapshot

BATCH = 2_000
DIMENSION = 16
BUCKETS = 30
ONE = 2**15


def measure(repetitions: int) -> list[Row]:
    """Measure every algorithm on 10 arms; those that learn from context have 16 entries of it.

    Where contexts are counted there are 7, in steps of 1/2: about as many distinct ones as decisions.
    """
    rows = []
    for name, info in ALGORITHMS.items():
        if info.counts_contexts or info.counts_propensities or info.counts_groups:
            dimension = 7 if info.counts_contexts else DIMENSION if info.counts_groups else 0
            rows += _measure_counting(name, dimension, repetitions)
        else:
            rows += _measure(name, DIMENSION if info.needs_context else 0, repetitions)
    return [*rows, _measure_encoder(repetitions)]


def _measure_encoder(repetitions: int) -> Row:
    """Measure what a trained network of the usual size adds to each decision."""
    rng = np.random.default_rng(0)
    shapes = ((64, DIMENSION), (32, 65))
    encoder = Encoder(tuple(Layer(rng.integers(-4096, 4097, shape).astype(np.int16)) for shape in shapes))
    vector = rng.integers(0, 2**12, (1, DIMENSION)).astype(np.int16)
    title = f"encode, {DIMENSION - 1} features to 64 to 32 units"
    return timed(title, "µs", lambda: encoder.encode(vector), repetitions, times=500)


def _measure_counting(algorithm: str, dimension: int, repetitions: int) -> list[Row]:
    """Measure an algorithm whose decisions have tallies: folded as LEARN does, beside the same without them."""
    definition = policy(dimension, algorithm=algorithm)
    rng = np.random.default_rng(0)
    X = rng.integers(-(2**12), 2**12 + 1, (BATCH, dimension)).astype("<i2")
    X[:, :1] = 2**12
    arms, buckets = rng.integers(0, ARMS, BATCH), rng.integers(0, BUCKETS, BATCH)
    r = (rng.random(BATCH) < 0.1) * ONE

    def tallied(place: int) -> list[Tally]:
        earned = int(r[place])
        if definition.counts_groups:
            return group_tallies(f"a{place}")
        if dimension:
            return context_tallies(definition, X[place].tobytes(), earned)
        return importance_tallies(1 / ARMS, [earned])

    counted = [
        LedgerRecord(
            place,
            f"a{place}",
            RowKey("bench", 1, "all", f"arm-{arms[place]}", int(buckets[place])),
            1,
            int(r[place]),
            X[place].tobytes(),
            1,
            0,
            tallies=tuple(tallied(place)),
        )
        for place in range(BATCH)
    ]
    plain = [record._replace(tallies=()) for record in counted]
    rows = sorted(fold_ledger(counted, {}, FoldState()).deltas.items())
    snapshot = load_snapshot(build_snapshot(definition, rows, {}, 1, ""))
    context = {f"f{i}": 0.5 for i in range(dimension - 1)}

    def decided() -> None:
        decide(snapshot, "bench", context, None, rng=rng, action_id="x", now_ms=0)

    title = f"{algorithm}, {ARMS} arms, d={dimension}"
    contexts = len({key.tally for key, _ in rows if key.tally})
    counts, name = (f", {contexts:,} contexts", "name a context") if definition.context_bits else ("", "weigh by 1/p")
    name = "find a group" if definition.counts_groups else name
    return [
        timed(
            f"fold_ledger, {title}{counts}",
            "µs/decision",
            lambda: fold_ledger(counted, {}, FoldState()),
            repetitions,
            times=5,
            records=BATCH,
        ),
        timed(
            f"fold_ledger, {title}, sums alone",
            "µs/decision",
            lambda: fold_ledger(plain, {}, FoldState()),
            repetitions,
            times=5,
            records=BATCH,
        ),
        timed(f"{name}, {title}", "µs", lambda: tallied(0), repetitions, times=500),
        timed(
            f"posterior of {BUCKETS} buckets, {title}{counts}",
            "µs",
            lambda: segment_posteriors(definition, rows),
            repetitions,
            times=1,
        ),
        timed(f"decide, {title}", "µs", decided, repetitions, times=200),
    ]


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

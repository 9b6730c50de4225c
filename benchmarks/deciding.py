"""`decide` in this process: how long each single decision takes, by the clock and by the CPU time of its thread."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from benchmarks.report import Row
from pipeline.models.model import Floats
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.serve import Decided, LoadedSnapshot, decide, load_snapshot
from pipeline.serve.http.server import collect_garbage_rarely
from tests.harness.taught import taught

DIMENSION = 16
CANDIDATE_FEATURES = 4
LEARNED = 200
"""Decisions an arm that the snapshot has learned from."""
REPETITIONS = 3
SAME = np.linspace(-8.0, 0.0, 700)
"""As many numbers as twenty arms need."""


def policy(arms: int, algorithm: str = "linear_thompson", *, candidates: bool = False) -> PolicyDefinition:
    """Return a policy of so many arms and 15 features: with the intercept, 16 entries."""
    names = [f"z{i}" for i in range(CANDIDATE_FEATURES)] if candidates else []
    told = f"features = {{ {', '.join(f'{name} = 0.5' for name in names)} }}\n" if candidates else ""
    parts = [f'[[arms]]\nname = "arm-{number}"\n{told}' for number in range(arms)]
    parts += [f'[[context]]\nname = "f{i}"\nkind = "numeric"\nlow = 0.0\nhigh = 1.0\n' for i in range(DIMENSION - 1)]
    if candidates:
        parts.append(f"[candidates]\nfeatures = {names}\n".replace("'", '"'))
    return load_policy(
        f"""
name = "bench"
{"".join(parts)}
[segments]
default = "all"
[algorithm]
name = "{algorithm}"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
[exploration]
floor = {0.2 / arms:.6f}
""",
        "serving bench",
    )


def context() -> dict[str, float]:
    """Return one context."""
    return {f"f{i}": round(0.9 - i / 20, 3) for i in range(DIMENSION - 1)}


def measure(decisions: int) -> list[Row]:
    """Decide so many times between 20 arms, and fewer times between more."""
    rows, given = _rows("work that is always the same", decisions, _same_work), context()
    for arms, count in ((20, decisions), (500, decisions // 5)):
        snapshot = load_snapshot(taught(policy(arms), 1, decisions=LEARNED))
        one = partial(_decide, snapshot, given, {})
        rows += _rows(f"decide, {arms} arms, d={DIMENSION}", count, one)
    snapshot = load_snapshot(taught(policy(2, "hybrid_thompson", candidates=True), 1, decisions=LEARNED))
    for brought, count in ((20, decisions // 5), (500, decisions // 50)):
        drawn = np.random.default_rng(brought).uniform(-1.0, 1.0, (brought, CANDIDATE_FEATURES)).tolist()
        candidates = {
            f"sku-{number}": {f"z{i}": value for i, value in enumerate(values)} for number, values in enumerate(drawn)
        }
        one = partial(_decide, snapshot, given, candidates)
        rows += _rows(f"decide, {brought} candidates, d={DIMENSION}", count, one)
    return rows


def _decide(
    snapshot: LoadedSnapshot,
    given: dict[str, float],
    candidates: dict[str, dict[str, float]],
    rng: np.random.Generator,
) -> object:
    return decide(
        snapshot,
        "bench",
        given,
        None,
        rng=rng,
        action_id="x",
        now_ms=0,
        candidates=candidates,
    )


def _same_work(rng: np.random.Generator) -> None:
    """Do what has no tail of its own, so what it shows is the machine's."""
    del rng
    for _ in range(30):
        np.exp(SAME)


def _rows(name: str, count: int, one: Callable[[np.random.Generator], object]) -> list[Row]:
    rng = np.random.default_rng(1)
    with collector_of_a_node():
        for _ in range(count // 5):  # to warm up
            one(rng)
        runs_us = [_run_us(count, one, rng) for _ in range(REPETITIONS)]
    return [
        Row(
            f"in the process, {name}: p{at:g} by {which}",
            "µs",
            tuple(float(np.percentile(us[column], at)) for us in runs_us),
        )
        for column, which in enumerate(("the clock", "CPU time"))
        for at in (50.0, 99.0)
    ]


def _run_us(count: int, one: Callable[[np.random.Generator], object], rng: np.random.Generator) -> Floats:
    """Return what each of `count` decisions took by the clock and by CPU time, (2, count)."""
    took_us = np.zeros((2, count))
    for number in range(count):
        began_ns, cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        answer = one(rng)
        took_cpu_ns, took_ns = time.thread_time_ns() - cpu_ns, time.perf_counter_ns() - began_ns
        took_us[:, number] = took_ns / 1e3, took_cpu_ns / 1e3
        if answer is not None and not (isinstance(answer, Decided) and answer.reason == "policy"):
            raise SystemExit(f"the model was not asked: {answer}")
    return took_us


@contextmanager
def collector_of_a_node() -> Iterator[None]:
    """Let Python's collector be set as a node sets it."""
    before, interval_s = gc.get_threshold(), sys.getswitchinterval()
    collect_garbage_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        sys.setswitchinterval(interval_s)

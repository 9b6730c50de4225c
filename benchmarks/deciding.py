"""`decide` in this process: how long each single decision takes, by the clock and by the CPU time of its thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.report import Row
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parse import load_policy
from pipeline.serve import Decided, decide, load_snapshot
from tests.harness.taught import taught

DIMENSION = 16
CANDIDATE_FEATURES = 4
LEARNED = 200
"""Decisions an arm that the snapshot has learned from."""


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
    rows = []
    for arms, count in ((20, decisions), (500, decisions // 5)):
        snapshot = load_snapshot(taught(policy(arms), 1, decisions=LEARNED))
        rows += _rows(f"{arms} arms", count, lambda rng, snapshot=snapshot: _decide(snapshot, rng, {}))
    snapshot = load_snapshot(taught(policy(2, "hybrid_thompson", candidates=True), 1, decisions=LEARNED))
    for brought, count in ((20, decisions // 5), (500, decisions // 50)):
        drawn = np.random.default_rng(brought).uniform(-1.0, 1.0, (brought, CANDIDATE_FEATURES)).tolist()
        candidates = {
            f"sku-{number}": {f"z{i}": value for i, value in enumerate(values)} for number, values in enumerate(drawn)
        }
        rows += _rows(f"{brought} candidates", count, lambda rng, given=candidates: _decide(snapshot, rng, given))
    return rows


def _decide(snapshot: object, rng: np.random.Generator, candidates: dict[str, dict[str, float]]) -> object:
    return decide(
        snapshot,  # type: ignore[arg-type]
        "bench",
        context(),
        None,
        rng=rng,
        action_id="x",
        now_ms=0,
        candidates=candidates,
    )


def _rows(name: str, count: int, one: Callable[[np.random.Generator], object]) -> list[Row]:
    rng = np.random.default_rng(1)
    clock_us, cpu_us = np.zeros(count), np.zeros(count)
    for number in range(-count // 5, count):  # the first are for warming up, and are written over
        began_ns, cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        answer = one(rng)
        took_cpu_ns, took_ns = time.thread_time_ns() - cpu_ns, time.perf_counter_ns() - began_ns
        clock_us[number], cpu_us[number] = took_ns / 1e3, took_cpu_ns / 1e3
        if not (isinstance(answer, Decided) and answer.reason == "policy"):
            raise SystemExit(f"the model was not asked: {answer}")
    return [
        Row(f"decide in the process, {name}, d={DIMENSION}: p{at:g} by {which}", "µs", (float(np.percentile(us, at)),))
        for which, us in (("the clock", clock_us), ("CPU time", cpu_us))
        for at in (50.0, 99.0)
    ]

"""`pipeline evaluate` on a sample: the intervals of each estimator."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from benchmarks.coverage.entries import SEGMENT
from benchmarks.coverage.figures import WITHHELD, Said, interval
from benchmarks.coverage.sample import Sample
from pipeline.evaluate.evaluate import Settings, evaluate, prepare
from pipeline.evaluate.learned import published
from pipeline.evaluate.ledger import Gathering
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.target import Target, Uniform
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot

ESTIMATORS = ("IPS", "SNIPS", "clipped IPS", "DR", "Switch-DR")


def uniform(_log: DecisionLog) -> Target:
    """Ask about every arm alike."""
    return Uniform()


def guarded(log: DecisionLog) -> Target:
    """Ask about a snapshot with rules: minors may not see c, three of ten are held out, b leads where c may not."""
    return published("guarded@1", _guarded_snapshot(), log)


def evaluation(
    sample: Sample, gathering: Gathering, *, target: Callable[[DecisionLog], Target] = uniform
) -> dict[str, Said]:
    """Say which intervals of an evaluation hold the truth; the policy's own decisions are the log."""
    log, _ = without_holdout(gathering).log()
    found = evaluate(prepare(log, gathering.definition.features), target(log), Settings(), np.random.default_rng(0))
    said = {}
    for name in ESTIMATORS:
        one = found.of(name)
        for kind, ends in (("", one.bootstrap), (", bound", one.bernstein)):
            if ends is not None:
                held = interval(*ends, sample.truth.target) if np.isfinite(ends).all() else WITHHELD
                said[f"evaluate: {name}{kind}"] = held
    return said


def without_holdout(gathering: Gathering) -> Gathering:
    """Leave out the subjects that are held out."""
    kept = {
        key: entry
        for key, entry in gathering.entries.items()
        if entry.decision is not None and entry.decision.reason != "holdout"
    }
    return Gathering(gathering.definition, entries=kept)


@lru_cache(maxsize=1)
def _guarded_snapshot() -> bytes:
    definition = parse_policy(
        {
            "name": "guarded",
            "arms": [{"name": name} for name in "abc"],
            "segments": {"default": SEGMENT},
            "algorithm": {"name": "epsilon_greedy", "epsilon": 0.1},
            "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "buy", "worth": 1.0, "window": "30m"}]},
            "attribution": {"settle": "wait", "grace": "1h"},
            "exploration": {"floor": 0.0},
            "guardrails": {
                "control": "a",
                "holdout": {"share": 0.3},
                "eligibility": [{"arms": ["c"], "only_when": {"age": {"at_least": 18}}}],
            },
        },
        "the coverage suite",
    )
    one = 1 << definition.reward_exponent
    rows = [
        (RowKey("guarded", 1, SEGMENT, arm, 0), Statistics(0, np.array([100, won * one, won * one * one], np.int64)))
        for arm, won in (("a", 10), ("b", 25), ("c", 45))
    ]
    return build_snapshot(definition, rows, {0: Mark(1, 1)}, 1, "")

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot, snapshot_id

# Rewards of 0 and 1 have 15 binary places.
ONE = 2**15

# (arm → (clicks, views))
Clicks = Mapping[str, tuple[int, int]]
BuildContent = Callable[..., bytes]

BETA: dict[str, Any] = {
    "name": "homepage",
    "generation": 3,
    "arms": [{"name": "news"}, {"name": "best"}, {"name": "old", "retired": True}, {"name": "fresh"}],
    "segments": {"default": "other", "rules": [{"name": "premium", "when": {"premium": {"equals": True}}}]},
    "algorithm": {"name": "beta_thompson"},
    "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "5s"}]},
    "exploration": {"floor": 0.05},
}
LINEAR: dict[str, Any] = BETA | {
    "algorithm": {"name": "linear_thompson"},
    "context": [
        {"name": "age", "kind": "numeric", "low": 0, "high": 100},
        {"name": "device", "kind": "categorical", "values": ["mobile", "desktop"]},
    ],
}


@pytest.fixture
def beta() -> PolicyDefinition:
    """Three active arms, one retired; segments premium and other; no features."""
    return parse_policy(BETA, "test")


@pytest.fixture
def linear() -> PolicyDefinition:
    """The same, learning from age and device: 4 entries with the intercept."""
    return parse_policy(LINEAR, "test")


@pytest.fixture
def content_of() -> BuildContent:
    """Build a snapshot record from clicks and views of each arm in segment `other`."""

    def build(definition: PolicyDefinition, clicks: Clicks, *, version: int = 7, after: bytes = b"") -> bytes:
        rng = np.random.default_rng(5)
        rows = []
        for arm, (clicked, viewed) in clicks.items():
            rewards = np.repeat([ONE, 0], [clicked, viewed - clicked])
            X = rng.integers(-4096, 4097, (viewed, definition.dimension)).astype(np.int16)
            X[:, :1] = 4096
            statistics = Statistics(definition.dimension, contributions(X, rewards))
            rows.append((RowKey(definition.name, definition.generation, "other", arm, 0), statistics))
        marks = {0: Mark(120, 5_000), 1: Mark(80, 4_000)}
        return build_snapshot(definition, rows, marks, version, snapshot_id(after) if after else "")

    return build

"""A known stream: decisions and outcomes with repeats, disorder and late events, and what must come of them."""

from __future__ import annotations

import random
import time
from typing import Any, NamedTuple

from tests.naive.fold import NaiveFold, naive_fold
from tests.samples import BASKET, linear_policy, plain_decision, plain_outcome, plain_policy

ACTIONS = 1_500
SPAN_MS = 60_000
LONGEST_MS = 40_000
"""Window (10 s) and grace of the test's policies."""
LATEST_MS = 4_500
"""How late a record may be. The grace is longer by 25 s: tests play a minute in a few seconds, so that a fraction of
a second between two fetches is many seconds of event time."""
CHUNK_MS = 500

Log = list[tuple[int, dict[str, Any]]]
"""(arrives_ms, record)."""


class Traffic(NamedTuple):
    """A policy and what is produced under it."""

    policy: dict[str, Any]
    decisions: Log
    outcomes: Log
    naive: NaiveFold
    closed_ms: int
    """Event time at which every decision is settled and gone."""


def traffic(policy: dict[str, Any], seed: int, actions: int = ACTIONS) -> Traffic:
    """Make decisions and outcomes of the last minutes, some of them late, a tenth of them repeated."""
    rng = random.Random(seed)  # noqa: S311  nothing is kept secret with it
    start_ms = round(time.time() * 1000) - SPAN_MS - 2 * LONGEST_MS
    kinds = [rule["kind"] for rule in policy["reward"]["outcomes"]]
    decisions: Log = []
    outcomes: Log = []
    for number in range(actions):
        name, at_ms = f"{policy['name']}-{seed}-{number}", start_ms + number * SPAN_MS // actions
        vector = {"context_vector": [4096, *rng.choices(range(-4096, 4097), k=2)]} if "context" in policy else {}
        chosen = {"arm": rng.choice("ab"), "segment": rng.choice(["new", "other"])}
        decisions += arrivals(rng, at_ms, plain_decision(name, at_ms, policy=policy["name"], **chosen, **vector))
        for index in range(rng.choice([0, 0, 1, 1, 2, 3])):
            # From a little before the decision to a little after its longest window of 10 s.
            occurred_ms = at_ms + rng.randrange(-200, 11_000)
            sort = {"kind": rng.choice(kinds), "value": rng.choice([1.0, -0.3, 2.5])}
            outcomes += arrivals(rng, occurred_ms, plain_outcome(name, occurred_ms, f"{name}-{index}", **sort))
    naive = naive_fold(policy, [record for _, record in decisions], [record for _, record in outcomes])
    return Traffic(policy, decisions, outcomes, naive, start_ms + SPAN_MS + LONGEST_MS)


def arrivals(rng: random.Random, at_ms: int, record: dict[str, Any]) -> Log:
    """Give when a record arrives, and when a repeat of it does, if one does."""
    arrives_ms = at_ms + rng.randrange(LATEST_MS)
    repeats = [rng.randrange(20_000)] if rng.random() < 0.1 else []
    return [(arrives_ms + later_ms, record) for later_ms in (0, *repeats)]


def homepage(seed: int = 1, actions: int = ACTIONS) -> Traffic:
    """One that counts decisions at once, so that every outcome corrects the ledger."""
    return traffic(plain_policy(settle="optimistic", grace="30s", publish={"interval": "100ms"}), seed, actions)


def linear(seed: int = 2, actions: int = ACTIONS) -> Traffic:
    """One with contexts that counts a decision when its window closes, so that only time writes the ledger."""
    policy = linear_policy(settle="wait", combine="sum", grace="30s", publish={"interval": "100ms"})
    policy["reward"]["outcomes"].append(BASKET)
    return traffic(policy | {"name": "linear"}, seed, actions)


def chunks(all_data: tuple[Traffic, ...]) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Cut all decisions and all outcomes at the same times: neither topic is ever far ahead of the other."""
    decisions = [one for data in all_data for one in data.decisions]
    outcomes = [one for data in all_data for one in data.outcomes]
    times = [at_ms for at_ms, _ in (*decisions, *outcomes)]
    cut: list[Any] = [([], []) for _ in range(min(times), max(times) + 1, CHUNK_MS)]
    for place, log in enumerate((decisions, outcomes)):
        for at_ms, record in sorted(log, key=lambda one: one[0]):
            cut[(at_ms - min(times)) // CHUNK_MS][place].append(record)
    return cut

"""A known stream: decisions and outcomes with repeats, disorder and late events, and what must come of them."""

from __future__ import annotations

import random
import time
from string import ascii_lowercase
from typing import Any, NamedTuple

from tests.naive.fold import NaiveFold, milliseconds, naive_fold
from tests.samples import (
    BASKET,
    CLICK,
    LIKE,
    ensemble_policy,
    exp3_policy,
    linear_policy,
    logistic_policy,
    plain_decision,
    plain_outcome,
    plain_policy,
)

ACTIONS = 1_500
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SPAN_MS = 60_000
WINDOW_MS = 10_000
"""The longest of the tests' policies."""
GRACE = "50s"
LATEST_MS = 4_500
"""How late a record may be."""
LATEST_REPEAT_MS = 20_000
"""How much later than the first of it. The grace is longer than both by 25 s: tests play a minute in a few seconds, so
that a fraction of a second between two fetches is many seconds of event time."""
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
    earlier: tuple[dict[str, Any], ...] = ()
    """Definitions of the policy that were in force before."""


class Manner(NamedTuple):
    """How producers send."""

    copies: int | None = None
    """How often each sends every record; None: one in ten twice."""
    skews_ms: tuple[int, ...] = (0,)
    """What the clocks of the producers are ahead; each action has one of them."""


def now() -> int:
    """Return the time by this machine's clock; streams that are played together are made for the same."""
    return round(time.time() * 1000)


def traffic(
    policy: dict[str, Any],
    seed: int,
    actions: int = ACTIONS,
    manner: Manner | None = None,
    now_ms: int | None = None,
) -> Traffic:
    """Make decisions and outcomes of the last minutes before `now_ms`, some of them late, some repeated."""
    manner = manner or Manner()
    rng = random.Random(seed)  # noqa: S311  nothing is kept secret with it
    longest_ms = WINDOW_MS + milliseconds(policy["attribution"]["grace"])
    start_ms = (now_ms or now()) - SPAN_MS - 2 * longest_ms
    kinds = [rule["kind"] for rule in policy["reward"]["outcomes"]]
    decisions: Log = []
    outcomes: Log = []
    for number in range(actions):
        name, at_ms = f"{policy['name']}-{seed}-{number}", start_ms + number * SPAN_MS // actions
        skew_ms = rng.choice(manner.skews_ms)
        features = len(policy.get("context", ()))
        chance = {"propensity": rng.choice([0.9, 1 / 3, 0.01])} if policy["algorithm"]["name"] == "exp3" else {}
        vector = {"context_vector": [4096, *rng.choices(range(-4096, 4097), k=features)]} if features else {}
        chosen = {"arm": rng.choice("ab"), "segment": rng.choice(["new", "other"])}
        group = {"is_analysis": True} if number % 9 == 0 else {}
        shown = plain_decision(name, at_ms + skew_ms, policy=policy["name"], **chosen, **vector, **chance, **group)
        decisions += arrivals(rng, at_ms, shown, manner)
        for index in range(rng.choice([0, 0, 1, 1, 2, 3])):
            # From a little before the decision to a little after its longest window.
            later_ms = rng.randrange(-200, WINDOW_MS + 1_000)
            sort = {"kind": rng.choice(kinds), "value": rng.choice([1.0, -0.3, 2.5])}
            came = plain_outcome(name, at_ms + skew_ms + later_ms, f"{name}-{index}", **sort)
            outcomes += arrivals(rng, at_ms + later_ms, came, manner)
    naive = naive_fold(policy, [record for _, record in decisions], [record for _, record in outcomes])
    return Traffic(policy, decisions, outcomes, naive, start_ms + SPAN_MS + longest_ms + max(manner.skews_ms))


def arrivals(rng: random.Random, at_ms: int, record: dict[str, Any], manner: Manner) -> Log:
    """Give when a record arrives, and when repeats of it do, if there are any."""
    arrives_ms = at_ms + rng.randrange(LATEST_MS)
    repeats = manner.copies - 1 if manner.copies else int(rng.random() < 0.1)
    return [
        (arrives_ms + later_ms, record) for later_ms in (0, *(rng.randrange(LATEST_REPEAT_MS) for _ in range(repeats)))
    ]


def far_apart(seed: int, actions: int, now_ms: int) -> Traffic:
    """Make outcomes from hours before to weeks after decisions of 50 days ago, all of which arrive in a minute.

    The decisions arrive in its first third, the outcomes in the last: ones that old do not wait for their decision.
    """
    click = {"kind": "click", "worth": 1.0, "window": "30d"}
    policy = plain_policy(settle="wait", grace="30d", outcomes=(click,), publish={"interval": "100ms"})
    policy["name"] = "patient"
    rng = random.Random(seed)  # noqa: S311
    third_ms = SPAN_MS // 3
    decisions: Log = []
    outcomes: Log = []
    for number in range(actions):
        name, at_ms = f"patient-{seed}-{number}", now_ms - 50 * DAY_MS + number
        chosen = {"arm": rng.choice("ab"), "segment": rng.choice(["new", "other"])}
        decisions.append(
            (now_ms - SPAN_MS + rng.randrange(third_ms), plain_decision(name, at_ms, policy="patient", **chosen))
        )
        # Hours before: outside its window. Two weeks after: inside. 40 days after: outside again.
        for index, later_ms in enumerate((-3 * HOUR_MS, 14 * DAY_MS, 40 * DAY_MS)):
            came = plain_outcome(name, at_ms + later_ms, f"{name}-{index}")
            outcomes.append((now_ms - rng.randrange(third_ms), came))
    naive = naive_fold(policy, [record for _, record in decisions], [record for _, record in outcomes])
    return Traffic(policy, decisions, outcomes, naive, now_ms - 19 * DAY_MS)


def homepage(
    seed: int = 1, actions: int = ACTIONS, manner: Manner | None = None, now_ms: int | None = None, **others: Any
) -> Traffic:
    """Make one that counts decisions at once, so that every outcome corrects the ledger."""
    fields = {"settle": "optimistic", "grace": GRACE, "publish": {"interval": "100ms"}, **others}
    return traffic(plain_policy(**fields), seed, actions, manner, now_ms)


def linear(
    seed: int = 2, actions: int = ACTIONS, manner: Manner | None = None, now_ms: int | None = None, **others: Any
) -> Traffic:
    """Make one with contexts that counts a decision when its window closes, so that time alone writes the ledger."""
    fields = {"settle": "wait", "combine": "sum", "grace": GRACE, "publish": {"interval": "100ms"}, **others}
    policy = linear_policy(**fields)
    policy["reward"]["outcomes"].append(BASKET)
    return traffic(policy | {"name": "linear"}, seed, actions, manner, now_ms)


def counting_more(actions: int) -> tuple[Traffic, ...]:
    """Make one of each sort whose decisions count for more than sums: by delay, context, kind, propensity and group."""
    how = {"grace": GRACE, "publish": {"interval": "100ms"}}
    worths = CLICK | {"worth": 0.5}, LIKE | {"worth": 0.2}
    policies = {
        "delays": plain_policy(settle="delay_corrected", statistics={"bucket": "2s"}, **how),
        "contexts": logistic_policy(settle="optimistic", statistics={"bucket": "20s", "contexts": 81}, **how),
        "kinds": linear_policy(settle="optimistic", combine="weighted", outcomes=worths, **how),
        "importance": exp3_policy(settle="optimistic", **how),
        "groups": ensemble_policy(settle="wait", combine="sum", **how),
    }
    now_ms = now()
    return tuple(
        traffic(policy | {"name": name}, seed, actions, now_ms=now_ms)
        for seed, (name, policy) in enumerate(policies.items(), start=11)
    )


def wide(seed: int, actions: int, **others: Any) -> Traffic:
    """Make one whose snapshots have several parts: 24 arms and 64 entries in two segments are 1.6 MB."""
    arms = [{"name": name} for name in ascii_lowercase[:24]]
    fields = {"settle": "optimistic", "grace": GRACE, "publish": {"interval": "100ms"}, "arms": arms, **others}
    policy = linear_policy(**fields) | {"name": "wide"}
    policy["context"] = [{"name": f"f{n}", "kind": "numeric", "low": -1.0, "high": 1.0} for n in range(63)]
    return traffic(policy, seed, actions)


def chunks(all_data: tuple[Traffic, ...]) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Cut all decisions and all outcomes at the same times: neither topic is ever far ahead of the other."""
    decisions = [one for data in all_data for one in data.decisions]
    outcomes = [one for data in all_data for one in data.outcomes]
    times = [at_ms for at_ms, _ in (*decisions, *outcomes)]
    first_ms = min(times)
    cut: list[Any] = [([], []) for _ in range(first_ms, max(times) + 1, CHUNK_MS)]
    for place, log in enumerate((decisions, outcomes)):
        for at_ms, record in sorted(log, key=lambda one: one[0]):
            cut[(at_ms - first_ms) // CHUNK_MS][place].append(record)
    return cut

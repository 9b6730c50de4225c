"""Hypothesis strategies: policies, and decisions and outcomes with their arrival, repeats and partition.

Records come at most just under the policy's grace late, as it allows; repeats of them come any time later.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import orjson
from aiokafka.partitioner import murmur2
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.join.step import Limits
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from tests.samples import (
    BASKET,
    ensemble_policy,
    exp3_policy,
    linear_policy,
    logistic_policy,
    plain_decision,
    plain_outcome,
    plain_policy,
)

START_MS = 1_700_000_000_000
GRACE_MS = 5_000
FOREVER_MS = START_MS + 10_000_000
# An outcome is read up to a grace before its decision, so it must wait that long.
LIMITS = Limits(orphan_hold_ms=GRACE_MS + 1_000)

COMBINATIONS = ["first", "last", "max", "sum", "weighted"]
SETTLES = ["wait", "optimistic", "delay_corrected"]
SUBJECTS = ["5e1f", "0dd5", None]

# Around the ends of the windows: a like counts for 4 s, a basket for 7 s, a click for 10 s.
DELAYS_MS = [-1, 0, 1, 2_500, 4_000, 4_001, 7_000, 9_999, 10_000, 10_001]


class Arrival(NamedTuple):
    """A record, and when the broker takes it."""

    arrived_ms: int
    record: dict[str, Any]


class Traffic(NamedTuple):
    """A policy and its records, in no order."""

    policy: dict[str, Any]
    decisions: list[Arrival]
    outcomes: list[Arrival]

    def topics(self, partitions: int) -> list[dict[str, list[tuple[int, bytes]]]]:
        """Give each partition's two topics as (arrived_ms, raw), in order of arrival."""
        topics: list[dict[str, list[tuple[int, bytes]]]] = [{DECISIONS: [], OUTCOMES: []} for _ in range(partitions)]
        for stream, arrivals in ((DECISIONS, self.decisions), (OUTCOMES, self.outcomes)):
            for index, arrival in enumerate(sorted(arrivals, key=lambda one: one.arrived_ms)):
                partition = (murmur2(arrival.record["action_id"].encode()) & 0x7FFFFFFF) % partitions
                # Every other one as Avro: repeats of a record may come in either encoding.
                raw = orjson.dumps(arrival.record) if index % 2 else as_avro(stream, arrival.record)
                topics[partition][stream].append((arrival.arrived_ms, raw))
        return topics


def as_avro(stream: str, record: dict[str, Any]) -> bytes:
    """Write a JSON record as Avro: a context vector is bytes there."""
    if stream == OUTCOMES:
        return avro.encode("outcome", record)
    vector = record.get("context_vector", [])
    packed = b"".join(entry.to_bytes(2, "little", signed=True) for entry in vector)
    return avro.encode("decision", record | {"context_vector": packed})


@st.composite
def policies(draw: st.DrawFn, *, is_weighted: bool = False) -> dict[str, Any]:
    """Draw a policy: with or without features, settling either way, combining in any way, or counting kinds apart."""
    makers = [plain_policy, linear_policy, exp3_policy, logistic_policy, ensemble_policy]
    make = draw(st.sampled_from(makers[:3] if is_weighted else makers))
    possible = COMBINATIONS[:4] if make in {logistic_policy, ensemble_policy} else COMBINATIONS
    combine = "weighted" if is_weighted else draw(st.sampled_from(possible))
    settle = draw(st.sampled_from(SETTLES))
    plain = make(settle=settle, combine=combine, grace="5s")
    if settle == "delay_corrected":
        plain["statistics"]["bucket"] = "1s"
    if make is logistic_policy:  # with 25 contexts, in steps of 1/2, decisions meet in one
        plain["statistics"]["contexts"] = draw(st.sampled_from([25, 65_536]))
    plain["reward"]["outcomes"].append(BASKET)
    if combine == "sum" and draw(st.booleans()):
        plain["reward"]["cap"] = 0.5
    if combine == "weighted":
        fit_worths(plain)
    if draw(st.booleans()):
        plain["forgetting"] = {"half_life": "40s", "window": "80s"}
    return plain


def fit_worths(plain: dict[str, Any]) -> None:
    """Let the worths of kinds that are counted apart come to no more than the bounds, at least 0 to 0.75."""
    is_negative = plain["reward"]["low"] < 0.0
    worths = {"click": 0.5, "like": 0.2, "refund": -0.7, "basket": 0.005 if is_negative else 0.0}
    plain["reward"]["outcomes"] = [rule | {"worth": worths[rule["kind"]]} for rule in plain["reward"]["outcomes"]]


def plain_sums(rows: Iterable[tuple[RowKey, Statistics]]) -> dict[tuple[Any, ...], list[int]]:
    """Give rows as the naive fold has them: the sums by segment, arm and bucket; tallies by their name as well."""
    return {tuple(part for part in key[2:] if part != ""): row.sums.tolist() for key, row in rows}


class Dice(Protocol):
    """Where the numbers of a drawn traffic come from."""

    def below(self, stop: int) -> int:
        """Give a number from 0 to stop - 1."""


class Drawn:
    """Numbers that hypothesis draws, and shrinks when something fails."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def below(self, stop: int) -> int:
        return self._draw(st.integers(0, stop - 1))


class Rolled:
    """Numbers by the thousand from one drawn seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311  nothing is kept secret with it

    def below(self, stop: int) -> int:
        return self._rng.randrange(stop)


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    """Draw a policy with a few decisions, or with a crowd of them over two minutes."""
    policy = draw(policies())
    if draw(st.booleans()):
        return traffic_of(policy, draw(st.integers(1, 8)), 30_000, Drawn(draw))
    return traffic_of(policy, 40, 120_000, Rolled(draw(st.integers(0, 2**32))))


def traffic_of(policy: dict[str, Any], actions: int, span_ms: int, dice: Dice) -> Traffic:
    """Make decisions over `span_ms` with up to three outcomes each."""
    kinds = [rule["kind"] for rule in policy["reward"]["outcomes"]]
    data = Traffic(policy, [], [])
    for number in range(actions):
        decided_ms = START_MS + dice.below(span_ms // 500) * 500
        fields: dict[str, Any] = {"arm": "ab"[dice.below(2)], "segment": ["other", "new"][dice.below(2)]}
        if policy["algorithm"]["name"] == "exp3":
            fields["propensity"] = [0.5, 1 / 3, 1.0, 1e-7][dice.below(4)]
        if subject := SUBJECTS[dice.below(len(SUBJECTS))]:
            fields["subject_hash"] = subject
        if not dice.below(6):
            fields["is_analysis"] = True
        if "context" in policy:
            fields["context_vector"] = [dice.below(8193) - 4096 for _ in range(3)]
        data.decisions.extend(_arrivals(decided_ms, plain_decision(f"x{number}", decided_ms, **fields), dice))
        for index in range(dice.below(4)):
            occurred_ms = decided_ms + DELAYS_MS[dice.below(len(DELAYS_MS))]
            fields = {"kind": kinds[dice.below(len(kinds))], "value": [1.0, 2.5, -0.3, 8.0][dice.below(4)]}
            outcome = plain_outcome(f"x{number}", occurred_ms, f"o{number}-{index}", **fields)
            data.outcomes.extend(_arrivals(occurred_ms, outcome, dice))
    return data


def _arrivals(event_ms: int, record: dict[str, Any], dice: Dice) -> list[Arrival]:
    """Give a record's arrival, and those of up to two repeats."""
    arrived_ms = event_ms + dice.below(GRACE_MS)
    repeats = [dice.below(40_000) for _ in range(max(0, dice.below(5) - 2))]
    return [Arrival(arrived_ms + later_ms, record) for later_ms in (0, *repeats)]

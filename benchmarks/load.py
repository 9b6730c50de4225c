"""The stream that is played: decisions with contexts, a third of them with an outcome, and what must come of it."""

from __future__ import annotations

import random
import time
import tomllib
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks.expected import Sums, sha256, sums_of
from pipeline.codec import avro
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy

ARMS = 10
OUTCOME_SHARE = 0.34
EVENTS_PER_MS = 10
GRID_ONE = 4096
REWARD_EXPONENT = 15
ONE = 1 << REWARD_EXPONENT
DAY_MS = 86_400_000


class Sent(NamedTuple):
    """One record to produce."""

    topic: str
    key: bytes
    value: bytes


def policy(
    dimension: int,
    *,
    window: str = "10m",
    grace: str = "1m",
    algorithm: str | None = None,
    interval: str = "1s",
    arm_count: int = ARMS,
    name: str = "bench",
    segment_count: int = 1,
    more: str = "",
) -> PolicyDefinition:
    """Return a policy whose context vector has `dimension` entries; unless named, 0 is Beta, else linear Thompson.

    `more` is TOML that is put behind it.
    """
    text = policy_text(dimension, window, grace, algorithm, interval, arm_count, name, segment_count) + more
    return load_policy(text, "benchmark policy")


def policy_text(
    dimension: int,
    window: str = "10m",
    grace: str = "1m",
    algorithm: str | None = None,
    interval: str = "1s",
    arm_count: int = ARMS,
    name: str = "bench",
    segment_count: int = 1,
) -> str:
    """Return the TOML of `policy`."""
    algorithm = algorithm or ("linear_thompson" if dimension else "beta_thompson")
    features = "".join(
        f'[[context]]\nname = "f{i}"\nkind = "numeric"\nlow = 0.0\nhigh = 1.0\n' for i in range(dimension - 1)
    )
    arms = "".join(f'[[arms]]\nname = "arm-{i}"\n' for i in range(arm_count))
    rules = "".join(
        f'[[segments.rules]]\nname = "segment-{i}"\nwhen = {{ age = {{ below = {i} }} }}\n'
        for i in range(1, segment_count)
    )
    return f"""
name = "{name}"
{arms}
{features}
[segments]
default = "all"
{rules}
[algorithm]
name = "{algorithm}"
[reward]
low = 0.0
high = 1.0
combine = "max"
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "{window}"
[attribution]
settle = "optimistic"
grace = "{grace}"
[exploration]
floor = {0.1 / arm_count}
[publish]
interval = "{interval}"
[statistics]
bucket = "1d"
"""


def plain_policy(dimension: int, *, arm_count: int = ARMS, segment_count: int = 1) -> dict[str, Any]:
    """Return the plain value of a policy's file, with every parameter of its algorithm written out."""
    algorithm = policy(dimension).algorithm
    return {
        **tomllib.loads(policy_text(dimension, arm_count=arm_count, segment_count=segment_count)),
        "algorithm": {"name": algorithm.name, **algorithm.parameters},
    }


class Load:
    """A reproducible stream, and the sums that it must lead to."""

    def __init__(
        self,
        decisions: int,
        dimension: int,
        encoding: str,
        seed: int,
        *,
        per_ms: int = EVENTS_PER_MS,
        lead_ms: int = 1_000_000,
        first: int = 0,
    ) -> None:
        """Prepare `decisions` of event time, `per_ms` of them in a millisecond, which begins `lead_ms` ago.

        Their numbers begin with `first`: two loads of other numbers are of other actions.
        """
        self._first = first
        self.decisions = decisions
        self._per_ms = per_ms
        self._lead_ms = lead_ms
        self.outcomes = 0
        self.counts = [0] * ARMS
        self.rewards = [0] * ARMS
        self._dimension = dimension
        self._encoding = encoding
        self._seed = seed
        self._arms, self._hits, self._decided_ms = array("q"), array("q"), array("q")
        self._entries = array("q")
        """Of all context vectors, one after the other."""

    @property
    def dimension(self) -> int:
        """Entries of the context vector."""
        return self._dimension

    @property
    def events(self) -> int:
        """Decisions and outcomes, once `records` is through."""
        return self.decisions + self.outcomes

    def sums(self) -> Sums:
        """Return what it must come to, once `records` is through."""
        X = np.frombuffer(self._entries, np.int64) if self._dimension else np.zeros(0, np.int64)
        return sums_of(
            np.frombuffer(self._arms, np.int64),
            np.frombuffer(self._hits, np.int64) << REWARD_EXPONENT,
            X.reshape(self.decisions, self._dimension),
            np.frombuffer(self._decided_ms, np.int64) // DAY_MS,
        )

    def sha256(self) -> str:
        """Return the `posterior_sha256` that it must lead to."""
        return sha256(plain_policy(self._dimension), self.sums())

    def records(self) -> Iterator[Sent]:
        """Yield the stream in event-time order, counting on the side."""
        rng = random.Random(self._seed)  # noqa: S311  a load, not a secret
        start_ms = int(time.time() * 1000) - self._lead_ms
        for i in range(self.decisions):
            arm = rng.randrange(ARMS)
            number = self._first + i
            action_id = f"action-{number:09d}"
            now_ms = start_ms + i // self._per_ms
            self.counts[arm] += 1
            decision = {
                "action_id": action_id,
                "policy": "bench",
                "segment": "all",
                "arm": f"arm-{arm}",
                "propensity": 1 / ARMS,
                "decided_at_ms": now_ms,
                "context": {f"f{j}": round(rng.random(), 4) for j in range(max(self._dimension - 1, 0))},
            }
            self._note(arm, now_ms, decision["context"])
            key = action_id.encode()
            yield Sent("decisions", key, self._encode("decision", decision))
            if rng.random() < OUTCOME_SHARE:
                self.outcomes += 1
                self.rewards[arm] += 1
                self._hits[-1] = 1
                outcome = {
                    "outcome_id": f"outcome-{number:09d}",
                    "action_id": action_id,
                    "kind": "click",
                    "occurred_at_ms": now_ms + 50,
                }
                yield Sent("outcomes", key, self._encode("outcome", outcome))

    def _note(self, arm: int, decided_ms: int, context: Any) -> None:
        self._arms.append(arm)
        self._hits.append(0)
        self._decided_ms.append(decided_ms)
        if self._dimension:
            self._entries.append(GRID_ONE)
            # Bounds 0 and 1 become -1 and 1; half to even.
            self._entries.extend(round((value * 2.0 - 1.0) * GRID_ONE) for value in context.values())

    def _encode(self, name: str, record: dict[str, object]) -> bytes:
        return avro.encode(name, record) if self._encoding == "avro" else orjson.dumps(record)

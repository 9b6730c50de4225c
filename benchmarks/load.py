"""The stream that is played: decisions with contexts, a third of them with an outcome, and what must come of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parse import load_policy

ARMS = 10
OUTCOME_SHARE = 0.34
EVENTS_PER_MS = 10


class Sent(NamedTuple):
    """One record to produce."""

    topic: str
    key: bytes
    value: bytes


def policy(dimension: int, *, window: str = "10m", grace: str = "1m", algorithm: str | None = None) -> PolicyDefinition:
    """Return a policy whose context vector has `dimension` entries; unless named, 0 is Beta, else linear Thompson."""
    algorithm = algorithm or ("linear_thompson" if dimension else "beta_thompson")
    features = "".join(
        f'[[context]]\nname = "f{i}"\nkind = "numeric"\nlow = 0.0\nhigh = 1.0\n' for i in range(dimension - 1)
    )
    arms = "".join(f'[[arms]]\nname = "arm-{i}"\n' for i in range(ARMS))
    text = f"""
name = "bench"
{arms}
{features}
[segments]
default = "all"
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
floor = 0.01
[publish]
interval = "1s"
[statistics]
bucket = "1d"
"""
    return load_policy(text, "benchmark policy")


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
    ) -> None:
        """Prepare `decisions` of event time, `per_ms` of them in a millisecond, which begins `lead_ms` ago."""
        self.decisions = decisions
        self._per_ms = per_ms
        self._lead_ms = lead_ms
        self.outcomes = 0
        self.counts = [0] * ARMS
        self.rewards = [0] * ARMS
        self._dimension = dimension
        self._encoding = encoding
        self._seed = seed

    def records(self) -> Iterator[Sent]:
        """Yield the stream in event-time order, counting on the side."""
        rng = random.Random(self._seed)  # noqa: S311  a load, not a secret
        start_ms = int(time.time() * 1000) - self._lead_ms
        for i in range(self.decisions):
            arm = rng.randrange(ARMS)
            action_id = f"action-{i:09d}"
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
            key = action_id.encode()
            yield Sent("decisions", key, self._encode("decision", decision))
            if rng.random() < OUTCOME_SHARE:
                self.outcomes += 1
                self.rewards[arm] += 1
                outcome = {
                    "outcome_id": f"outcome-{i:09d}",
                    "action_id": action_id,
                    "kind": "click",
                    "occurred_at_ms": now_ms + 50,
                }
                yield Sent("outcomes", key, self._encode("outcome", outcome))

    def _encode(self, name: str, record: dict[str, object]) -> bytes:
        return avro.encode(name, record) if self._encoding == "avro" else orjson.dumps(record)

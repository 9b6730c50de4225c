"""A sample → what the tools read: a policy, and the ledger's entries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from benchmarks.coverage.sample import Sample
from pipeline.evaluate.ledger import ActionKey, Entry, Gathering
from pipeline.events import Decision
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy

DAY_MS = 86_400_000
ARMS = ("a", "b", "c")
SEGMENT = "all"


@lru_cache(maxsize=64)
def policy(arms: int, high: float, share: float, **others: Any) -> PolicyDefinition:
    """Return a policy of so many arms; `high` is the largest reward, `share` is held out."""
    plain: dict[str, Any] = {
        "name": "page",
        "arms": [{"name": name} for name in ARMS[:arms]],
        "segments": {"default": SEGMENT},
        "algorithm": {"name": others.get("algorithm", "beta_thompson" if high == 1.0 else "gaussian_thompson")},
        "reward": {
            "low": 0.0,
            "high": high,
            "outcomes": [{"kind": "buy", "worth": 1.0, "window": "30m"} | _values(high)],
        },
        "attribution": {"settle": "wait", "grace": "1h"},
        "exploration": {"floor": 0.0},
    }
    if share > 0.0:
        plain["guardrails"] = {"control": "a", "holdout": {"share": share}}
    return parse_policy(plain, "the coverage suite")


def _values(high: float) -> dict[str, Any]:
    return {} if high == 1.0 else {"times_value": True, "value_low": 0.0, "value_high": high}


def gathered(sample: Sample) -> Gathering:
    """Return the ledger's entries of a sample, as they are once the windows have closed."""
    definition = policy(sample.chances.shape[1], sample.high, sample.shares[max(sample.shares)])
    gathering = Gathering(definition)
    arms = ARMS[: sample.chances.shape[1]]
    versions = [1] * len(sample) if sample.version is None else sample.version.tolist()
    days = [0] * len(sample) if sample.day is None else sample.day.tolist()
    adults = [None] * len(sample) if sample.is_adult is None else sample.is_adult.tolist()
    columns = zip(
        sample.subject.tolist(),
        sample.held_out.tolist(),
        sample.chances.tolist(),
        sample.arm.tolist(),
        sample.reward.tolist(),
        versions,
        days,
        adults,
        strict=True,
    )
    for place, (subject, held_out, chances, arm, reward, version, day, adult) in enumerate(columns):
        at_ms = DAY_MS * day + place
        decision = Decision(
            action_id=str(place),
            policy=definition.name,
            generation=1,
            segment=SEGMENT,
            arm=arms[arm],
            propensity=chances[arm],
            eligible=arms,
            probabilities=chances,
            context={} if adult is None else {"age": 40.0 if adult else 15.0},
            context_vector=b"",
            schema_hash="",
            decided_at_ms=at_ms,
            snapshot_version=version,
            snapshot_id="",
            subject_hash=f"s{subject}",
            reason="holdout" if held_out else "policy",
        )
        gathering.entries[ActionKey(decision.action_id, at_ms)] = Entry(2, True, reward, SEGMENT, decision)  # noqa: FBT003
    return gathering

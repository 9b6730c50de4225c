"""Policies and records for tests, as plain values: what a TOML file and a JSON producer give."""

from __future__ import annotations

from typing import Any

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy

Plain = dict[str, Any]

CLICK = {"kind": "click", "worth": 1.0, "window": "10s"}
LIKE = {"kind": "like", "worth": 0.25, "window": "4s"}
REFUND = {"kind": "refund", "worth": -1.5, "window": "10s"}
BASKET = {
    "kind": "basket",
    "worth": 0.1,
    "window": "7s",
    "times_value": True,
    "value_low": -3.0,
    "value_high": 8.0,
}


def plain_policy(
    *,
    settle: str = "wait",
    combine: str = "max",
    grace: str = "5s",
    outcomes: tuple[Plain, ...] = (CLICK, LIKE),
    **others: Any,
) -> Plain:
    """Give a policy of two arms whose decisions close after 10 s and are held for 5 s more."""
    return {
        "name": "homepage",
        "generation": 1,
        "arms": [{"name": "a"}, {"name": "b"}],
        "segments": {"default": "other", "rules": [{"name": "new", "when": {"visits": {"below": 2}}}]},
        "algorithm": {"name": "beta_thompson", "prior_alpha": 1.0, "prior_beta": 1.0},
        "reward": {"low": 0.0, "high": 1.0, "combine": combine, "outcomes": list(outcomes)},
        "attribution": {"settle": settle, "grace": grace},
        "publish": {"interval": "10ms"},
        "statistics": {"bucket": "20s"},
        **others,
    }


def linear_policy(**others: Any) -> Plain:
    """Give a policy that learns from context vectors of 3 entries, and whose rewards may be negative."""
    policy = plain_policy(**{"outcomes": (CLICK, LIKE, REFUND), **others})
    policy["reward"] |= {"low": -2.0, "high": 3.0}
    policy["algorithm"] = {"name": "linear_thompson", "ridge": 1.0, "v": 0.25}
    features = [
        {"name": "x", "kind": "numeric", "low": -1.0, "high": 1.0},
        {"name": "y", "kind": "numeric", "low": 0.0, "high": 9.0},
    ]
    policy.setdefault("context", features)
    return policy


def logistic_policy(**others: Any) -> Plain:
    """Give a policy that learns from context vectors of 3 entries, each distinct one counted, and rewards in [0, 1]."""
    policy = linear_policy(**{"outcomes": (CLICK, LIKE), **others})
    policy["reward"] |= {"low": 0.0, "high": 1.0}
    policy["algorithm"] = {"name": "logistic_thompson", "ridge": 1.0, "sharpness": 1.0}
    return policy


def ensemble_policy(**others: Any) -> Plain:
    """Give a policy that learns from context vectors of 3 entries, and counts its decisions in groups."""
    policy = linear_policy(**others)
    policy["algorithm"] = {"name": "linear_ensemble", "ridge": 1.0, "spread": 0.25}
    return policy


def exp3_policy(**others: Any) -> Plain:
    """Give a policy whose decisions count by their propensity too, with rewards in [0, 1]."""
    policy = plain_policy(**{"outcomes": (CLICK, LIKE), **others})
    policy["reward"] |= {"low": 0.0, "high": 1.0}
    policy["algorithm"] = {"name": "exp3", "rate": 1.0}
    return policy


def define(plain: Plain) -> PolicyDefinition:
    """Read a plain policy."""
    return parse_policy(plain, "the test")


def plain_decision(action_id: str = "x", decided_at_ms: int = 0, **others: Any) -> Plain:
    """Give a decision of `plain_policy`."""
    return {
        "action_id": action_id,
        "policy": "homepage",
        "segment": "other",
        "arm": "a",
        "propensity": 0.5,
        "decided_at_ms": decided_at_ms,
        **others,
    }


def plain_outcome(action_id: str = "x", occurred_at_ms: int = 0, outcome_id: str | None = None, **others: Any) -> Plain:
    """Give a click; its id is made of the action's unless one is given."""
    return {
        "outcome_id": outcome_id or f"{action_id}-click",
        "action_id": action_id,
        "kind": "click",
        "occurred_at_ms": occurred_at_ms,
        **others,
    }

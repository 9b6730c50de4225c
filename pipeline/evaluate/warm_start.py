"""What a log says of each arm, as the prior that a policy starts from.

With propensities, a decision counts 1/p, so that an arm's mean is what it would have earned shown to everybody, not
to those whom the logging policy chose it for; and it is worth (Σ 1/p)² / Σ 1/p² decisions. Without, every decision
counts alike, and the mean holds for those who were shown the arm only.

The weight of a prior is that number, tempered: times `trust`, and at most `limit`. Statistics stay what the policy's
own decisions make them, so nothing exact is touched; a prior is part of the definition, and of the posterior's hash.

Another policy's snapshot says the same of its arms in exact sums: `arm_transfers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.errors import ConfigError
from pipeline.evaluate.spreadsheet import Sheet
from pipeline.models.model import Floats
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy

LEAST_PROPENSITY = 1e-6
"""One decision would count for a million: a log of that many has none that was so unlikely, but for mistakes."""


class Shown(NamedTuple):
    """A log, as far as a prior needs it; N long each."""

    arms: Sequence[str]
    rewards: Floats
    propensities: Floats | None
    """None: not logged."""


class ArmStart(NamedTuple):
    """What one arm starts from."""

    arm: str
    decisions: int
    """In the log."""
    mean: float
    effective: float
    """What they are worth."""
    weight: float
    """After tempering; 0: the log says too little."""


def arm_starts(log: Shown, *, trust: float, limit: float) -> list[ArmStart]:
    """Return what each arm of a log starts from, by name.

    Raises:
        ConfigError: the log is empty, or a propensity isn't one.
    """
    if not len(log.arms):
        raise ConfigError("the log", ["holds no decision"])
    weights = _weights(log)
    names = np.array(log.arms)
    starts = []
    for arm in sorted(set(log.arms)):
        mine = names == arm
        w, r = weights[mine], log.rewards[mine]
        effective = float(w.sum() ** 2 / (w @ w))
        starts.append(ArmStart(arm, int(mine.sum()), float(w @ r / w.sum()), effective, min(trust * effective, limit)))
    return starts


def arm_transfers(snapshot: Mapping[str, Any], *, temper: float, limit: float) -> list[ArmStart]:
    """Return what each arm of another policy's snapshot starts from, by name: its own decisions, tempered.

    Means and counts are of exact sums over all segments, each rounded to a float64 once, so the same snapshot gives
    the same numbers everywhere. What that policy had started from itself is not handed on, nor what it forgets.

    Raises:
        ConfigError: it has learned of no decision.
    """
    name, version = snapshot["policy"], snapshot["version"]
    definition = parse_policy(orjson.loads(snapshot["definition"]), f"snapshot {version}")
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for segment in snapshot["segments"]:
        for arm, count, total in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True):
            counts[arm] += count
            sums[arm] += total
    step = 1 / Fraction(2) ** definition.reward_exponent
    starts = [
        ArmStart(arm, n, float(sums[arm] * step / n), float(n), min(temper * n, limit))
        for arm, n in sorted(counts.items())
        if n
    ]
    if not starts:
        raise ConfigError(f"snapshot {version} of policy {name}", ["has learned of no decision"])
    return starts


def log_of_sheet(sheet: Sheet, definition: PolicyDefinition) -> Shown:
    """Read a log from a table with the columns arm, reward and, where there is one, propensity.

    Raises:
        ConfigError: with the row and column of what is no number, of a reward beyond the policy's bounds, and of a
            propensity that no decision can have had.
    """
    low, high = definition.reward.low, definition.reward.high
    arms = sheet.words("arm")
    rewards = sheet.numbers(
        "reward", f"a number in [{low!r}, {high!r}], the bounds of the policy's rewards", lambda r: low <= r <= high
    )
    propensities = None
    if "propensity" in sheet.columns:
        propensities = sheet.numbers(
            "propensity", f"a chance from {LEAST_PROPENSITY:g} to 1", lambda p: LEAST_PROPENSITY <= p <= 1.0
        )
    sheet.check()
    return Shown(arms, rewards, propensities)


def foreign_arms(log: Shown, definition: PolicyDefinition) -> dict[str, int]:
    """Return the arms of a log that are none of the policy's, each with how many decisions showed it."""
    return {arm: n for arm, n in sorted(Counter(log.arms).items()) if arm not in definition.arm_set}


def with_priors(definition: PolicyDefinition, starts: Sequence[ArmStart]) -> dict[str, object]:
    """Return the definition's plain value with a prior for each arm that the log says something of.

    Raises:
        ConfigError: the log has none of its arms, or a mean beyond the bounds of its reward.
    """
    low, high = definition.reward.low, definition.reward.high
    known = {start.arm: start for start in starts if start.weight > 0.0}
    faults = [
        f"arm {arm} earned {known[arm].mean:.6g} a decision in the log, the policy's rewards lie in [{low}, {high}]"
        for arm in definition.arm_names
        if arm in known and not low <= known[arm].mean <= high
    ]
    if not definition.arm_set & known.keys():
        seen, expected = ", ".join(sorted(known)[:5]), ", ".join(definition.arm_names[:5])
        faults.append(f"the log has none of its arms: seen {seen} …, expected {expected} …")
    if faults:
        raise ConfigError(f"policy {definition.name}", faults)
    plain = definition.to_plain()
    plain["arms"] = [
        arm.to_plain()
        | ({"prior": {"mean": known[arm.name].mean, "weight": known[arm.name].weight}} if arm.name in known else {})
        for arm in definition.arms
    ]
    return plain


def _weights(log: Shown) -> Floats:
    if log.propensities is None:
        return np.ones(len(log.arms))
    wrong = ~((log.propensities > 0.0) & (log.propensities <= 1.0))
    if wrong.any():
        place = int(wrong.argmax())
        raise ConfigError("the log", [f"propensity {log.propensities[place]!r} of row {place} is not in (0, 1]"])
    weights: Floats = 1.0 / log.propensities
    return weights

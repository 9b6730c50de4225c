"""Which arms can be compared, in which decisions. Pure.

An arm is compared with others where it could have been shown as well as they. One that could not, in more than a tenth
of the decisions (it came later, was killed, or a rule keeps it from some), would take those decisions from all others:
it is left out itself. One that was shown too rarely says nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from math import sqrt
from typing import NamedTuple

import numpy as np

from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog, Indices

MOST_LOST = 0.1
"""Of the decisions, for the sake of an arm."""
LEAST_EFFECTIVE = 30.0
"""Decisions that an arm's are worth, (Σ 1/p)² / Σ 1/p²."""
ASTRAY = 5.0
"""Standard errors by subject that an arm's weights may be off."""


class Comparable(NamedTuple):
    """What can be compared."""

    log: DecisionLog
    arms: Indices
    """(K,) index into the log's arms."""
    left_out: list[str]
    """In words."""
    doubts: list[str]
    """In words."""


def comparable(log: DecisionLog, choice: Collection[str] | None = None, why_not: str = "is no choice") -> Comparable:
    """Choose the arms and the decisions.

    Args:
        log: decisions.
        choice: arms that anybody would choose; None: all of the log.
        why_not: others, in words.

    Raises:
        ConfigError: fewer than two arms, or two subjects, are left.
    """
    left_out: list[str] = []
    arms = []
    for arm, name in enumerate(log.arms):
        weight = (1.0 / log.propensity)[log.arm == arm]
        effective = float(weight.sum() ** 2 / (weight @ weight)) if len(weight) else 0.0
        if choice is not None and name not in choice:
            left_out.append(f"arm {name} {why_not}")
        elif effective < LEAST_EFFECTIVE:
            left_out.append(
                f"arm {name} was shown {len(weight):,} times, worth {effective:.0f} decisions by its propensities; "
                f"{LEAST_EFFECTIVE:.0f} are needed"
            )
        else:
            arms.append(arm)
    possible = log.possible[log.offer]
    while arms:
        lost = ~possible[:, arms].all(axis=1)
        if lost.mean() <= MOST_LOST:
            break
        worst = min(arms, key=lambda arm: possible[:, arm].sum())
        part = possible[:, worst].mean()
        arms.remove(worst)
        left_out.append(
            f"arm {log.arms[worst]} could be shown in {part:.0%} of the decisions only: it came later, was killed, or "
            "a rule keeps it from some"
        )
    if len(arms) < 2:
        raise ConfigError("the log", ["has fewer than two arms that can be compared", *left_out])
    kept = np.flatnonzero(possible[:, arms].all(axis=1))
    if len(kept) < len(log):
        left_out.append(f"{len(log) - len(kept):,} decisions in which not all of the arms could be shown")
        log = log.take(kept)
    if log.clusters.how_many < 2:  # as a report has it: by one alone nothing is known of others
        raise ConfigError("the log", ["is of one subject: how much others differ takes at least two", *left_out])
    chosen = np.array(arms, np.int64)
    return Comparable(log, chosen, left_out, _astray(log, chosen))


def _astray(log: DecisionLog, arms: Indices) -> list[str]:
    """Say in words of which arms the weights don't come to one a decision, as they do where propensities are true."""
    unit, count = log.clusters.unit, log.clusters.how_many
    found = []
    for arm in arms.tolist():
        rest = np.bincount(unit, (log.arm == arm) / log.propensity - 1.0, count)
        error = sqrt(float(rest @ rest)) / len(log)
        mean = float(rest.sum()) / len(log) + 1.0
        if abs(mean - 1.0) > ASTRAY * error:
            found.append(
                f"arm {log.arms[arm]}: the decisions that showed it stand for {mean:.1%} of all by their propensities, "
                "where true ones come to 100 %: either they are not those that arms were drawn with, or it could not "
                "be shown to all"
            )
    return found

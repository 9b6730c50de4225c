"""What rules would have earned: one arm for all, an arm a segment, an arm by all that is known. Pure.

Each rule shows the arm that is predicted to earn the most by what earlier blocks of subjects have shown
(`arm_regression.py`): so no rule is praised for what it remembers, and "the best arm in hindsight" is not the luckiest.
A rule that finds nothing in its fields shows one arm to everybody, and gains exactly nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.analyze.arm_regression import fit
from pipeline.analyze.fields import SEGMENT, Field, columns_of
from pipeline.analyze.scores import Scored, later_places, part
from pipeline.evaluate.estimators import Parts
from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.models.model import Floats

SHUFFLES = 5
"""Of each field, to learn what it is worth."""
LOGGED, ONE_ARM, BY_SEGMENT, BY_CONTEXT = "as logged", "one arm for all", "an arm by segment", "an arm by context"


MOST = "at most"


class Rule(NamedTuple):
    """What a rule shows."""

    name: str
    choice: Indices
    """(N,) index into the scored arms."""
    chances: Floats
    """(N, K) 1 where it shows the arm."""


def rules_of(log: DecisionLog, arms: Indices, fields: Sequence[Field]) -> list[Rule]:
    """Return the rules, the simplest first; by segment only where there are several.

    They are told of the decisions that `score` by earlier blocks scores.
    """
    segment = [field for field in fields if field.name == SEGMENT]
    wanted = [(ONE_ARM, ()), *([(BY_SEGMENT, segment)] if segment else []), (BY_CONTEXT, fields)]
    later = later_places(log)
    rules = []
    for name, known in wanted:
        columns = columns_of(known, len(log))
        rules.append(_showing(name, fit(log, arms, columns, "earlier").at(columns)[later]))
    return rules


def _showing(name: str, predicted: Floats) -> Rule:
    choice = predicted.argmax(axis=1)
    return Rule(name, choice, (choice[:, None] == np.arange(predicted.shape[1])).astype(np.float64))


def most_gain(scored: Scored, fields: Sequence[Field]) -> Parts:
    """Return what a rule gains that is chosen by the very decisions that it is judged by: more than any will.

    Of rules by these fields none earned more in these decisions, so its interval's upper end is one for all of them.
    Where it shows everybody the same, there may still be one not seen who is better served by the next best arm.
    """
    columns = columns_of(fields, len(scored.log))
    rule = _showing(MOST, fit(scored.log, scored.arms, columns, "all").at(columns))
    single, second = np.argsort(-scored.values.mean(axis=0), kind="stable")[:2].tolist()
    found = part(scored, MOST, rule.chances - _always(scored, single))
    other = part(scored, MOST, _always(scored, second) - _always(scored, single))
    return found._replace(most=max(found.most, other.most))


def _always(scored: Scored, place: int) -> Floats:
    chances = np.zeros_like(scored.shown)
    chances[:, place] = 1.0
    return chances


def each_arm(scored: Scored) -> list[Parts]:
    """Return what each arm earns, shown to everybody."""
    return [part(scored, name, _always(scored, place)) for place, name in enumerate(scored.names)]


def as_logged(scored: Scored) -> Parts:
    """Return what the log earned."""
    return part(scored, LOGGED, np.zeros_like(scored.shown), -1.0)


def gain(scored: Scored, rule: Rule, than: Rule) -> Parts:
    """Return what a rule earns more than another."""
    return part(scored, rule.name, rule.chances - than.chances)


def importance(
    log: DecisionLog, scored: Scored, fields: Sequence[Field], rule: Rule, rng: np.random.Generator
) -> list[Parts]:
    """Return what the rule by context loses where a field says of each decision what it says of another one.

    Fields that say the same share what they are worth between them (Breiman 2001; as a loss of value).
    """
    found = []
    later = later_places(log)
    columns = columns_of(fields, len(log))
    lines = fit(log, scored.arms, columns, "earlier")
    widths = np.cumsum([0, *(field.columns.shape[1] for field in fields)])
    for place, field in enumerate(fields):
        own = slice(widths[place], widths[place + 1])
        shuffled = np.zeros_like(rule.chances)
        for _ in range(SHUFFLES):
            asked = columns.copy()
            asked[:, own] = columns[rng.permutation(len(log))][:, own]
            shuffled += _showing(field.name, lines.at(asked)[later]).chances / SHUFFLES
        found.append(part(scored, field.name, rule.chances - shuffled))
    return found

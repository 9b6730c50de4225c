"""How many decisions are worth one that is independent: people who come back are alike. Pure.

A difference of two arms' means varies by subject, whatever statistics by decision say of it. With an arm's mean as the
sum of the means of strata of time, each weighed by W_s, a decision moves it by u = ± W_s (r - m_as) / n_as, and

    d = (Σ_g (Σ_g u)² + max_g (Σ_g u)²) m / (m - 1)  over  Σ u² + max u²

is the design effect (Kish 1965, section 5.4; of ratios Rao & Scott 1992): evidence is worth 1/d of itself. g are the m
subjects that were shown one of the two. The largest of them counts twice in both: few have not shown how much one may
weigh. With few subjects d grows as Student's quantile is wider than the normal one. Of the differences from the arm
that leads the most uncertain one counts. d is never below 1, as what all arms owe to the same people cancels and only
makes a difference surer, and never above the number of decisions, which then count as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from pipeline.evaluate.ledger import Entry
from pipeline.evaluate.log import Indices
from pipeline.models.model import Floats

_TAIL = 0.025


class Seen(NamedTuple):
    """N decisions of one segment."""

    arm: Indices
    """(N,) by the place of the arm among those that are compared."""
    unit: Indices
    """(N,) the subject, or a decision by itself where nobody is known."""
    reward: Floats
    decided_at_ms: Indices
    without_subject: int
    """Decisions of nobody known."""

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def subjects(self) -> int:
        """Return how many subjects there are, and beside them decisions that have none."""
        return len(np.unique(self.unit))

    @property
    def by(self) -> str:
        """Say what varies independently."""
        if self.without_subject == len(self):
            return "decision"
        return "subject, else decision" if self.without_subject else "subject"


def seen_by_segment(entries: Iterable[Entry], arms: Sequence[str]) -> dict[str, Seen]:
    """Return the settled decisions that showed one of the arms and are learned from, by segment."""
    place = {arm: at for at, arm in enumerate(arms)}
    rows: dict[str, list[tuple[int, str | None, float, int]]] = {}
    for entry in entries:
        decision = entry.decision
        if decision is None or not entry.is_settled or decision.arm not in place:
            continue
        if decision.is_analysis or entry.undecodable:
            continue
        row = (place[decision.arm], decision.subject_hash, entry.reward, decision.decided_at_ms)
        rows.setdefault(entry.segment, []).append(row)
    return {segment: _seen(of_segment) for segment, of_segment in rows.items()}


def _seen(rows: Sequence[tuple[int, str | None, float, int]]) -> Seen:
    codes: dict[str | int, int] = {}
    unit = [codes.setdefault(at if row[1] is None else row[1], len(codes)) for at, row in enumerate(rows)]
    return Seen(
        np.array([row[0] for row in rows], np.int64),
        np.array(unit, np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.int64),
        sum(row[1] is None for row in rows),
    )


def design_effect(seen: Seen, stratum: Indices, weights: Mapping[int, float]) -> float:
    """Return how many decisions count as one, at least 1.

    Args:
        seen: decisions.
        stratum: (N,) the stretch of time that each lies in; of those that `weights` doesn't know nothing is taken.
        weights: W_s, which add up to 1.

    >>> twice = Seen(np.array([0, 0] * 50 + [1, 1] * 50), np.repeat(np.arange(100), 2), np.repeat([0.0, 1.0] * 50, 2),
    ...              np.zeros(200, np.int64), 0)
    >>> round(design_effect(twice, np.zeros(200, np.int64), {0: 1.0}), 2)  # each came twice, and did the same
    2.08
    """
    known = np.isin(stratum, list(weights))
    arm, unit, reward = seen.arm[known], seen.unit[known], seen.reward[known]
    numbers, place = np.unique(stratum[known], return_inverse=True)
    weight = np.array([weights[number] for number in numbers.tolist()])
    arms = int(arm.max(initial=-1)) + 1
    cell, cells = place * arms + arm, len(numbers) * arms
    count = np.maximum(np.bincount(cell, minlength=cells), 1)
    mean = np.bincount(cell, reward, cells) / count
    moves = weight[place] * (reward - mean[cell]) / count[cell]
    leader = int((weight @ mean.reshape(len(numbers), arms)).argmax()) if arms else 0
    effects = [1.0]
    for other in range(arms):
        mine = (arm == leader) | (arm == other)
        if other != leader:
            effects.append(_of_pair(unit[mine], np.where(arm == leader, moves, -moves)[mine]))
    return max(effects)


def _of_pair(unit: Indices, signed: Floats) -> float:
    """Return d of the decisions of two arms, given u of each."""
    names, unit = np.unique(unit, return_inverse=True)
    subjects = len(names)
    if subjects == len(signed) or not signed.any():
        return 1.0
    most = float(len(signed))  # all of them as one
    if subjects < 2:
        return most
    one, by_subject = np.square(signed), np.square(np.bincount(unit, signed))
    ratio = float(by_subject.sum() + by_subject.max()) / float(one.sum() + one.max())
    quantile = float(stdtrit(subjects - 1, _TAIL) / stdtrit(np.inf, _TAIL))
    return min(ratio * subjects / (subjects - 1) * quantile * quantile, most)

"""Credited outcomes → the reward of a decision, an integer in steps of 2^-exponent.

The exponent is the largest with which both bounds stay within ±2^15; what that proves stands in `models/grid.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import fsum, isfinite, ldexp
from typing import Literal, NamedTuple

from pipeline.errors import InvalidRecordError, RecordError
from pipeline.models.grid import reward_exponent
from pipeline.models.sums.objectives import Weights
from pipeline.policy.durations import duration_text
from pipeline.policy.render_value import shown

OUTCOME_REASONS = frozenset({"unknown-outcome-kind", "value-not-finite", "value-out-of-bounds"})

Combination = Literal["first", "last", "max", "sum", "weighted"]
WORTH_BITS = 30
"""With "weighted", worths are in steps of 2^-30 of a step of the reward's grid."""


class Credit(NamedTuple):
    """An outcome attached to its decision."""

    outcome_id: str
    """Names the outcome for ever."""
    kind: str
    """One of the policy's outcome kinds."""
    value: float
    """Size of the outcome where its kind has one."""
    occurred_at_ms: int
    """Event time, epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """What outcomes of one kind are worth, and how long after the decision they count."""

    kind: str
    """Outcome kind, such as click."""
    worth: float
    """Reward of one outcome; may be negative, as for a refund."""
    window_ms: int
    """Counts when it occurred at most this long after the decision."""
    times_value: bool = False
    """Multiply `worth` by the outcome's value."""
    value_low: float | None = None
    """Smallest accepted value; only with `times_value`."""
    value_high: float | None = None
    """Largest accepted value; only with `times_value`."""

    @property
    def typical_worth(self) -> float:
        """What one outcome changes a reward by, as far as the rule tells: with values, in the middle of their sizes."""
        if self.value_low is None or self.value_high is None:
            return abs(self.worth)
        return abs(self.worth) * (abs(self.value_low) + abs(self.value_high)) / 2.0

    @property
    def amount_bounds(self) -> tuple[float, float]:
        """How much of this kind can come of a decision, where kinds are kept apart: 0 or 1, or of its values."""
        if self.value_low is None or self.value_high is None:
            return 0.0, 1.0
        return min(self.value_low, 0.0), max(self.value_high, 0.0)

    @property
    def amount_exponent(self) -> int:
        """An amount c is the integer c * 2**amount_exponent, rounded towards 0, within ±2^15."""
        return reward_exponent(*self.amount_bounds) if self.times_value else 0

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        plain: dict[str, object] = {
            "kind": self.kind,
            "worth": self.worth,
            "window": duration_text(self.window_ms),
            "times_value": self.times_value,
        }
        if self.times_value:
            plain |= {"value_low": self.value_low, "value_high": self.value_high}
        return plain


@dataclass(frozen=True, slots=True)
class RewardRules:
    """What a decision's outcomes are worth together."""

    low: float
    """Smallest reward."""
    high: float
    """Largest reward."""
    outcomes: tuple[OutcomeRule, ...]
    """One rule a kind, sorted by kind: their order in the file means nothing."""
    combination: Combination = "max"
    """How several credited outcomes become one reward; weighted: not before it is asked for."""
    cap: float | None = None
    """A sum counts at most this; only with `sum`."""
    exponent: int = field(init=False, compare=False)
    """A reward r is the integer round(r * 2**exponent), within ±2^15."""
    window_ms: int = field(init=False, compare=False)
    """The longest window of any kind."""
    of_nothing: int = field(init=False, compare=False)
    """The reward, on the grid, of a decision of which nothing came: what most records say."""
    _rules: Mapping[str, OutcomeRule] = field(init=False, repr=False, compare=False)
    """Kind → rule."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", reward_exponent(self.low, self.high))
        object.__setattr__(self, "window_ms", max((rule.window_ms for rule in self.outcomes), default=0))
        object.__setattr__(self, "_rules", {rule.kind: rule for rule in self.outcomes})
        object.__setattr__(self, "of_nothing", self._on_grid(0.0))

    def refusal(self, kind: str, value: float) -> RecordError | None:
        """Say why an outcome can't be credited, with one of `OUTCOME_REASONS`; None if it can."""
        rule = self._rules.get(kind)
        if rule is None:
            return InvalidRecordError(
                "unknown-outcome-kind", f"kind is {shown(kind)}, expected one of {sorted(self._rules)}"
            )
        if not isfinite(value):
            return InvalidRecordError("value-not-finite", f"value is {value!r}, expected a finite number")
        low, high = rule.value_low, rule.value_high
        if low is not None and high is not None and not low <= value <= high:
            return InvalidRecordError(
                "value-out-of-bounds", f"value of {kind} is {value!r}, expected {low!r} to {high!r}"
            )
        return None

    def worth(self, kind: str, value: float) -> float:
        """Give one outcome's reward before combining; KeyError for a kind that `refusal` refuses."""
        rule = self._rules[kind]
        return rule.worth * value if rule.times_value else rule.worth

    def window_ms_for(self, kind: str) -> int:
        """Give the window of one kind; KeyError for a kind that `refusal` refuses."""
        return self._rules[kind].window_ms

    @property
    def is_weighted(self) -> bool:
        """Whether kinds are counted apart, so that their worths may change."""
        return self.combination == "weighted"

    @property
    def weights(self) -> Weights:
        """What the amounts of each kind are worth, where kinds are counted apart: worths on their grid, exact."""
        exponents = [rule.amount_exponent for rule in self.outcomes]
        finest = max([0, *exponents])
        steps = [
            self._worth_steps(rule) << (finest - exponent)
            for rule, exponent in zip(self.outcomes, exponents, strict=True)
        ]
        return Weights(steps, WORTH_BITS + finest)

    @property
    def reach(self) -> tuple[Fraction, Fraction]:
        """The least and the largest reward that amounts within their bounds can have, exact."""
        ends = []
        for rule in self.outcomes:
            worth = self._worth_steps(rule) / Fraction(2) ** (self.exponent + WORTH_BITS)
            ends.append(sorted(worth * Fraction(amount) for amount in rule.amount_bounds))
        return sum((low for low, _ in ends), Fraction(0)), sum((high for _, high in ends), Fraction(0))

    def worth_on_grid(self, rule: OutcomeRule) -> float:
        """Return the worth that a weighting goes by; a float64 has room for all of its bits."""
        return ldexp(self._worth_steps(rule), -self.exponent - WORTH_BITS)

    def amounts(self, credits: Sequence[Credit]) -> list[int]:  # noqa: A002
        """Return how much of each kind came, on its own grid: the same for every order of `credits`.

        Of a kind without values, whether it came; of one with values, their sum within its bounds.
        """
        found = []
        for rule in self.outcomes:
            low, high = rule.amount_bounds
            amount = fsum(credit.value if rule.times_value else 1.0 for credit in credits if credit.kind == rule.kind)
            found.append(int(ldexp(min(max(amount, low), high), rule.amount_exponent)))
        return found

    def weighted(self, credits: Sequence[Credit]) -> float:  # noqa: A002
        """Return what the kinds are worth together, in units of reward."""
        steps, bits = self.weights
        total = sum(step * amount for step, amount in zip(steps, self.amounts(credits), strict=True))
        return float(Fraction(total) / Fraction(2) ** (bits + self.exponent))

    def combine(self, credits: Sequence[Credit]) -> int:  # noqa: A002  (the glossary's word, not the builtin)
        """Give the reward on the grid; the same for every order of `credits`.

        First and last go by (occurred_at_ms, outcome_id). A sum is rounded once however many it adds
        (`fsum`), then capped. The result, 0 when there are no credits, is clamped to [low, high] and, at the
        end, once, rounded half to even. Where kinds are counted apart, it is 0: what they are worth together is not
        known yet.
        """
        return self._on_grid(self._combined(credits)) if credits else self.of_nothing

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        plain: dict[str, object] = {
            "low": self.low,
            "high": self.high,
            "combine": self.combination,
            "outcomes": [rule.to_plain() for rule in self.outcomes],
        }
        if self.cap is not None:
            plain["cap"] = self.cap
        return plain

    def counted_parts(self) -> dict[str, object]:
        """Give what statistics are a function of, as a JSON value: kinds that are counted apart have no worth there."""
        plain = self.to_plain()
        if self.is_weighted:
            rules = [rule.to_plain() for rule in self.outcomes]
            plain["outcomes"] = [{key: value for key, value in rule.items() if key != "worth"} for rule in rules]
        return plain

    def _worth_steps(self, rule: OutcomeRule) -> int:
        # Towards 0, so that worths that come to the bounds exactly don't leave them.
        return int(ldexp(rule.worth, self.exponent + WORTH_BITS))

    def _on_grid(self, reward: float) -> int:
        return round(ldexp(min(max(reward, self.low), self.high), self.exponent))

    def _combined(self, credits: Sequence[Credit]) -> float:  # noqa: A002
        match self.combination:
            case "max":
                return max(self.worth(credit.kind, credit.value) for credit in credits)
            case "sum":
                total = fsum(self.worth(credit.kind, credit.value) for credit in credits)
                return total if self.cap is None else min(total, self.cap)
            case "first":
                credit = min(credits, key=_when)
            case "last":
                credit = max(credits, key=_when)
            case "weighted":
                return 0.0
        return self.worth(credit.kind, credit.value)


def _when(credit: Credit) -> tuple[int, str]:
    return credit.occurred_at_ms, credit.outcome_id

"""What to do next with a policy that follows another one: more of it, nothing, no more of it, none of it. Pure.

    halted before     → nothing, until it is resumed
    last step reached → done
    below the first   → the first step, which is shown to somebody before anything can be known
    `back` holds      → share 0, and halted: it is worse, or is doing what it must not
    `pause` holds     → the share stays, and halted: the groups are not comparable, a person has to look
    `up` holds        → the next step
    otherwise         → wait

`back` comes before `pause`: where both hold, less of it is the safe mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from pipeline.errors import ConfigError
from pipeline.policy.figure_condition import Condition, Figures

Act = Literal["up", "wait", "pause", "back", "done", "halted", "graduate"]


class Move(NamedTuple):
    """What to do."""

    act: Act
    """By its word."""
    share: float
    """Of subjects, from then on."""
    why: str
    """In words, with the figures."""


class Named(NamedTuple):
    """A condition as it was written."""

    text: str
    """By the operator."""
    condition: Condition
    """Read."""

    def told(self, figures: Figures) -> str:
        """Say the condition and what its figures are."""
        return f"{self.text} ({', '.join(dict.fromkeys(self.condition.in_words(figures)))})"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a policy is rolled out."""

    steps: Sequence[float]
    """Shares, rising, in (0, 1]."""
    up: Named
    """What must hold for the next step."""
    pause: Sequence[Named]
    """Any of them halts it where it stands."""
    back: Sequence[Named]
    """Any of them ends it."""

    def __post_init__(self) -> None:
        faults = [f"{step:g} is not above 0 and at most 1" for step in self.steps if not 0.0 < step <= 1.0]
        if not self.steps or any(low >= high for low, high in pairwise(self.steps)):
            faults.append(
                f"{', '.join(f'{100 * step:g}' for step in self.steps)}: expected rising, such as 5,20,50,100"
            )
        if faults:
            raise ConfigError("--steps", faults)


def next_move(share: float, figures: Figures, rules: Rules, halted: str = "") -> Move:
    """Return what to do.

    Args:
        share: in force.
        figures: of the step that it began.
        rules: of the ramp.
        halted: why it was halted before, if it is.
    """
    if halted:
        return Move("halted", share, halted)
    if share >= rules.steps[-1]:
        return Move("done", share, f"it decides for {100 * share:g} %")
    if share < rules.steps[0]:
        return Move("up", rules.steps[0], "the first step")
    for act, conditions, to in (("back", rules.back, 0.0), ("pause", rules.pause, share)):
        for one in conditions:
            if one.condition.holds(figures):
                return Move("back" if act == "back" else "pause", to, one.told(figures))
    if rules.up.condition.holds(figures):
        return Move("up", next(step for step in rules.steps if step > share), rules.up.told(figures))
    return Move("wait", share, f"does not hold: {rules.up.told(figures)}")


def next_lesson(share: float, figures: Figures, until: Named, first: float, halted: str = "") -> Move:
    """Return what to do with an apprentice: it goes on to learn, or is shown itself, to the first step of a ramp.

    Args:
        share: of the subjects that it learns from.
        figures: of what it has learned.
        until: the mark that its policy declares.
        first: the share that it is shown to from then on.
        halted: why it was halted before, if it is.
    """
    if halted:
        return Move("halted", share, halted)
    if until.condition.holds(figures):
        return Move("graduate", first, until.told(figures))
    return Move("wait", share, f"does not hold: {until.told(figures)}")

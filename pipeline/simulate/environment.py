"""What an environment is. Nothing but chance from its seed decides what happens in it.

An environment is asked about decisions in order, t = 0, 1, 2, …, and gives the same answers after the same `reset`,
whatever it was asked: so that players can be compared on the very same visitors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Plain = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a player is told of an environment before it begins."""

    arms: tuple[str, ...]
    """Names of the choices; an arm is an index into them."""
    low: float = 0.0
    """Smallest reward."""
    high: float = 1.0
    """Largest reward."""
    features: tuple[Plain, ...] = ()
    """Context features, as `[[context]]` of a policy file has them."""
    segments: Plain | None = None
    """Segment rules, as `[segments]` of a policy file has them."""
    arm_parts: tuple[Plain, ...] = ()
    """What else a policy file would say of each arm."""
    decisions: int = 10_000
    """How many decisions make a run, where nobody says otherwise; a log can't have more."""
    window_ms: int = 1_000
    """How long after the decision a reward can come."""
    kinds: tuple[Plain, ...] = ()
    """Where an environment is `Telling`: what can come, as `[[reward.outcomes]]` of a policy file has it, windows left
    out; `reward` is what comes by these worths."""


class Environment(Protocol):
    """Somewhere to decide."""

    @property
    def setting(self) -> Setting:
        """What a player is told."""

    def reset(self, seed: int) -> None:
        """Begin again; the same seed begins the same way."""

    def context(self, t: int) -> Mapping[str, object]:
        """Return what is known when deciding."""

    def reward(self, t: int, arm: int) -> float | None:
        """Return what an arm earns; None where nobody knows, as in a log that showed another."""

    def best(self, t: int) -> int | None:
        """Return the arm with the largest expected reward; None where nobody knows."""


@runtime_checkable
class Expecting(Protocol):
    """An environment that knows expectations, so that regret has no noise of the rewards."""

    def mean(self, t: int, arm: int) -> float:
        """Return the expected reward."""


@runtime_checkable
class Changing(Protocol):
    """An environment whose arms come and go."""

    def eligible(self, t: int) -> Sequence[int]:
        """Return the arms on offer."""


@runtime_checkable
class Timed(Protocol):
    """An environment whose decisions are not a second apart."""

    def at_ms(self, t: int) -> int:
        """Return when it is decided, never falling."""


@runtime_checkable
class Telling(Protocol):
    """An environment in which outcomes of several kinds come, so that a policy may weigh them as it likes."""

    def outcomes(self, t: int, arm: int) -> Mapping[str, float]:
        """Return what comes, value by kind; 1 of a kind without values."""


@runtime_checkable
class Delaying(Protocol):
    """An environment whose rewards come later."""

    def delay_ms(self, t: int, arm: int) -> int:
        """Return how long after the decision a reward that isn't 0 comes."""

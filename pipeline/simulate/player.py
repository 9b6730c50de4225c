"""Who chooses and learns in an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.models.model import Floats

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Settle = Literal["wait", "optimistic"]


class Moments(NamedTuple):
    """Decisions that are made together, on one snapshot."""

    places: Indices
    """(m,) their numbers, t."""
    at_ms: Indices
    """(m,) when each is made."""
    contexts: Sequence[Mapping[str, object]]
    """What is known of each."""
    eligible: tuple[int, ...]
    """The arms on offer."""


class Choices(NamedTuple):
    """What was chosen; (m,) each."""

    arms: Indices
    propensities: Floats


class News(NamedTuple):
    """What has become known of earlier decisions; (m,) each."""

    places: Indices
    """Which decisions."""
    is_first: Mask
    """Whether the decision begins to count now."""
    before: Floats
    """What it counted for; 0 where `is_first`."""
    after: Floats
    """What it counts for from now on."""
    now_ms: int
    """The time when it is known."""
    delays_ms: Indices | None = None
    """How long after the decision it came; None: at once."""
    outcomes: Sequence[Mapping[str, float]] | None = None
    """What has come by now, value by kind; None: the environment tells rewards alone."""


class Player(Protocol):
    """Chooses in batches, and learns between them."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def settle(self) -> Settle:
        """When a decision begins to count: at once, as no reward, or when its window has closed."""

    def choose(self, moments: Moments) -> Choices:
        """Choose an arm for each."""

    def learn(self, news: News) -> None:
        """Take in what has become known."""

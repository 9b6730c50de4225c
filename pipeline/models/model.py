"""What every algorithm is: exact sums → posterior → arm probabilities.

A model is a value: the same statistics and context give the same numbers, bit for bit, and nothing it is given
is changed. The arms stand on the first axis of every array, in the canonical order that the caller chose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import StateError
from pipeline.models.grid import Grid

Floats = NDArray[np.float64]
NORMAL_975 = 1.959963984540054  # the standard normal's 97.5 % point, for 95 % intervals


class Sums(Protocol):
    """One arm's sums in grid units: `Statistics`, or a weighting of several (forgetting)."""

    @property
    def n(self) -> float:
        """How many decisions count."""

    @property
    def reward_sum(self) -> float:
        """Σr."""

    @property
    def reward_square_sum(self) -> float:
        """Σr²."""

    def moments(self) -> tuple[NDArray[np.int64] | Floats, NDArray[np.int64] | Floats]:
        """Return A (d, d) and b (d,)."""


class ArrayBytes(NamedTuple):
    """One array as a snapshot carries it."""

    shape: tuple[int, ...]
    raw: bytes
    """float64, little-endian, row-major."""


_SHARED = "shared."


@dataclass(frozen=True, eq=False)
class Posterior:
    """Named float64 arrays; read-only."""

    parameters: Mapping[str, Floats]
    """Their first axis is the arm."""
    shared: Mapping[str, Floats] = field(default_factory=dict)
    """What all arms have in common."""

    def __post_init__(self) -> None:
        frozen = {name: _frozen(array) for name, array in self.parameters.items()}
        if len({array.shape[:1] for array in frozen.values()}) != 1:
            shapes = {name: array.shape for name, array in frozen.items()}
            raise StateError(f"the arrays of a posterior have one entry an arm each: seen shapes {shapes}")
        object.__setattr__(self, "parameters", MappingProxyType(frozen))
        shared = {name: _frozen(array) for name, array in self.shared.items()}
        object.__setattr__(self, "shared", MappingProxyType(shared))

    @property
    def arm_count(self) -> int:
        """How many arms K there are."""
        return len(next(iter(self.parameters.values())))

    def arrays(self) -> dict[str, Floats]:
        """Return every array by the name it is stored under: `shared.` stands before what is shared."""
        return {**self.parameters, **{_SHARED + name: array for name, array in self.shared.items()}}

    def take(self, indices: ArrayLike) -> Posterior:
        """Return the posterior of some of the arms, in the order of their indices."""
        chosen = np.asarray(indices, np.intp)
        return Posterior({name: array[chosen] for name, array in self.parameters.items()}, self.shared)

    def to_bytes(self) -> dict[str, ArrayBytes]:
        """Return each array's shape and bytes by name."""
        return {
            name: ArrayBytes(array.shape, array.astype("<f8", copy=False).tobytes())
            for name, array in self.arrays().items()
        }

    @classmethod
    def from_bytes(cls, arrays: Mapping[str, ArrayBytes]) -> Posterior:
        """Read what `to_bytes` wrote. Raises StateError where bytes and shape disagree."""
        parameters, shared = {}, {}
        for name, (shape, raw) in arrays.items():
            if len(raw) != 8 * math.prod(shape):
                raise StateError(f"array {name!r} of shape {shape} takes {8 * math.prod(shape)} bytes: seen {len(raw)}")
            array = np.frombuffer(raw, "<f8").reshape(shape)
            if name.startswith(_SHARED):
                shared[name.removeprefix(_SHARED)] = array
            else:
                parameters[name] = array
        return cls(parameters, shared)


class Estimates(NamedTuple):
    """What each arm is thought to be worth, in reward units; (K,) each."""

    mean: Floats
    low: Floats
    """Lower end of the 95 % interval."""
    high: Floats


class Model(Protocol):
    """One algorithm with its parameters."""

    name: ClassVar[str]

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Derive the posterior from one row of sums an arm."""

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return each arm's chance to be chosen, before the floor: (K,), summing to 1.

        `context` is the (d,) features, or None for a model that needs none.
        """

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return what each arm is thought to be worth."""


@runtime_checkable
class LearnsAcrossSegments(Protocol):
    """A model in which segments know of each other."""

    def posteriors(self, segments: Sequence[Sequence[Sums]], grid: Grid) -> list[Posterior]:
        """Derive every segment's posterior from one row of sums a segment and arm, arms in the same order."""


@runtime_checkable
class Measures(Protocol):
    """A model that measures what others are told by parameters."""

    def measured(self, posterior: Posterior) -> str:
        """Say in words what it has measured."""


def posteriors(model: Model, segments: Sequence[Sequence[Sums]], grid: Grid) -> list[Posterior]:
    """Derive every segment's posterior, together where the model learns across segments."""
    if isinstance(model, LearnsAcrossSegments):
        return model.posteriors(segments, grid)
    return [model.posterior(statistics, grid) for statistics in segments]


@dataclass(frozen=True)
class Parameter:
    """One number that a policy may set."""

    default: float
    low: float
    """Least accepted value."""
    high: float
    """Greatest accepted value."""
    meaning: str
    is_implied: bool = False
    """Whether it came after the algorithm's release: a policy that doesn't set it reads and hashes as before."""


@dataclass(frozen=True)
class AlgorithmInfo:
    """What a policy's validator must know of an algorithm."""

    parameters: Mapping[str, Parameter]
    needs_context: bool
    """Whether it learns from a context vector, so that the policy must declare features."""
    needs_unit_reward: bool
    """Whether its reward bounds must lie within [0, 1]."""
    build: Callable[..., Model]
    """Takes every parameter by name; `model_for` checks them first."""
    needs_nonnegative_reward: bool = False
    """Whether no reward may be below 0."""
    learns_across_arms: bool = False
    """Whether what is learned of one arm says something of another."""
    pools: bool = False
    """Whether an arm's posterior goes by the sums of the others too, though it says nothing of an arm nobody has
    seen."""
    goes_by_bounds: bool = False
    """Whether a posterior goes by the rewards' bounds, beside the sums."""
    words: str = ""
    """What it does, for people, where its name says less than its parameters would."""
    counts_contexts: bool = False
    """Whether it learns from how many decisions each distinct context had, beside the sums."""
    counts_propensities: bool = False
    """Whether it learns from decisions weighed by 1 / propensity, beside the sums."""
    counts_groups: bool = False
    """Whether it learns from decisions parted into groups at random, beside the sums."""


def _frozen(array: Floats) -> Floats:
    if array.dtype == np.float64 and array.flags.c_contiguous and not array.flags.writeable:
        return array
    copy = np.array(array, np.float64, order="C")
    copy.setflags(write=False)
    return copy

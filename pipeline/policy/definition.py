"""The definition of a policy: one frozen value that every stage reads.

Built by `parse.py`, which checks it; equal definitions have equal hashes, on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from pipeline.models.grid import Grid
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.weighted import ArmPrior
from pipeline.policy.analysis import AnalysisGroup
from pipeline.policy.assignment import Assignment
from pipeline.policy.candidates import CANDIDATES
from pipeline.policy.canonical import sha256_hex
from pipeline.policy.contexts import bits_for
from pipeline.policy.declared import DeclaredFields, declared_fields
from pipeline.policy.durations import duration_text
from pipeline.policy.features import FeatureSchema
from pipeline.policy.guardrails import Floors, Guardrails, Rollout, Switches
from pipeline.policy.monitors import Monitors
from pipeline.policy.reward import RewardRules
from pipeline.policy.segments import Segmentation

Settle = Literal["wait", "optimistic", "delay_corrected"]
SCHEMA_HASH_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Arm:
    """A choice on offer."""

    name: str
    """Names it for ever: credits of old decisions refer to it."""
    retired: bool = False
    """Still credited, never chosen."""
    prior: ArmPrior | None = None
    """What is known of it before it is tried."""
    features: tuple[tuple[str, float], ...] = ()
    """What it is like, by name, sorted: what models that share between arms learn from."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value; what was never said is left out."""
        plain: dict[str, object] = {"name": self.name, "retired": self.retired}
        if self.prior is not None:
            plain["prior"] = {"mean": self.prior.mean, "weight": self.prior.weight}
        if self.features:
            plain["features"] = dict(self.features)
        return plain


@dataclass(frozen=True, slots=True)
class Candidates:
    """Arms that come with a request: told by their features, learned of by what they share."""

    features: tuple[str, ...]
    """What each is told by, sorted."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"features": list(self.features)}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What turns statistics into arm probabilities."""

    name: str
    """One of `pipeline.models.ALGORITHMS`."""
    parameters: Mapping[str, float] = field(hash=False)
    """Its parameters, defaults included but for implied ones (`models/model.py`)."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"name": self.name, **self.parameters}


@dataclass(frozen=True, slots=True)
class Attribution:
    """When a decision counts, and how long it can be corrected."""

    settle: Settle = "wait"
    """wait: when its window closes; optimistic: at once as without outcomes, corrected by them; delay_corrected: the
    same, but counting only by the chance that its outcome would have come by now (`publish/maturity.py`)."""
    grace_ms: int = 600_000
    """How long after its window closes a decision is held for outcomes that arrive late."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"settle": self.settle, "grace": duration_text(self.grace_ms)}


@dataclass(frozen=True, slots=True)
class PolicyDefinition:
    """All that a policy is; what it has learned is elsewhere."""

    name: str
    """Names the policy for ever; key of its records."""
    generation: int
    """Which statistics it learns in; a higher one starts anew beside the old."""
    arms: tuple[Arm, ...]
    """Choices on offer, retired ones included, in the order of the file."""
    segments: Segmentation
    """Parts of the traffic that learn on their own."""
    features: FeatureSchema
    """How a context becomes a context vector."""
    algorithm: Algorithm
    """What turns statistics into arm probabilities."""
    reward: RewardRules
    """What outcomes are worth."""
    attribution: Attribution
    """When a decision counts."""
    floor: float
    """Smallest propensity of an eligible arm; 0 where `floors` has a share in its place."""
    publish_interval_ms: int
    """Shortest time between two snapshots."""
    bucket_ms: int
    """Event time that one row of statistics covers; what forgetting can tell apart."""
    forgetting: Forgetting = field(default_factory=Forgetting)
    """How much old decisions still count."""
    floors: Floors = field(default_factory=Floors)
    """Where the floor is another."""
    guardrails: Guardrails = field(default_factory=Guardrails)
    """What holds its choices within bounds."""
    analysis: AnalysisGroup | None = None
    """Who is served and not learned from."""
    assignment: Assignment | None = None
    """How long a person is given one answer; None: each request is drawn anew."""
    rollout: Rollout | None = None
    """Which policy it is to follow, and how far that has come."""
    switches: Switches = field(default_factory=Switches)
    """What an operator has switched off for now."""
    most_contexts: int | None = None
    """How many distinct contexts a segment, arm and bucket may have; None: decisions are not counted by context."""
    candidates: Candidates | None = None
    """What a request's own arms are told by; None: it can't bring any."""
    counts_propensities: bool = False
    """Whether decisions count by 1 / propensity beside their sums."""
    counts_groups: bool = False
    """Whether decisions count in a group of their own beside their sums."""
    monitors: Monitors = field(default_factory=Monitors)
    """What is watched while it learns."""
    logged: tuple[str, ...] = ()
    """Context fields that are logged though nothing is decided by them."""
    declared: DeclaredFields = field(init=False, repr=False, compare=False)
    """What of a request may be logged."""
    arm_names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Names of all arms, in order."""
    arm_set: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of all arms, for asking whether one is known."""
    active_arms: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Names of the arms that can be chosen, in order."""
    schema_hash: str = field(init=False, repr=False, compare=False)
    """Of the feature schema: which encoding a context vector has."""
    context_bits: int | None = field(init=False, repr=False, compare=False)
    """Contexts are told apart in steps of 2^-bits; None: decisions are not counted by context."""
    has_tallies: bool = field(init=False, repr=False, compare=False)
    """Whether its decisions count for more than sums (`tallies.py`)."""
    definition_hash: str = field(init=False, repr=False, compare=False)
    """Of the whole canonical JSON."""
    statistics_hash: str = field(init=False, repr=False, compare=False)
    """Of `statistics_parts`: must not change within a generation."""

    def __post_init__(self) -> None:
        # Hashed once here: records are compared with them on every batch.
        counted = None if self.most_contexts is None else bits_for(self.features, self.most_contexts)
        derived = {
            "context_bits": counted,
            "has_tallies": self.most_contexts is not None
            or self.reward.is_weighted
            or self.counts_propensities
            or self.counts_groups
            or self.attribution.settle == "delay_corrected",
            "declared": self._declare(),
            "arm_names": tuple(arm.name for arm in self.arms),
            "arm_set": frozenset(arm.name for arm in self.arms),
            "active_arms": tuple(arm.name for arm in self.arms if not arm.retired),
            "schema_hash": sha256_hex(self.features.hashed())[:SCHEMA_HASH_CHARACTERS],
            "definition_hash": sha256_hex(self.to_plain()),
            "statistics_hash": sha256_hex(self.statistics_parts()),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _declare(self) -> DeclaredFields:
        conditions = [
            *chain.from_iterable(rule.conditions for rule in self.segments.rules),
            *chain.from_iterable((*rule.only_when, *rule.never_when) for rule in self.guardrails.eligibility),
        ]
        told_by = () if self.candidates is None else self.candidates.features
        return declared_fields(self.features.features, conditions, self.logged, told_by)

    @property
    def dimension(self) -> int:
        """Entries of the context vector, d."""
        return self.features.dimension

    def dimension_of(self, arm: str) -> int | None:
        """Give the entries of the vectors that an arm's statistics are of; None for an arm that there is not."""
        if arm in self.arm_set:
            return self.dimension
        if arm == CANDIDATES and self.candidates is not None:
            return (1 + len(self.candidates.features)) * self.dimension
        return None

    @property
    def reward_exponent(self) -> int:
        """A reward r is the integer round(r * 2**reward_exponent)."""
        return self.reward.exponent

    @property
    def grid(self) -> Grid:
        """What rewards are on."""
        return Grid(self.reward.exponent, (self.reward.low, self.reward.high))

    @property
    def window_ms(self) -> int:
        """A decision's attribution window: the longest of its outcome kinds."""
        return self.reward.window_ms

    @property
    def grace_ms(self) -> int:
        """How long after its window closes a decision is held."""
        return self.attribution.grace_ms

    def for_rewards(self) -> PolicyDefinition:
        """Return the policy that learns from rewards as such, where what comes is not told apart by kind."""
        if not self.reward.is_weighted:
            return self
        return replace(self, reward=replace(self.reward, combination="sum"))

    def close_for(self, decided_at_ms: int) -> int:
        """Give the event time at which the decision settles."""
        return decided_at_ms + self.window_ms

    def expires_for(self, decided_at_ms: int) -> int:
        """Give the event time at which the decision is let go."""
        return self.close_for(decided_at_ms) + self.grace_ms

    def statistics_parts(self) -> dict[str, object]:
        """Give the parts that statistics are a function of, beside the ledger, as JSON values.

        `settle` is one of them: statistics of a prefix of the ledger differ between wait and optimistic, so
        under one generation nobody could recompute a snapshot made across the change. `grace` and windows
        decide which outcomes reach the ledger. What candidates are told by is what their sums are of. Arms, segments,
        algorithm and floor are not: they choose, or read, rows that stay what they are; so does forgetting, which
        weighs them, and so do the worths of kinds that are counted apart.
        """
        return {
            **self.features.parts(),
            "reward": self.reward.counted_parts(),
            "attribution": self.attribution.to_plain(),
            "statistics": self._statistics(),
            **({} if self.candidates is None else {"candidates": self.candidates.to_plain()}),
        }

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value: the keys of the TOML file, defaults written out.

        What came to be after the first release is left out where it isn't used, so that older texts stay equal.
        """
        return {
            "name": self.name,
            "generation": self.generation,
            "arms": [arm.to_plain() for arm in self.arms],
            "segments": self.segments.to_plain(),
            "algorithm": self.algorithm.to_plain(),
            "exploration": self.floors.to_plain(self.floor),
            "publish": {"interval": duration_text(self.publish_interval_ms)},
            **self._declared_parts(),
            **self.statistics_parts(),
            "reward": self.reward.to_plain(),
        }

    def _declared_parts(self) -> dict[str, object]:
        """Give the parts that are written only where something is in them."""
        parts = {
            "forgetting": {} if self.forgetting.is_none else self._forgetting(),
            "guardrails": self.guardrails.to_plain(),
            "analysis": None if self.analysis is None else self.analysis.to_plain(),
            "assignment": None if self.assignment is None else self.assignment.to_plain(),
            "rollout": None if self.rollout is None else self.rollout.to_plain(),
            "killed": self.switches.to_plain(),
            "monitors": self.monitors.to_plain(),
            "logged": list(self.logged),
        }
        return {name: part for name, part in parts.items() if part}

    def _forgetting(self) -> dict[str, object]:
        durations = {"half_life": self.forgetting.half_life_ms, "window": self.forgetting.window_ms}
        return {key: duration_text(duration_ms) for key, duration_ms in durations.items() if duration_ms is not None}

    def _statistics(self) -> dict[str, object]:
        parts: dict[str, object] = {"bucket": duration_text(self.bucket_ms)}
        if self.most_contexts is not None:
            parts["contexts"] = self.most_contexts
        if self.counts_propensities:
            parts["propensities"] = True
        if self.counts_groups:
            parts["groups"] = True
        return parts

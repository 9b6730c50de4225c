"""A snapshot record, parsed once, ready to decide with.

A snapshot that was loaded can decide: each segment made a trial decision over all its active arms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StateError
from pipeline.models import ALGORITHMS, model_for
from pipeline.models.model import ArrayBytes, Estimates, Floats, Model, Posterior
from pipeline.models.regressions.hybrid import join_candidates
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.features import decode
from pipeline.policy.kinds import GRID_ONE
from pipeline.policy.parsing.parse import load_canonical_json
from pipeline.publish.parts import SnapshotContent, whole
from pipeline.publish.snapshot import snapshot_id
from pipeline.serve.guardrails.chain import Exposures, Guarded, Guards
from pipeline.serve.pieces import Pieces, exhausted

# Vectors kept for a snapshot of a model without context, one for each (segment, eligible arms) that was asked
# for: at a hundred arms 256 of them are below 1 MB.
KEPT_VECTORS = 256
KEPT_DEFINITIONS = 64
Features = Mapping[str, tuple[float, ...]]
"""Of candidates, in the policy's order, by arm."""
NO_FEATURES: Features = {}


@dataclass(frozen=True, slots=True, eq=False)
class SegmentPosterior:
    """What is known in one segment."""

    arms: tuple[str, ...]
    """Every arm, retired ones included, sorted: the first axis of `posterior`."""
    posterior: Posterior
    """The model's parameters."""
    index: Mapping[str, int]
    """Arm → its place in `arms`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Arm → rewards counted."""

    def of(self, arms: Sequence[str], candidates: Features = NO_FEATURES) -> Posterior:
        """Return the posterior of some arms, in their order. Raises KeyError for an arm that isn't there."""
        if arms == self.arms:
            return self.posterior
        if not candidates:
            return self.posterior.take([self.index[arm] for arm in arms])
        found = list(map(candidates.get, arms))
        own = self.posterior.take([self.index[arm] for arm, z in zip(arms, found, strict=True) if z is None])
        brought = [z for z in found if z is not None]
        if not brought:  # shown too often: none of them is among the arms
            return own
        z = np.fromiter(chain.from_iterable(brought), np.float64).reshape(len(brought), -1)
        return join_candidates(own, z, np.array([z is not None for z in found]))


@dataclass(frozen=True, eq=False)
class LoadedSnapshot:
    """One version of a policy's posterior; immutable but for the vectors it keeps."""

    policy: str
    """Its policy."""
    version: int
    """Its number, rising within the policy."""
    id: str
    """SHA-256 of the record's bytes."""
    posterior_sha256: str
    """SHA-256 of the exact statistics and the model they feed."""
    event_time_ms: int
    """Complete up to here."""
    ledger_offsets: Mapping[int, int]
    """Ledger partition → next offset that is not in."""
    definition: PolicyDefinition
    """The policy as it was when this was published."""
    model: Model
    """Its algorithm."""
    segments: Mapping[str, SegmentPosterior]
    """By segment name."""
    exposures: Sequence[Exposures] = ()
    """How often each arm was shown lately, where guardrails go by it."""
    active: tuple[str, ...] = field(init=False)
    """Arms that can be chosen, sorted; those that are switched off included."""
    follows: str = field(init=False)
    """The policy whose subjects it is to have some of; empty: none."""
    needs_context: bool = field(init=False)
    """Whether propensities depend on the context beyond its segment."""
    guards: Guards = field(init=False, repr=False)
    """The policy's guardrails, with the counts of this version."""
    estimates_of: Callable[[str, tuple[str, ...]], Estimates] = field(init=False, repr=False)
    """What is thought of some arms in a segment, where that depends on no context: asked again it is known."""
    _kept_weights: Callable[[str, tuple[str, ...]], Floats] = field(init=False, repr=False)
    _kept: Callable[[str, tuple[str, ...]], Guarded] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = {name: segment.counts for name, segment in self.segments.items()}
        guards = Guards(self.definition, counts, self.exposures)
        kept_weights = lru_cache(KEPT_VECTORS)(partial(_weights, self.model, self.segments, None))
        derived = {
            "active": tuple(sorted(self.definition.active_arms)),
            "follows": "" if self.definition.rollout is None else self.definition.rollout.of,
            "needs_context": ALGORITHMS[self.model.name].needs_context,
            "guards": guards,
            "_kept_weights": kept_weights,
            "estimates_of": lru_cache(KEPT_VECTORS)(partial(_estimates, self.model, self.segments)),
            "_kept": lru_cache(KEPT_VECTORS)(partial(_guarded, guards, kept_weights)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def propensities(self, segment: str, arms: tuple[str, ...], context_vector: NDArray[np.int16]) -> Floats:
        """Return the vector of `guarded` at the snapshot's own time."""
        return self.guarded(segment, arms, context_vector, self.event_time_ms)[0]

    def guarded(
        self,
        segment: str,
        arms: tuple[str, ...],
        context_vector: NDArray[np.int16],
        now_ms: int,
        candidates: Features = NO_FEATURES,
    ) -> Guarded:
        """Return the vector over `arms` that is drawn from, (K,), and the guardrails that changed something.

        A model without context computes it once for each (segment, arms). Raises KeyError for a segment or arm that
        isn't here, ValueError where the model has no answer.
        """
        if candidates:
            return exhausted(self.guarding(segment, arms, context_vector, now_ms, candidates))
        if self.needs_context:
            weights = _weights(self.model, self.segments, decode(context_vector), segment, arms)
        elif self.guards.is_timeless:
            return self._kept(segment, arms)
        else:
            weights = self._kept_weights(segment, arms)
        return self.guards.apply(segment, arms, weights, now_ms)

    def guarding(
        self,
        segment: str,
        arms: tuple[str, ...],
        context_vector: NDArray[np.int16],
        now_ms: int,
        candidates: Features,
    ) -> Pieces[Guarded]:
        """Do what `guarded` does of hundreds of candidates, in pieces."""
        posterior = self.segments[segment].of(arms, candidates)
        yield
        weights = self.model.probabilities(posterior, decode(context_vector))
        yield
        return self.guards.apply(segment, arms, weights, now_ms)


def load_snapshot(content: bytes | SnapshotContent) -> LoadedSnapshot:
    """Parse a snapshot: one record, or one with its parts.

    Raises:
        DecodeError: the bytes are no snapshot record.
        StateError: a record, but it contradicts itself or can't decide; a part is missing or not what its name says.
    """
    if isinstance(content, bytes):
        content = SnapshotContent(content)
    record = whole(content)
    try:
        definition = _definition(record)
        snapshot = LoadedSnapshot(
            policy=record["policy"],
            version=record["version"],
            id=snapshot_id(content.record),
            posterior_sha256=record["posterior_sha256"],
            event_time_ms=record["event_time_ms"],
            ledger_offsets={entry["partition"]: entry["offset"] for entry in record["ledger_offsets"]},
            definition=definition,
            model=model_for(definition.algorithm.name, definition.algorithm.parameters),
            segments={entry["segment"]: _segment(entry) for entry in record["segments"]},
            exposures=tuple(_exposures(entry, definition) for entry in record["exposures"]),
        )
        _try_out(snapshot)
    except Exception as error:  # numbers of a wrong shape or size make numpy raise this and that
        raise StateError(f"snapshot {record['policy']} version {record['version']}: {error!s}") from error
    return snapshot


def _weights(
    model: Model,
    segments: Mapping[str, SegmentPosterior],
    context: Floats | None,
    segment: str,
    arms: tuple[str, ...],
) -> Floats:
    return model.probabilities(segments[segment].of(arms), context)


def _estimates(
    model: Model, segments: Mapping[str, SegmentPosterior], segment: str, arms: tuple[str, ...]
) -> Estimates:
    return model.estimates(segments[segment].of(arms), None)


def _guarded(
    guards: Guards, weights: Callable[[str, tuple[str, ...]], Floats], segment: str, arms: tuple[str, ...]
) -> Guarded:
    propensities, acted = guards.apply(segment, arms, weights(segment, arms), 0)
    propensities.setflags(write=False)
    return propensities, acted


def _definition(record: Mapping[str, Any]) -> PolicyDefinition:
    text = record["definition"]
    found = sha256(text.encode()).hexdigest()
    if found != record["definition_hash"]:
        raise StateError(f"its definition has hash {found}, the record says {record['definition_hash']}")
    definition = _parsed(text)
    if definition.name != record["policy"]:
        raise StateError(f"its definition is that of policy {definition.name!r}")
    if definition.schema_hash != record["schema_hash"]:
        raise StateError(
            f"this release encodes contexts by feature schema {definition.schema_hash}, the snapshot was "
            f"made for {record['schema_hash']}: run the release that published it, or publish it anew"
        )
    return definition


@lru_cache(KEPT_DEFINITIONS)
def _parsed(text: str) -> PolicyDefinition:
    """Parse a definition: what takes most of a load, and is the same in almost every version of a policy."""
    return load_canonical_json(text, "definition")


def _segment(entry: Mapping[str, Any]) -> SegmentPosterior:
    arms = tuple(entry["arms"])
    posterior = Posterior.from_bytes(
        {array["name"]: ArrayBytes(tuple(array["shape"]), array["data"]) for array in entry["parameters"]}
    )
    index = {arm: place for place, arm in enumerate(arms)}
    if not len(index) == len(arms) == posterior.arm_count:
        raise StateError(
            f"segment {entry['segment']!r} has {posterior.arm_count} posteriors for the {len(arms)} arms {arms}"
        )
    return SegmentPosterior(arms, posterior, index, dict(zip(arms, entry["counts"], strict=True)))


def _exposures(entry: Mapping[str, Any], definition: PolicyDefinition) -> Exposures:
    counts = dict(zip(sorted(definition.arm_names), entry["counts"], strict=True))
    return Exposures(entry["window_ms"], entry["until_ms"], counts)


def _try_out(snapshot: LoadedSnapshot) -> None:
    """Decide once in every segment, which also keeps the vectors that are asked for most."""
    definition = snapshot.definition
    vector = np.zeros(definition.dimension, np.int16)
    vector[:1] = GRID_ONE
    for name, segment in snapshot.segments.items():
        missing = set(snapshot.active) - set(segment.arms)
        if missing:
            raise StateError(f"segment {name!r} has no posterior of the active arms {sorted(missing)}")
        # lin_ucb would answer from NaN too.
        if not all(np.isfinite(array).all() for array in segment.posterior.arrays().values()):
            raise StateError(f"segment {name!r} has parameters that are no finite numbers")
        snapshot.propensities(name, snapshot.active, vector)
        if definition.candidates is not None and segment.posterior.shared:
            # What is loaded when it is first used, such as compiled loops, is loaded now.
            brought = dict.fromkeys(("*1", "*2"), (0.0,) * len(definition.candidates.features))
            arms = tuple(sorted((*snapshot.active, *brought)))
            snapshot.guarded(name, arms, vector, snapshot.event_time_ms, brought)

"""A target that has learned: a published snapshot, or what a policy learns from the log itself.

Learned from the log and then evaluated on it, a policy would be praised for its memory. So the log is cut into
folds; for the decisions of a fold, the policy has learned from the others only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.evaluate.asking import ask, askable
from pipeline.evaluate.folds import FOLDS
from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.learn.memory import RowKey
from pipeline.models.grid import REWARD_LIMIT
from pipeline.models.model import Floats
from pipeline.models.sums.groups import GROUPS, group_for, group_name
from pipeline.models.sums.importance import ONE, columns_for, entries_of_many
from pipeline.models.sums.statistics import Statistics, fold
from pipeline.policy.contexts import name_contexts
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.policy.tallies import IMPORTANCE_ROW
from pipeline.publish.partials import Mark
from pipeline.publish.parts import SnapshotContent
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Situations:
    """The log's contexts as a policy learns from them."""

    segments: tuple[str, ...]
    """(N,) segment of each."""
    vectors: NDArray[np.int16]
    """(N, d)."""
    sound: NDArray[np.bool_]
    """(N,) whether the context could be encoded."""


def situations_of(definition: PolicyDefinition, log: DecisionLog) -> Situations:
    """Encode the log's raw contexts, and put each in the segment that the policy's rules name."""
    times_ms = log.decided_at_ms.tolist()
    encoded, errors = definition.features.encode_at(log.contexts, times_ms)
    sound = np.array([error is None for error in errors])
    if not sound.any():
        raise ConfigError(f"policy {definition.name}", [f"can't encode any of the log's contexts: {errors[0]}"])
    filled = map(definition.features.filled, log.contexts, times_ms)
    return Situations(tuple(map(definition.segments.segment_for, filled)), encoded, sound)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A target that decides as a serving node would (`asking.py`)."""

    name: str
    snapshots: tuple[LoadedSnapshot, ...]
    """One a fold, or one for all."""
    which: Indices
    """(N,) whose snapshot decides."""
    left_out: tuple[str, ...] = ()
    """What of the policy history can't tell."""
    switches: Switches | None = None
    """What is switched off now; None: what the snapshot's definition says."""

    def propensities(self, log: DecisionLog, rows: slice) -> Floats:
        """See `Target`."""
        start, stop, _ = rows.indices(len(log))
        chances = np.zeros((stop - start, len(log.arms)))
        index = {arm: place for place, arm in enumerate(log.arms)}
        for number, snapshot in enumerate(self.snapshots):
            places = (start + np.flatnonzero(self.which[rows] == number)).tolist()
            for place, made in zip(places, ask(snapshot, log, places, self.switches), strict=True):
                if made is not None:
                    chances[place - start, [index[arm] for arm in made.arms]] = made.vector
        return chances


def published(
    name: str, content: bytes | SnapshotContent, log: DecisionLog, switches: Switches | None = None
) -> Learned:
    """Return the target of a published snapshot; `switches` is what is switched off by now."""
    snapshot = load_snapshot(content)
    situations_of(snapshot.definition, log)  # a log of which it can encode nothing says nothing of it
    definition, left_out = askable(snapshot.definition)
    asked = replace(snapshot, definition=definition)
    return Learned(name, (asked,), np.zeros(len(log), np.int64), (*left_out, *_untold(definition, log)), switches)


def learned_elsewhere(
    name: str, definition: PolicyDefinition, log: DecisionLog, on_fold: Callable[[], None] = lambda: None
) -> Learned:
    """Return the target that a definition becomes when it learns from all of the log but the fold it is asked about.

    Raises:
        ConfigError: an arm of the log isn't one of the policy's, or a reward doesn't fit its bounds.
    """
    _check(definition, log)
    definition, left_out = askable(definition)
    which = log.folds
    situations = situations_of(definition, log)
    snapshots = []
    for held_out in range(FOLDS):
        snapshots.append(learn(definition, log, situations, which != held_out))
        on_fold()
    return Learned(name, tuple(snapshots), which, (*left_out, *_untold(definition, log)))


def learn(
    definition: PolicyDefinition, log: DecisionLog, situations: Situations, chosen: NDArray[np.bool_]
) -> LoadedSnapshot:
    """Fold chosen decisions of a log and publish, as the loop would."""
    rows = statistics_of(definition, log, situations, chosen)
    newest_ms = int(log.decided_at_ms[chosen].max()) if chosen.any() else 0
    marks = {0: Mark(int(chosen.sum()), newest_ms)}
    if definition.attribution.settle == "delay_corrected":  # all of a log has come
        definition = replace(definition, attribution=replace(definition.attribution, settle="wait"))
    return load_snapshot(build_snapshot(definition.for_rewards(), rows, marks, 1, ""))


def statistics_of(
    definition: PolicyDefinition, log: DecisionLog, situations: Situations, chosen: NDArray[np.bool_]
) -> list[tuple[RowKey, Statistics]]:
    """Return the exact statistics of chosen decisions whose contexts can be encoded."""
    places = np.flatnonzero(chosen & situations.sound)
    keys: dict[RowKey, int] = {}
    groups = np.empty(len(places), np.int64)
    for at, place in enumerate(places.tolist()):
        key = RowKey(
            definition.name,
            definition.generation,
            situations.segments[place],
            log.arms[log.arm[place]],
            int(log.decided_at_ms[place]) // definition.bucket_ms,
        )
        groups[at] = keys.setdefault(key, len(keys))
    grid = np.rint(np.ldexp(log.reward[places], definition.reward_exponent)).astype(np.int64)
    sums = fold(groups, len(keys), np.ones_like(grid), grid, grid * grid, situations.vectors[places])
    rows = [(key, Statistics(definition.dimension, sums[group])) for key, group in keys.items()]
    if definition.counts_groups:
        of = np.array([group_for(str(place)) for place in places.tolist()], np.int64)
        parted = fold(
            groups * GROUPS + of, len(keys) * GROUPS, np.ones_like(grid), grid, grid * grid, situations.vectors[places]
        )
        rows += [
            (key._replace(tally=group_name(part)), Statistics(definition.dimension, parted[group * GROUPS + part]))
            for key, group in keys.items()
            for part in range(GROUPS)
        ]
    if definition.counts_propensities:
        rows += _importance_of(log.propensity[places], grid, groups, list(keys))
    if definition.context_bits is not None:
        counts: dict[RowKey, list[int]] = {}
        of_group = list(keys)
        names = name_contexts(situations.vectors[places], definition.context_bits)
        for group, name, reward in zip(groups.tolist(), names, grid.tolist(), strict=True):
            row = counts.setdefault(of_group[group]._replace(tally=name), [0, 0])
            row[0] += 1
            row[1] += reward
        rows += [(key, Statistics(-len(row), np.array(row, np.int64))) for key, row in counts.items()]
    return sorted(rows, key=lambda row: row[0])


def _importance_of(
    propensities: Floats, rewards: Indices, groups: Indices, keys: Sequence[RowKey]
) -> list[tuple[RowKey, Statistics]]:
    """Return what decisions count for by 1 / propensity, in the rows beside those of `keys`."""
    sums = np.zeros((len(keys), columns_for(1)), np.int64)
    drawn = entries_of_many(propensities, np.full(len(rewards), float(ONE)))
    np.add.at(sums, groups, np.column_stack((drawn, entries_of_many(propensities, rewards.astype(np.float64)))))
    return [
        (key._replace(tally=IMPORTANCE_ROW), Statistics(-len(row), row)) for key, row in zip(keys, sums, strict=True)
    ]


def _untold(definition: PolicyDefinition, log: DecisionLog) -> list[str]:
    """Say in words what of a policy the decisions of another one don't tell."""
    kept = "that a person keeps its answer: what an arm earns that is shown again and again is not in the log"
    return [*([] if definition.assignment is None else [kept]), *_never_offered(definition, log)]


def _never_offered(definition: PolicyDefinition, log: DecisionLog) -> list[str]:
    offered = {log.arms[arm] for arm in np.flatnonzero(log.offered.any(axis=0)).tolist()}
    missing = sorted(set(definition.active_arms) - offered)
    return [f"its arms {', '.join(missing[:5])}, which the log never offered"] if missing else []


def _check(definition: PolicyDefinition, log: DecisionLog) -> None:
    faults = []
    shown = {log.arms[place] for place in np.unique(log.arm)}
    unknown = sorted(shown - definition.arm_set)
    if unknown:
        faults.append(f"arms {', '.join(unknown[:5])} of the log are not among its {len(definition.arm_names)} arms")
    largest = float(np.abs(log.reward).max())
    if np.ldexp(largest, definition.reward_exponent) > REWARD_LIMIT:
        low, high = definition.reward.low, definition.reward.high
        faults.append(f"a reward of {largest!r} in the log doesn't fit its bounds {low!r} to {high!r}")
    if faults:
        raise ConfigError(f"policy {definition.name}", faults)

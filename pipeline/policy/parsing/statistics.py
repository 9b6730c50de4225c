"""`[statistics]`: how finely decisions are told apart by time, and what else the algorithm wants counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.models import ALGORITHMS
from pipeline.models.model import AlgorithmInfo
from pipeline.policy.contexts import DEFAULT_CONTEXTS, MAX_CONTEXTS, bits_for, possible_contexts
from pipeline.policy.features import FeatureSchema
from pipeline.policy.parsing.section import Section


class Counting(NamedTuple):
    """What is told apart."""

    bucket_ms: int
    """Width of a bucket."""
    most_contexts: int | None
    """How many contexts there may be; None: they are not counted."""
    is_by_propensity: bool
    """Whether decisions count by 1 / propensity too."""
    is_by_group: bool
    """Whether they count by group too."""


def read_statistics(root: Section, algorithm: str, features: FeatureSchema) -> Counting:
    """Read what is counted."""
    section = root.section("statistics")
    bucket_ms = section.duration_ms("bucket", "1s", "365d", "1d")
    info = ALGORITHMS.get(algorithm)
    if info is None:  # of an algorithm that is not known, no key can be called wrong
        for key in ("contexts", "propensities", "groups"):
            section.has(key)
        section.finish()
        return Counting(bucket_ms, None, is_by_propensity=False, is_by_group=False)
    most = None
    if info.counts_contexts:
        most = _read_contexts(section, algorithm, features)
    elif section.has("contexts"):
        _refuse(section, "contexts", algorithm, [name for name, one in ALGORITHMS.items() if one.counts_contexts])
    _read_counted(section, "propensities", algorithm, lambda one: one.counts_propensities)
    _read_counted(section, "groups", algorithm, lambda one: one.counts_groups)
    section.finish()
    return Counting(bucket_ms, most, info.counts_propensities, info.counts_groups)


def _read_contexts(section: Section, algorithm: str, features: FeatureSchema) -> int:
    most = section.integer("contexts", 1, MAX_CONTEXTS, DEFAULT_CONTEXTS)
    if features.features and bits_for(features, most) is None:
        section.fault(
            "contexts",
            f"{most} is fewer than the {possible_contexts(features, 0)} that {len(features.features)} features can "
            f"make in whole steps, and {algorithm} keeps a row for each that comes; leave features out, raise it as "
            "far as memory allows, or choose linear_thompson or lin_ucb",
        )
    return most


def _read_counted(section: Section, key: str, algorithm: str, counts: Callable[[AlgorithmInfo], bool]) -> None:
    """Read the word that says it in a policy's text; what decides is the algorithm."""
    if not section.has(key):
        return
    counting = [name for name, one in ALGORITHMS.items() if counts(one)]
    if algorithm not in counting:
        _refuse(section, key, algorithm, counting)
    elif not section.flag(key, default=True):
        section.fault(key, f"is false, but {algorithm} counts by them; leave it out")


def _refuse(section: Section, key: str, algorithm: str, counting: list[str]) -> None:
    section.fault(key, f"is there, but {algorithm} counts none; leave it out, or choose {', '.join(counting)}")

"""`[statistics]`: how finely decisions are told apart by time, and by context where the algorithm wants that."""

from __future__ import annotations

from pipeline.models import ALGORITHMS
from pipeline.policy.contexts import DEFAULT_CONTEXTS, MAX_CONTEXTS, bits_for, possible_contexts
from pipeline.policy.features import FeatureSchema
from pipeline.policy.section import Section


def read_statistics(root: Section, algorithm: str, features: FeatureSchema) -> tuple[int, int | None]:
    """Read the width of a bucket in milliseconds, and the most contexts; None where they are not counted."""
    section = root.section("statistics")
    bucket_ms = section.duration_ms("bucket", "1s", "365d", "1d")
    info = ALGORITHMS.get(algorithm)
    if info is None or not info.counts_contexts:
        if info is not None and section.has("contexts"):
            counting = ", ".join(name for name, one in ALGORITHMS.items() if one.counts_contexts)
            section.fault("contexts", f"is there, but {algorithm} counts none; leave it out, or choose {counting}")
            section.integer("contexts", 1, MAX_CONTEXTS)
        section.finish()
        return bucket_ms, None
    most = section.integer("contexts", 1, MAX_CONTEXTS, DEFAULT_CONTEXTS)
    section.finish()
    if features.features and bits_for(features, most) is None:
        section.fault(
            "contexts",
            f"{most} is fewer than the {possible_contexts(features, 0)} that {len(features.features)} features can "
            f"make in whole steps, and {algorithm} keeps a row for each that comes; leave features out, raise it as "
            "far as memory allows, or choose linear_thompson or lin_ucb",
        )
    return bucket_ms, most

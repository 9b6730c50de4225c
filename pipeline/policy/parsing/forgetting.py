"""`[forgetting]` → `Forgetting`."""

from __future__ import annotations

from pipeline.models.sums.forgetting import Forgetting
from pipeline.policy.durations import duration_text
from pipeline.policy.parsing.section import Section

SHORTEST, LONGEST = "1s", "3650d"


def read_forgetting(root: Section, bucket_ms: int) -> Forgetting:
    """Read how old decisions fade; buckets of statistics are what it can tell apart."""
    section = root.section("forgetting")
    half_life_ms = section.duration_ms("half_life", SHORTEST, LONGEST) if section.has("half_life") else None
    window_ms = section.duration_ms("window", SHORTEST, LONGEST) if section.has("window") else None
    section.finish()
    if bucket_ms and window_ms and window_ms % bucket_ms:
        bucket = duration_text(bucket_ms)
        section.fault(
            "window",
            f'"{duration_text(window_ms)}" is not a whole number of the buckets of "{bucket}" that statistics are kept '
            "in; write a multiple, or set statistics.bucket (which begins a new generation)",
        )
    # A half-life of less than a bucket is one that nothing inside a bucket can follow.
    if bucket_ms and half_life_ms and half_life_ms < bucket_ms:
        section.fault(
            "half_life",
            f'"{duration_text(half_life_ms)}" is shorter than the buckets of "{duration_text(bucket_ms)}" that '
            "statistics are kept in; write that or more, or set statistics.bucket (which begins a new generation)",
        )
    return Forgetting(half_life_ms, window_ms)

"""Kept versions → each arm's share and P(best) over time, as columns that a chart is drawn from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.console.arms import LARGE, context_free_shares
from pipeline.console.versions import Kept
from pipeline.errors import PipelineError
from pipeline.models.beliefs import beliefs_of
from pipeline.serve.following.snapshot import LoadedSnapshot, load_snapshot

MAX_DRAWN = 8
"""Arms with a line of their own: as many as colours that are told apart; the others are one line together."""
OTHERS = "all others"
CONTEXT = (
    "This policy learns from context, and shows different visitors different arms: the lines are what was shown to "
    "those whose rewards came between two versions."
)

Point = dict[str, tuple[float, float | None]]
"""By arm: its share, and P(best) where it can be told."""


class Timeline(NamedTuple):
    """What is drawn."""

    at_s: list[float]
    """Epoch seconds of the versions."""
    versions: list[int]
    arms: list[str]
    """One line each."""
    share: list[list[float | None]]
    best: list[list[float | None]]
    changes: list[dict[str, Any]]
    """Lines across: where a definition or an order changed."""
    reason: str
    """Why something is not drawn, or is something else; empty: it is what it says."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return self._asdict()


def timeline_of(kept: Sequence[Kept], segment: str, point_of: Callable[[Kept, str], Point | None]) -> Timeline:
    """Return a segment's timeline.

    Args:
        kept: versions whose records are at hand, oldest first.
        segment: of the newest one's segments.
        point_of: what is drawn of one version, which may be known from before.
    """
    points = [(one, point) for one in kept if one.is_whole and (point := point_of(one, segment)) is not None]
    reason = "" if all(one.is_whole for one in kept) else "versions that are published in parts are not drawn"
    if not points:
        return Timeline([], [], [], [], [], [], reason or "no version is at hand yet")
    last = points[-1][1]
    ranked = sorted(last, key=lambda arm: (-last[arm][0], arm))
    named = ranked[:MAX_DRAWN]
    rest = len(ranked) > MAX_DRAWN
    share: list[list[float | None]] = [[None if arm not in p else p[arm][0] for _, p in points] for arm in named]
    best = [[None if arm not in p else p[arm][1] for _, p in points] for arm in named]
    if rest:
        share.append([sum(one for arm, (one, _) in p.items() if arm not in named) for _, p in points])
        best.append([_others_best(p, named) for _, p in points])
    return Timeline(
        [one.facts.published_at_ms / 1000 for one, _ in points],
        [one.facts.version for one, _ in points],
        [*named, OTHERS] if rest else named,
        share,
        best,
        [
            {"at_s": one.facts.published_at_ms / 1000, "words": one.facts.change, "version": one.facts.version}
            for one, _ in points
            if one.facts.change
        ],
        reason,
    )


def point_of(kept: Kept, segment: str) -> Point | None:
    """Work out one version; None: it has no such segment, or can't be told without context."""
    try:
        snapshot = load_snapshot(kept.record)
    except PipelineError:  # of a release that this one does not read: the others are drawn
        return None
    if segment not in snapshot.segments or snapshot.needs_context or not snapshot.active:
        return None
    shares = context_free_shares(snapshot, segment, snapshot.active)
    best = _best(snapshot, segment)
    return {
        arm: (float(shares[place]), None if best is None else best[place]) for place, arm in enumerate(snapshot.active)
    }


def shown_between(kept: Sequence[Kept], segment: str) -> dict[int, Point]:
    """Return by version what was shown between it and the one before, of what was counted: for any algorithm."""
    found: dict[int, Point] = {}
    before: dict[str, int] = {}
    for one in kept:
        if not one.is_whole:
            continue
        try:
            snapshot = load_snapshot(one.record)
        except PipelineError:
            continue
        if segment not in snapshot.segments:
            continue
        counts = dict(snapshot.segments[segment].counts)
        gained = {arm: max(0, count - before.get(arm, 0)) for arm, count in counts.items()}
        total = sum(gained.values())
        if before and total:
            found[one.facts.version] = {arm: (count / total, None) for arm, count in gained.items()}
        before = counts
    return found


def _best(snapshot: LoadedSnapshot, segment: str) -> list[float] | None:
    if len(snapshot.active) > LARGE:
        return None
    try:
        best: list[float] = beliefs_of(snapshot.segments[segment].of(snapshot.active)).best().tolist()
    except ValueError:
        return None
    return best


def _others_best(point: Point, named: Sequence[str]) -> float | None:
    rest = [best for arm, (_, best) in point.items() if arm not in named]
    return sum(one for one in rest if one is not None) if any(one is not None for one in rest) else None

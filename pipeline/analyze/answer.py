"""An analysis in three sentences: which arm for whom, whether context is worth it, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.analyze.convergence import DAY_MS, Wait
from pipeline.analyze.findings import Analysis, Effect, Estimated

SURELY = 0.05
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
NEARLY_ALL = 0.995
MOST_NAMED = 6
"""Levels of a field in a sentence."""


def sentences(found: Analysis) -> tuple[str, str, str]:
    """Return the three."""
    return _arm(found), _context(found), _missing(found)


def interval_text(one: Estimated, confidence: float, form: str = ".4g") -> str:
    """Write a value with its interval.

    >>> interval_text(Estimated(0.25, 0.2, 0.3), 0.95)
    '0.25 (95 %: 0.2 to 0.3)'
    """
    return f"{one.value:{form}} ({100.0 * confidence:.4g} %: {one.low:{form}} to {one.high:{form}})"


def _arm(found: Analysis) -> str:
    if found.personalise == "yes":
        effect = max(found.effects, key=lambda one: one.worth.value)
        return f"Show each visitor the arm by context: {_by_level(effect)}."
    best = found.arm_values[found.leader]
    earns = f"it earns {interval_text(best, found.confidence)} a decision"
    if not found.advice.may_stop:
        p_best = float(found.advice.best[found.arms.index(found.leader)])
        return (
            f"{found.leader} leads as the one arm for everybody, but is not sure yet (P(best) {p_best:.2f}): {earns}."
        )
    how = "the best" if found.advice.is_sure else "as good as any"
    return f"Show {found.leader} to everybody, it is {how} of the arms for all: {earns}."


def _by_level(effect: Effect) -> str:
    """Say which arm the visitors of each level are mostly shown."""
    shown: dict[str, list[str]] = {}
    for level in effect.levels[:MOST_NAMED]:
        arm, share = next(iter(level.shown.items()))
        shown.setdefault(arm, []).append(level.level if share > NEARLY_ALL else f"{level.level} (in {share:.0%})")
    rest = "" if len(effect.levels) <= MOST_NAMED else f", and so on for {len(effect.levels) - MOST_NAMED} levels more"
    return "; ".join(f"{arm} for {effect.field} {', '.join(levels)}" for arm, levels in shown.items()) + rest


def _context(found: Analysis) -> str:
    if not found.effects:
        return "Whether to personalise can't be said: nothing in the log tells one visitor from another."
    gain = f"{interval_text(found.gain, found.confidence, '+.4g')} a decision against the best arm for all"
    sure = [effect for effect in found.effects if effect.adjusted <= SURELY]
    differ = (
        f"the arms' effects differ by {', '.join(f'{one.field} (p = {one.adjusted:.2g})' for one in sure)}"
        if sure
        else "no field is shown to change which arm is better"
    )
    least, most = f"{found.least_gain:.3g}", f"{found.most_gain:.3g}"
    return {
        "yes": f"Personalise: it gains {gain}; {differ}.",
        "no": f"Do not personalise: it gains {most} a decision at most, and is worth it from {least} on; {differ}.",
        "not yet": f"Whether to personalise can't be said yet: what was learned gains {gain}, and there may be as much "
        f"as {most}, where {least} would be worth it; {differ}.",
    }[found.personalise]


def _missing(found: Analysis) -> str:
    parts = list(_waits(found))
    if found.left_out:
        parts.append(f"left out: {', '.join(found.left_out)}")
    if found.doubts:
        parts.append(f"doubtful is: {'; '.join(found.doubts)}")
    return f"Missing: {'; '.join(parts)}." if parts else "Nothing is missing for that."


def _waits(found: Analysis) -> Iterator[str]:
    if not found.effects:
        yield "a context with the decisions, of fields by which visitors differ"
    elif found.personalise == "not yet":
        yield f"{_wait_text(found.context_wait)} until context is surely worth it or surely not"
    if not found.advice.may_stop and found.personalise != "yes":
        yield f"{_wait_text(found.arm_wait)} until the one arm can be chosen"


def _wait_text(wait: Wait) -> str:
    if wait.decisions is None:
        return "more decisions than can be told"
    if wait.time_ms is None:
        return f"about {wait.decisions:,} decisions more (how long that takes is not known: the log has no times)"
    return f"about {wait.decisions:,} decisions more, {time_text(wait.time_ms)} of the present traffic,"


def time_text(time_ms: int) -> str:
    """Write a time as people say it, never less than it is.

    >>> time_text(40_000), time_text(5_400_000), time_text(3 * DAY_MS), time_text(20_000 * DAY_MS)
    ('a minute', '2 hours', '3 days', 'decades')
    """
    if time_ms > 10_000 * DAY_MS:
        return "decades"
    for unit_ms, one, many in ((DAY_MS, "a day", "days"), (HOUR_MS, "an hour", "hours")):
        if time_ms > unit_ms:
            return f"{-(-time_ms // unit_ms):,} {many}"
        if time_ms > 0.75 * unit_ms:
            return one
    minutes = -(-time_ms // MINUTE_MS)
    return "a minute" if minutes == 1 else f"{minutes} minutes"

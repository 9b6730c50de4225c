"""A tally and a definition → the report, as plain values that JSON and a table are made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erfc, isfinite, sqrt
from typing import Any

from pipeline.policy.definition import PolicyDefinition
from pipeline.report.lift import METHOD, Interval, Mean, lift_of
from pipeline.report.tally import GROUPS, HOLDOUT, POLICY, Earned, Tally

UNLIKELY = 0.001
MANY = 30


def report_of(definition: PolicyDefinition, tally: Tally, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is known of a policy's lift, with what was left out and what makes it doubtful."""
    means = {name: tally.groups[name].mean for name in GROUPS}
    lift = lift_of(means[POLICY], means[HOLDOUT])
    return {
        "policy": definition.name,
        "generation": definition.generation,
        "method": METHOD,
        "groups": {name: _mean(mean) for name, mean in means.items()},
        "lift": lift and {"difference": _interval(lift.difference), "relative": _interval(lift.relative)},
        "holdout_share": _share(definition, means),
        "arms": {name: _table(tally.groups[name].arms) for name in GROUPS},
        "segments": {name: _table(tally.groups[name].segments) for name in GROUPS},
        "reasons": dict(sorted(tally.reasons.items())),
        "guardrails": dict(sorted(tally.guardrails.items())),
        "open": tally.open_count,
        "unread": tally.unread,
        "without_subject": tally.without_subject,
        "doubts": [*left_out, *by_action(tally), *doubts(definition, means)],
    }


def by_action(tally: Tally) -> list[str]:
    """Say in words of how many decisions it isn't known whom they were made for."""
    total = sum(mean.decisions for mean in (group.mean for group in tally.groups.values()))
    if not tally.without_subject:
        return []
    words = (
        f"by action for {tally.without_subject:,} of {total:,} decisions, whose subject is not known: sent without, or "
        "older than `decisions` reaches. If those people came often, intervals are too narrow"
    )
    return [words]


def doubts(definition: PolicyDefinition, means: Mapping[str, Mean]) -> list[str]:
    """Say in words what a reader should know before believing the lift."""
    found = []
    if definition.guardrails.holdout is None:
        found.append("the policy declares no holdout: add [guardrails.holdout] share = 0.05 to measure its lift")
    small = [name for name in (POLICY, HOLDOUT) if 0 < means[name].subjects < MANY]
    found += [f"the {name} group has {means[name].subjects} subjects: the interval wants {MANY}" for name in small]
    share = _share(definition, means)
    if share["p_value"] is not None and share["p_value"] < UNLIKELY:
        found.append(
            f"{share['seen']:.2%} of the subjects are held out where {share['declared']:.2%} are declared "
            f"(p = {share['p_value']:.2g}): the share was changed, or the groups are not comparable"
        )
    return found


def _share(definition: PolicyDefinition, means: Mapping[str, Mean]) -> dict[str, float | None]:
    """Compare the share of subjects held out with the declared one: the normal approximation's two-sided p-value."""
    held, others = means[HOLDOUT].subjects, means[POLICY].subjects
    holdout, total = definition.guardrails.holdout, held + others
    if holdout is None or total == 0:
        return {"declared": None if holdout is None else holdout.share, "seen": None, "p_value": None}
    z = (held - total * holdout.share) / sqrt(total * holdout.share * (1.0 - holdout.share))
    return {"declared": holdout.share, "seen": held / total, "p_value": erfc(abs(z) / sqrt(2.0))}


def _mean(mean: Mean) -> dict[str, Any]:
    interval = _interval(mean.interval)
    value = mean.value if isfinite(mean.value) else None
    return {"subjects": mean.subjects, "decisions": mean.decisions, "mean_reward": value, "interval": interval}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval._asdict()


def _table(earned: Mapping[str, Earned]) -> dict[str, dict[str, float]]:
    total = sum(one.decisions for one in earned.values())
    return {
        name: {
            "decisions": one.decisions,
            "share": one.decisions / total,
            "mean_reward": one.reward / one.decisions,
        }
        for name, one in sorted(earned.items())
    }

"""A tally and a definition → the report, as plain values that JSON and a table are made of. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.policy.definition import PolicyDefinition
from pipeline.report.arms import doubts_of, table_of
from pipeline.report.interval import Group, Interval, interval_of, range_of
from pipeline.report.lift import METHOD, Stratum, lift_within
from pipeline.report.sample_ratio import always_p_value, p_value_now
from pipeline.report.tally import ANALYSIS, GROUPS, HOLDOUT, NO_SNAPSHOT, POLICY, Earned, Tally

UNLIKELY = 0.001
MANY_EVENTS = 5.0
LARGE_PART = 0.1


def report_of(
    definition: PolicyDefinition, tally: Tally, left_out: Sequence[str] = (), of: str = POLICY
) -> dict[str, Any]:
    """Return what is known of a policy's lift, with what was left out and what makes it doubtful.

    Args:
        definition: in force.
        tally: what its ledger holds.
        left_out: in words, what is not in it.
        of: the group that is held against the holdout: the policy's, or the analysis group alone.
    """
    groups = {name: tally.groups[name].group for name in GROUPS}
    everyone = sum((groups[name] for name in (POLICY, HOLDOUT, NO_SNAPSHOT)), Group.of([]))
    declared = (definition.reward.low, definition.reward.high)
    strata = tally.strata_of(of)
    lift = lift_within(list(strata.values()), declared)
    share = _share(definition, tally)
    return {
        "policy": definition.name,
        "generation": definition.generation,
        "unit": tally.unit,
        "method": METHOD.format(unit=tally.unit),
        "groups": {name: _mean(group, everyone, declared) for name, group in groups.items()},
        "lift_of": of,
        "lift": lift
        and {
            "difference": _interval(lift.difference),
            "relative": _interval(lift.relative),
            "always": _interval(lift.always),
        },
        "strata": [_stratum(*one) for one in strata.items()],
        "holdout_share": share,
        "arms": {name: table_of(tally.groups[name].arms, declared) for name in GROUPS},
        "segments": {name: _table(tally.groups[name].segments) for name in GROUPS},
        "reasons": dict(sorted(tally.reasons.items())),
        "guardrails": dict(sorted(tally.guardrails.items())),
        "undecodable": dict(sorted(tally.undecodable.items())),
        "open": tally.open_count,
        "unread": tally.unread,
        "without_subject": tally.without_subject,
        "doubts": [
            *left_out,
            *_doubts_of_groups(definition, groups, of),
            *_doubts_of_strata(strata.values()),
            *_doubts_of_subjects(tally),
            *_doubts_of_share(share),
            *doubts_of(tally.groups[POLICY].arms),
        ],
    }


def _doubts_of_groups(definition: PolicyDefinition, groups: Mapping[str, Group], of: str) -> list[str]:
    """Say in words what a reader should know before believing the lift, and what is missing."""
    found = []
    if definition.guardrails.holdout is None:
        found.append("the policy declares no holdout: add [guardrails.holdout] share = 0.05 to measure its lift")
    if of == ANALYSIS and not groups[ANALYSIS].subjects:
        found.append("no decision is of an analysis group: add [analysis] share = 0.05 to have one from then on")
    for name in (of, HOLDOUT):
        group = groups[name]
        if not group.subjects:
            continue
        above = group.earned - definition.reward.low * group.decisions
        total = float(above.sum())
        events = total**2 / float(above @ above) if total > 0.0 else 0.0
        if events < MANY_EVENTS:
            found.append(
                f"the {name} group is worth {events:.1f} rewards of one size: below {MANY_EVENTS:g} its interval "
                "covers more than it says, and wants more traffic"
            )
        elif float(above.max()) > LARGE_PART * total:
            found.append(f"one subject earned {float(above.max()) / total:.0%} of what the {name} group did")
    return found


def _doubts_of_strata(strata: Collection[Stratum]) -> list[str]:
    alone = sum(one.decisions for one in strata if not one.is_comparable)
    if not alone or len(strata) == 1:
        return []
    why = "under the holdout's share of that time there were no two subjects in each group"
    return [f"{alone:,.0f} decisions are not compared: {why}"]


def _stratum(share: float | None, stratum: Stratum) -> dict[str, Any]:
    return {
        "share": share,
        "decisions": {
            POLICY: int(stratum.policy.decisions.sum()),
            HOLDOUT: int(stratum.holdout.decisions.sum()),
        },
        "is_compared": stratum.is_comparable,
    }


def _doubts_of_subjects(tally: Tally) -> list[str]:
    found = []
    if tally.without_subject:
        found.append(
            f"by action for {tally.without_subject:,} of {tally.decisions:,} decisions, whose subject is not known: "
            "sent without, or older than `decisions` reaches. If those people came often, intervals are too narrow"
        )
    if tally.in_both:
        found.append(f"{tally.in_both:,} subjects were held out for a part of the time, and count in both groups")
    return found


def _doubts_of_share(share: Mapping[str, Any]) -> list[str]:
    always = share["p_value_always"]
    if always is None or always >= UNLIKELY:
        return []
    seen, expected = share["seen"], share["expected"]
    words = f"{seen:.2%} of the subjects are held out where {expected:.2%} were to be (p = {always:.2g} at any look)"
    return [f"{words}: the groups are not comparable"]


def _share(definition: PolicyDefinition, tally: Tally) -> dict[str, float | None]:
    """Compare the share of subjects held out with the declared ones."""
    holdout = definition.guardrails.holdout
    splits = tally.splits(0.0 if holdout is None else holdout.share)
    total = sum(split.subjects for split in splits.values())
    declared = None if holdout is None else holdout.share
    if not total:
        return {"declared": declared, "expected": None, "seen": None, "p_value": None, "p_value_always": None}
    return {
        "declared": declared,
        "expected": sum(share * split.subjects for share, split in splits.items()) / total,
        "seen": sum(split.held_out for split in splits.values()) / total,
        "p_value": p_value_now(splits),
        "p_value_always": always_p_value(splits),
    }


def _mean(group: Group, everyone: Group, declared: tuple[float, float]) -> dict[str, Any]:
    counts = {"subjects": group.subjects, "decisions": int(group.decisions.sum())}
    if group.subjects < 2:
        return {**counts, "mean_reward": group.mean if group.subjects else None, "interval": None}
    interval = interval_of(group, range_of(everyone, declared), declared, is_exact=True)
    return {**counts, "mean_reward": group.mean, "interval": _interval(interval)}


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

"""`[assignment]`: one answer per person, and what would break that."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import cast, get_args

from pipeline.policy.assignment import FOR_EVER, SNAPSHOT, SUBJECT, Anonymous, Assignment
from pipeline.policy.definition import Candidates
from pipeline.policy.durations import duration_text, parse_duration_ms
from pipeline.policy.features import FeatureSchema
from pipeline.policy.guardrails import Guardrails
from pipeline.policy.kinds import ClockFeature
from pipeline.policy.parsing.guardrails import read_salt
from pipeline.policy.parsing.section import NAME, NAME_RULE, Section
from pipeline.policy.render_value import shown
from pipeline.policy.segments import Segmentation

MOST_CONSTANT = 100
SHORTEST, LONGEST = "1m", "366d"


def read_assignment(
    root: Section,
    features: FeatureSchema,
    segments: Segmentation,
    guardrails: Guardrails,
    candidates: Candidates | None,
    publish_interval_ms: int,
) -> Assignment | None:
    """Read it, and note whatever in the policy would give a person another answer within an epoch."""
    if not root.has("assignment"):
        return None
    section = root.section("assignment")
    faults_before = len(section.faults)
    section.choice(
        "sticky",
        (SUBJECT,),
        SUBJECT,
        f'"{SUBJECT}": whatever people are told apart by is sent as the request\'s subject',
    )
    anonymous = cast("Anonymous", section.choice("anonymous", get_args(Anonymous), "refuse"))
    assignment = Assignment(_read_epoch(section), _read_constant(section), anonymous, read_salt(section))
    section.finish()
    if len(section.faults) == faults_before:  # what was not read can't contradict anything
        for key, fault in chain(
            _moved_by_context(assignment, features, segments),
            _moved_by_rules(assignment.epoch, guardrails, candidates, publish_interval_ms),
        ):
            section.fault(key, fault)
    return assignment


def _read_epoch(section: Section) -> str | int:
    expected = f'"{SNAPSHOT}", "{FOR_EVER}", or a duration from "{SHORTEST}" to "{LONGEST}"'
    given = section.raw.get("epoch")
    if isinstance(given, str) and parse_duration_ms(given) is not None:
        return section.duration_ms("epoch", SHORTEST, LONGEST)
    return section.choice("epoch", (SNAPSHOT, FOR_EVER), expected=expected)


def _read_constant(section: Section) -> tuple[str, ...]:
    names = section.items("constant", 0, MOST_CONSTANT, f"an array of names of context fields, each {NAME_RULE}")
    for place, name in enumerate(names):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            section.fault(f"constant[{place}]", f"{shown(name)} is not a field's name; write {NAME_RULE}")
    return tuple(sorted({str(name) for name in names}))


def _moved_by_context(
    assignment: Assignment, features: FeatureSchema, segments: Segmentation
) -> Iterator[tuple[str, str]]:
    """Say which fields may change from one request of a person to the next, and would change the answer."""
    clocks = {feature.name for feature in features.features if isinstance(feature, ClockFeature)}
    read = {condition.field for rule in segments.rules for condition in rule.conditions}
    read |= {feature.name for feature in features.features}
    for name in sorted(clocks):
        yield "", f"the answer depends on {name}, which a clock shows and so changes: leave that feature out"
    for name in sorted(read - clocks - {*assignment.constant}):
        words = f"the answer depends on {name}, which may change between two requests of a person: name it here if it"
        yield (
            "constant",
            f"{words} stays the same as long as an epoch lasts, else leave it out of segments and features",
        )


def _moved_by_rules(
    epoch: str | int, guardrails: Guardrails, candidates: Candidates | None, publish_interval_ms: int
) -> Iterator[tuple[str, str]]:
    """Say which rules would change the answer, or wait for what does not come."""
    if candidates is not None:
        yield "", "arms that come with a request can't be kept for a person: leave out [candidates]"
    if guardrails.frequency is not None:
        yield "", "guardrails.frequency takes an arm from a person that is kept for it: leave one of the two out"
    if guardrails.caps or guardrails.budget is not None:
        yield "", "guardrails.caps and guardrails.budget move with what was shown, and answers stay: leave them out"
    stale_ms = guardrails.stale_after_ms
    if stale_ms and (epoch == FOR_EVER or (isinstance(epoch, int) and stale_ms <= epoch)):
        yield "epoch", "an epoch has one snapshot, and guardrails.stale_after ends before it does: make it longer"
    if isinstance(epoch, int) and publish_interval_ms > epoch:
        words = f'"{duration_text(epoch)}" is shorter than publish.interval, "{duration_text(publish_interval_ms)}"'
        yield "epoch", f"{words}: an epoch begins with a snapshot, make it as long at least"

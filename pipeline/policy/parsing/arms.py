"""`[[arms]]` → the arms."""

from __future__ import annotations

from pipeline.models.sums.weighted import ArmPrior
from pipeline.policy.definition import Arm
from pipeline.policy.parsing.section import NAME, NAME_RULE, Section, note_repeats
from pipeline.policy.render_value import shown
from pipeline.policy.reward import RewardRules

MAX_ARMS = 10_000
MAX_FEATURES = 64
MAX_PRIOR_WEIGHT = 1e6
# As the entries of a context vector: what is learned of an arm's feature is the weight of a number near 1.
FEATURE_BOUND = 8.0


def read_arms(root: Section, reward: RewardRules) -> tuple[Arm, ...]:
    """Read the arms in order; all have the same features."""
    sections = root.sections("arms", 1, MAX_ARMS)
    arms = tuple(_read_arm(section, reward) for section in sections)
    note_repeats([(section, arm.name) for section, arm in zip(sections, arms, strict=True)], "name")
    if arms and all(arm.retired for arm in arms):
        root.fault("arms", f"all {len(arms)} are retired; leave at least one to choose")
    for section, arm in zip(sections[1:], arms[1:], strict=True):
        expected, seen = ([name for name, _ in one.features] for one in (arms[0], arm))
        if seen != expected:
            section.fault("features", f"are {seen}, those of arms[0] are {expected}; give all arms the same ones")
    return arms


def _read_arm(section: Section, reward: RewardRules) -> Arm:
    arm = Arm(
        section.name("name"),
        section.flag("retired", default=False),
        _read_prior(section.section("prior"), reward) if section.has("prior") else None,
        _read_features(section.section("features")),
    )
    section.finish()
    return arm


def _read_prior(section: Section, reward: RewardRules) -> ArmPrior:
    """Read what is known beforehand; its spread is the widest that a reward of that mean can have."""
    low, high = reward.low, reward.high
    expected = f"a number from {low!r} to {high!r}, the bounds of the reward"
    mean = section.number("mean", expected=expected, accepts=lambda x: low <= x <= high)
    expected = f"a number of decisions above 0, up to {MAX_PRIOR_WEIGHT:g}"
    weight = section.number("weight", expected=expected, accepts=lambda x: 0.0 < x <= MAX_PRIOR_WEIGHT)
    section.finish()
    return ArmPrior(mean, weight, (mean - low) * (high - mean))


def _read_features(section: Section) -> tuple[tuple[str, float], ...]:
    if len(section.raw) > MAX_FEATURES:
        section.fault("", f"has {len(section.raw)} entries, expected at most {MAX_FEATURES}")
        return ()
    for name in section.raw:
        if not NAME.fullmatch(name):
            section.fault(name, f"{shown(name)} is not a name; write {NAME_RULE}")
    expected = f"a number within ±{FEATURE_BOUND:g}"
    return tuple(
        (name, section.number(name, expected=expected, accepts=lambda x: abs(x) <= FEATURE_BOUND))
        for name in sorted(section.raw)
    )

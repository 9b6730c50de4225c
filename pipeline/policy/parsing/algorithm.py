"""`[algorithm]` → `Algorithm`, and what an algorithm asks of the rest of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.models import ALGORITHMS, AUTO, chosen_by
from pipeline.models.model import AlgorithmInfo, Parameter
from pipeline.models.regressions.hybrid import MAX_SHARED
from pipeline.policy.definition import Algorithm, Arm
from pipeline.policy.features import FeatureSchema
from pipeline.policy.parsing.section import Section
from pipeline.policy.reward import RewardRules


def read_algorithm(root: Section, features: FeatureSchema, reward: RewardRules, arms: Sequence[Arm]) -> Algorithm:
    """Read the algorithm with all its parameters but implied defaults, and check that features and reward suit it.

    `auto` is read as the rule that it is for this policy: what is stored and shown names it.
    """
    section = root.section("algorithm")
    name = section.choice("name", (AUTO, *ALGORITHMS))
    is_auto = name == AUTO
    if is_auto:
        name = chosen_by(has_context=bool(features.features or root.raw.get("context")))
    info = ALGORITHMS.get(name)
    if info is None:  # without a name, no key can be called unknown
        return Algorithm(name, {})
    read = {key: _read_parameter(section, key, one) for key, one in info.parameters.items()}
    if is_auto and features.encoder is not None and features.encoder.random:
        read["wide"] = float(features.encoder.random)
    section.finish()
    parameters = {key: value for key, value in read.items() if not _goes_without_saying(value, info.parameters[key])}
    # Features that are there, but faulty, have been named already.
    if info.needs_context and not features.features and not root.raw.get("context"):
        root.fault("context", f"has no feature, but {name} learns from features; add one under [[context]]")
    _check_wide(section, parameters, features)
    entries = (1 + max((len(arm.features) for arm in arms), default=0)) * features.dimension
    if info.learns_across_arms and entries > MAX_SHARED:
        root.fault(
            "arms",
            f"1 + {entries // features.dimension - 1} features of the arms times {features.dimension} entries of the "
            f"context vector are {entries} that arms share, expected at most {MAX_SHARED}; leave features out",
        )
    if info.needs_unit_reward and (reward.low < 0.0 or reward.high > 1.0):
        root.fault(
            "reward",
            f"bounds {reward.low!r} to {reward.high!r} are not within 0 to 1, as {name} needs; "
            f"scale the worths, or choose one of {', '.join(_of_any_reward(info))}",
        )
    if info.needs_nonnegative_reward and reward.low < 0.0:
        root.fault(
            "reward.low",
            f"{reward.low!r} is below 0, and {name} counts; choose one of {', '.join(_of_any_reward(info))}",
        )
    if info.counts_contexts and reward.is_weighted:
        root.fault(
            "reward.combine",
            f'"weighted" counts kinds apart, and {name} counts contexts by one reward; combine otherwise, or choose '
            "linear_thompson or lin_ucb",
        )
    if info.counts_groups and reward.is_weighted:
        root.fault(
            "reward.combine",
            f'"weighted" counts kinds apart, and {name} counts groups by one reward; combine otherwise, or choose '
            "linear_thompson or lin_ucb",
        )
    return Algorithm(name, parameters)


def _check_wide(section: Section, parameters: Mapping[str, float], features: FeatureSchema) -> None:
    wide = parameters.get("wide", 0.0)
    if wide >= max(features.dimension, 1):
        what = f"{wide:.0f} entries of {features.dimension}, expected fewer: those of `[encoder] random` at most"
        section.fault("wide", what)


def _goes_without_saying(value: float, parameter: Parameter) -> bool:
    return parameter.is_implied and value == parameter.default


def _of_any_reward(like: AlgorithmInfo) -> list[str]:
    """Return the algorithms that take any reward, of those that need a context or of those that don't."""
    return [
        name
        for name, info in ALGORITHMS.items()
        if info.needs_context == like.needs_context and not (info.needs_unit_reward or info.needs_nonnegative_reward)
    ]


def _read_parameter(section: Section, key: str, parameter: Parameter) -> float:
    return section.number(
        key,
        parameter.default,
        f"a number from {parameter.low:g} to {parameter.high:g} ({parameter.meaning})",
        lambda x: parameter.low <= x <= parameter.high,
    )

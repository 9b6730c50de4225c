"""An environment's setting → the definition of a policy for it."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.durations import duration_text
from pipeline.policy.parsing.parse import parse_policy
from pipeline.simulate.environment import Setting

KIND = "reward"
"""The one kind of outcome there is in a simulation."""


def definition_for(
    setting: Setting,
    algorithm: str,
    parameters: Mapping[str, float],
    *,
    floor: float | None = None,
    settle: str = "optimistic",
    others: Mapping[str, object] | None = None,
) -> PolicyDefinition:
    """Return a policy of one algorithm for an environment; `others` are further tables of the policy file.

    Without a floor it has what a file without one has.

    Raises:
        ConfigError: the algorithm does not suit the environment, or a parameter is wrong.
    """
    extras = setting.arm_parts or ({},) * len(setting.arms)
    window = {"window": duration_text(setting.window_ms)}
    alone = {"kind": KIND, "worth": 1.0, "times_value": True, "value_low": setting.low, "value_high": setting.high}
    outcomes = [{**kind, **window} for kind in setting.kinds or (alone,)]
    info = ALGORITHMS.get(algorithm)
    is_apart = setting.kinds and info is not None and not (info.counts_contexts or info.counts_groups)
    plain: dict[str, object] = {
        "name": algorithm,
        "arms": [{"name": name, **extra} for name, extra in zip(setting.arms, extras, strict=True)],
        "algorithm": {"name": algorithm, **parameters},
        "reward": {
            "low": setting.low,
            "high": setting.high,
            "combine": "weighted" if is_apart else "sum",
            "outcomes": outcomes,
        },
        "attribution": {"settle": settle},
        "exploration": {} if floor is None else {"floor": floor},
        **(others or {}),
    }
    if setting.features:
        plain["context"] = [dict(feature) for feature in setting.features]
    if setting.segments:
        plain["segments"] = dict(setting.segments)
    return parse_policy(plain, f"policy {algorithm}")


def check_suits(definition: PolicyDefinition, setting: Setting) -> None:
    """Refuse a policy that can't play in an environment.

    Raises:
        ConfigError: its arms are others, its rewards have other bounds, or it doesn't know a kind of outcome.
    """
    faults = []
    if definition.arm_set != frozenset(setting.arms):
        seen, expected = ", ".join(definition.arm_names[:5]), ", ".join(setting.arms[:5])
        faults.append(f"its {len(definition.arm_names)} arms are {seen} …, the environment's are {expected} …")
    if setting.kinds:
        unknown = sorted(
            {str(kind["kind"]) for kind in setting.kinds} - {rule.kind for rule in definition.reward.outcomes}
        )
        if unknown:
            faults.append(f"it has no outcomes of kind {', '.join(unknown)}, which come in the environment")
    elif setting.low < definition.reward.low or setting.high > definition.reward.high:
        low, high = definition.reward.low, definition.reward.high
        faults.append(f"its rewards lie in [{low}, {high}], the environment's in [{setting.low}, {setting.high}]")
    if faults:
        raise ConfigError(f"policy {definition.name}", faults)

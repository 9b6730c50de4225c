"""`ALGORITHM[:PARAMETER=NUMBER,…]`: the short way to name a policy for an environment.

Beside the algorithm's own parameters, `half_life`, `window` and `bucket` say in seconds how it forgets; in most
environments a decision is made every second. `contexts` says how many are told apart, where they are counted, and
`worth.KIND` what one outcome of a kind is worth to the policy, where the environment has several.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS, AUTO
from pipeline.policy.definition import PolicyDefinition
from pipeline.simulate.environment import Setting
from pipeline.simulate.setting import definition_for

_WORTH = "worth."
_BUCKET_S = 50.0
"""What forgetting can tell apart, where nobody says otherwise."""


def parse_spec(spec: str) -> tuple[str, dict[str, float]]:
    """Return the algorithm and its parameters.

    Raises:
        ConfigError: that isn't how it is written.

    >>> parse_spec("lin_ucb:alpha=0.5,ridge=2")
    ('lin_ucb', {'alpha': 0.5, 'ridge': 2.0})
    """
    name, _, rest = spec.partition(":")
    parameters = {}
    for pair in filter(None, rest.split(",")):
        key, equals, text = pair.partition("=")
        try:
            parameters[key] = float(text)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"policy {spec!r}", [f"{pair!r} is no PARAMETER=NUMBER, as in lin_ucb:alpha=0.5"])
    return name, parameters


def definition_of(spec: str, setting: Setting, *, floor: float | None, settle: str) -> PolicyDefinition:
    """Return the policy of a spec for an environment.

    Raises:
        ConfigError: there is no such algorithm, or it doesn't suit the environment.
    """
    name, parameters = parse_spec(spec)
    if name not in (AUTO, *ALGORITHMS):
        raise ConfigError(
            f"policy {spec!r}", [f"{name!r} is none of {', '.join((AUTO, *ALGORITHMS))}, and no FILE.toml"]
        )
    forgetting = {key: _duration(parameters.pop(key)) for key in ("half_life", "window") if key in parameters}
    others: dict[str, object] = {"forgetting": forgetting} if forgetting else {}
    statistics: dict[str, object] = {}
    if forgetting or "bucket" in parameters:
        statistics["bucket"] = _duration(parameters.pop("bucket", _BUCKET_S))
    if "contexts" in parameters:
        statistics["contexts"] = round(parameters.pop("contexts"))
    if statistics:
        others["statistics"] = statistics
    setting = _with_worths(setting, parameters)
    return definition_for(setting, name, parameters, floor=floor, settle=settle, others=others)


def _with_worths(setting: Setting, parameters: dict[str, float]) -> Setting:
    """Take the worths of kinds out of the parameters, into the setting."""
    kinds = []
    for kind in setting.kinds:
        key = f"{_WORTH}{kind['kind']}"
        kinds.append({**kind, "worth": parameters.pop(key)} if key in parameters else kind)
    if unknown := [key for key in parameters if key.startswith(_WORTH)]:
        known = ", ".join(f"{_WORTH}{kind['kind']}" for kind in setting.kinds) or "none: it tells rewards alone"
        raise ConfigError("policy", [f"{unknown[0]} is none of the environment's kinds: {known}"])
    return replace(setting, kinds=tuple(kinds))


def _duration(seconds: float) -> str:
    return f"{round(seconds)}s"


def suitable(setting: Setting) -> list[str]:
    """Return the algorithms that suit an environment with their defaults."""
    found = []
    for name in ALGORITHMS:
        try:
            definition_for(setting, name, {})
        except ConfigError:
            continue
        found.append(name)
    return found

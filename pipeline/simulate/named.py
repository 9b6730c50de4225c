"""An environment by its name, or by `module:Class` for one of your own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from inspect import Parameter, signature

from pipeline.errors import ConfigError
from pipeline.simulate.environment import Environment
from pipeline.simulate.environments import ENVIRONMENTS

METHODS = ("setting", "reset", "context", "reward", "best")


def environment_for(name: str, options: Mapping[str, str]) -> Environment:
    """Make an environment; options are the arguments of its class, numbers where its defaults are numbers.

    Raises:
        ConfigError: there is none of this name, or it can't be made so.
    """
    path = ENVIRONMENTS.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        known = ", ".join(ENVIRONMENTS)
        raise ConfigError(f"environment {name!r}", [f"is none of {known}; for one of your own write module:Class"])
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"environment {name!r}", [f"can't be loaded: {error}"]) from error
    try:
        made: Environment = kind(**_arguments(kind, name, options))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"environment {name!r}", [str(error)]) from error
    missing = [method for method in METHODS if not hasattr(made, method)]
    if missing:
        raise ConfigError(
            f"environment {name!r}", [f"has no {', '.join(missing)}: see pipeline/simulate/environment.py"]
        )
    return made


def _arguments(kind: type, name: str, options: Mapping[str, str]) -> dict[str, object]:
    accepted = signature(kind).parameters
    arguments: dict[str, object] = {}
    for key, text in options.items():
        parameter = accepted.get(key)
        if parameter is None:
            known = ", ".join(accepted) or "none"
            raise ConfigError(f"environment {name!r}", [f"has no option {key!r}; it has {known}"])
        is_number = parameter.default is not Parameter.empty and isinstance(parameter.default, int | float)
        arguments[key] = type(parameter.default)(text) if is_number else text
    return arguments

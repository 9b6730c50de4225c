"""`[rollout]` and `[killed]`: what operators turn while a policy runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from pipeline.errors import ConfigError
from pipeline.policy.definition import Arm
from pipeline.policy.figure_condition import APPRENTICE_FIGURES, UNTIL, parse_condition
from pipeline.policy.guardrails import Rollout, RolloutMode, Switches
from pipeline.policy.parsing.guardrails import read_arms, read_salt
from pipeline.policy.parsing.section import Section
from pipeline.policy.render_value import shown


def read_rollout(root: Section, name: str) -> Rollout | None:
    """Read which policy this one follows."""
    if not root.has("rollout"):
        return None
    section = root.section("rollout")
    of = section.name("of")
    if of and of == name:
        section.fault("of", f'"{of}" is this policy itself; name the one that it is to follow')
    share = section.number("share", expected="a number from 0 to 1", accepts=lambda x: 0.0 <= x <= 1.0)
    mode = cast("RolloutMode", section.choice("mode", get_args(RolloutMode), "serve"))
    salt = read_salt(section)
    until = _read_mark(section) if section.has("until") or mode == "apprentice" else ""
    section.finish()
    return Rollout(of, share, mode, salt, until)


def _read_mark(section: Section) -> str:
    """Read what an apprentice is to meet."""
    text = section.raw.get("until", UNTIL)
    if not isinstance(text, str):
        section.fault("until", f'{shown(text)} is not a condition such as "{UNTIL}"')
        return ""
    try:
        parse_condition(text, APPRENTICE_FIGURES, "until")
    except ConfigError as error:
        section.fault("until", "; ".join(error.faults))
    return text


def read_switches(root: Section, arms: Sequence[Arm]) -> Switches:
    """Read what is switched off; `pipeline policy kill` writes it."""
    section = root.section("killed")
    is_killed = section.flag("policy", default=False)
    names = [arm.name for arm in arms]
    killed = read_arms(section, "arms", names) if section.has("arms") and section.raw.get("arms") != [] else ()
    section.finish()
    return Switches(is_killed, killed)

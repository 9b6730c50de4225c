"""`pipeline policy promote` and `pipeline policy ramp`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.cli.control import change_policy, halt_ramp
from pipeline.cli.step_evidence import Evidence, Pair, find_pair, gather_evidence
from pipeline.errors import ConfigError, UnavailableError
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.durations import parse_duration_ms
from pipeline.policy.figure_condition import UNTIL, parse_condition
from pipeline.policy.halt import Halt
from pipeline.policy.operations import rolled_out
from pipeline.rollout.ramp import Move, Named, Rules, next_lesson, next_move
from pipeline.stream.security import Address

UP = "lift.low > 0"
PAUSE = ("srm.p_value < 0.001",)
BACK = ("lift.high < 0",)
REFUSED = ("pause", "back", "halted")
"""Moves that are a no: exit code 1."""


class Percents(click.ParamType):
    """Rising shares in percent."""

    name = "percents"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return shares."""
        try:
            return tuple(float(part) / 100.0 for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of percents such as 5,20,50,100", param, ctx)


class Conditions(click.ParamType):
    """A condition; in an environment variable several stand with `;` between them."""

    name = "condition"
    envvar_list_splitter = ";"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is written; it is read when it is known which figures there are."""
        del param, ctx
        return str(value)


class Span(click.ParamType):
    """A duration, such as 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = parse_duration_ms(str(value))
        if not found:
            self.fail(f"{value!r} is no duration such as 30m or 1h", param, ctx)
        return found / 1000.0


up_if = click.option(
    "--if",
    "up",
    envvar="PIPELINE_RAMP_IF",
    default=UP,
    show_default=True,
    metavar="CONDITION",
    help="What must hold. A name that there is not is answered by those that there are. [PIPELINE_RAMP_IF]",
)
pause_if = click.option(
    "--pause-if",
    "pause",
    envvar="PIPELINE_RAMP_PAUSE_IF",
    type=Conditions(),
    multiple=True,
    default=PAUSE,
    show_default=True,
    metavar="CONDITION",
    help="Goes no further where it holds; may be given again. [PIPELINE_RAMP_PAUSE_IF]",
)
yes = click.option("--yes", is_flag=True, help="Do it; if not given, it is only said what would be done.")


@click.command()
@options.broker_address
@click.argument("name", metavar="NEW")
@up_if
@pause_if
@yes
@options.as_json
@options.audited
def promote(
    broker: Address, name: str, up: str, pause: tuple[str, ...], yes: bool, as_json: bool, by: Operator
) -> None:
    """Let a policy decide for all subjects of the one that it follows, if that is proven. Exit code 1 if it is not.

    The proof is the lift of the present share's subjects over the others, as `pipeline report` tells it: an interval
    that may be looked at every day.

    \b
    Example:
      pipeline policy promote homepage-v2 --if "lift.low > 0"
      pipeline policy promote homepage-v2 --if "lift.low > -0.001 and subjects.new >= 10000" --yes
    """
    pair = asyncio.run(find_pair(broker, name))
    if pair.is_apprentice:
        fault = "it is an apprentice, and nobody is shown what it decides: pipeline policy ramp"
        raise ConfigError(f"policy {name}", [f"{fault} {name} looks whether it has met its mark"])
    share = pair.rollout.share
    if share <= 0.0:
        fault = f"it decides for nobody, so nothing can be proven: pipeline policy ramp {name} --yes"
        raise ConfigError(f"policy {name}", [fault])
    rules = _rules(pair, (share, 1.0) if share < 1.0 else (1.0,), up, pause, ())
    evidence = asyncio.run(_gather(broker, pair))
    move = next_move(share, evidence.figures, rules)
    if move.act == "up" and yes:
        asyncio.run(_raise_share(broker, by, pair, move, evidence))
    _say(pair, move, evidence, is_done=yes, as_json=as_json)
    if move.act not in ("up", "done"):
        sys.exit(1)


@click.command()
@options.broker_address
@click.argument("name", metavar="POLICY")
@click.option(
    "--steps",
    envvar="PIPELINE_RAMP_STEPS",
    type=Percents(),
    default="5,20,50,100",
    show_default=True,
    help="Percents of subjects, rising. [PIPELINE_RAMP_STEPS]",
)
@up_if
@pause_if
@click.option(
    "--back-if",
    "back",
    envvar="PIPELINE_RAMP_BACK_IF",
    type=Conditions(),
    multiple=True,
    default=BACK,
    show_default=True,
    metavar="CONDITION",
    help="Goes back to nobody where it holds; may be given again. [PIPELINE_RAMP_BACK_IF]",
)
@click.option(
    "--every", "every_s", type=Span(), metavar="DURATION", help="Look again and again, until there is an end."
)
@click.option("--once", is_flag=True, help="Look once, as is done without --every: for a line of a crontab.")
@click.option("--resume", is_flag=True, help="Go on after a halt; what was decided before counts no more.")
@yes
@options.as_json
@options.audited
def ramp(
    broker: Address,
    name: str,
    steps: tuple[float, ...],
    up: str,
    pause: tuple[str, ...],
    back: tuple[str, ...],
    every_s: float | None,
    once: bool,
    resume: bool,
    yes: bool,
    as_json: bool,
    by: Operator,
) -> None:
    """Show a policy to more and more subjects of the one that it follows, as the numbers of each step allow.

    Each look goes one step up, waits, halts, or goes back to nobody; a repeat changes nothing. What is in force and why
    it was halted stand in `policies`, so any machine can go on. Exit code 1 where it is halted.

    An apprentice (`mode = "apprentice"`) is looked at by the mark that its policy declares, `until`; once it has met
    it, it is shown itself, to the first step.

    \b
    Example:
      pipeline policy ramp homepage-v2 --steps 5,20,50,100 --if "lift.low > 0"
      pipeline policy ramp homepage-v2 --once --yes --json
      pipeline policy ramp homepage-v2 --every 1h --back-if "kind.refund.low > 0" --yes
    """
    if every_s is not None and (once or not yes):
        raise click.UsageError("--every goes with --yes and without --once: a look alone is the same each time")
    if resume:
        _resume(broker, name, by, is_done=yes, as_json=as_json)
        return
    while True:
        try:
            pair = asyncio.run(find_pair(broker, name))
            rules = _lesson(pair, steps) if pair.is_apprentice else _rules(pair, steps, up, pause, back)
            move, evidence = asyncio.run(_look(broker, by, pair, rules, is_done=yes))
        except UnavailableError as error:
            if every_s is None:
                raise
            click.echo(f"not looked at, and again in {every_s:g} s: {error}", err=True)
        else:
            _say(pair, move, evidence, is_done=yes, as_json=as_json)
            if every_s is None or move.act in ("done", *REFUSED):
                sys.exit(int(move.act in REFUSED))
        time.sleep(every_s)


async def _look(broker: Address, by: Operator, pair: Pair, rules: Rules, *, is_done: bool) -> tuple[Move, Evidence]:
    """Look once, and do what comes of it."""
    halt = pair.halt if pair.halt is not None and pair.halt.is_halted else None
    evidence = await _gather(broker, pair) if halt is None else Evidence(dict.fromkeys(pair.names), None, ())
    halted = halt.why if halt else ""
    move = (
        next_lesson(pair.rollout.share, evidence.figures, rules.up, rules.steps[0], halted)
        if pair.is_apprentice
        else next_move(pair.rollout.share, evidence.figures, rules, halted)
    )
    if not is_done:
        return move, evidence
    if move.act in ("up", "graduate"):
        await _raise_share(broker, by, pair, move, evidence)
    if move.act in ("pause", "back"):
        because = _because(move, evidence)
        await halt_ramp(broker, by, Halt(pair.new.name, move.act, move.why, time.time_ns() // 1_000_000), because)
    # Halted first: whoever is interrupted between the two finds it halted, and takes the share back.
    if "back" in (move.act, halt.cause if halt else ""):
        why = _because(move, evidence)
        await change_policy(broker, pair.new.name, by, lambda one: rolled_out(one, 0.0), why)
        move = move._replace(share=0.0)
    return move, evidence


async def _raise_share(broker: Address, by: Operator, pair: Pair, move: Move, evidence: Evidence) -> None:
    def raised(current: PolicyDefinition) -> PolicyDefinition:
        # Two may look at once: the second one finds it done, or finds that something else was.
        seen = None if current.rollout is None else replace(current.rollout, share=move.share, mode="serve")
        if current.rollout is None or seen != replace(pair.rollout, share=move.share, mode="serve"):
            raise ConfigError(f"policy {pair.new.name}", ["its rollout was changed meanwhile: look again"])
        if current.rollout.share not in (pair.rollout.share, move.share):
            fault = (
                f"its share is {100 * current.rollout.share:g} % now, it was {100 * pair.rollout.share:g} %: look again"
            )
            raise ConfigError(f"policy {pair.new.name}", [fault])
        return rolled_out(current, move.share, "serve")

    await change_policy(broker, pair.new.name, by, raised, _because(move, evidence))


def _resume(broker: Address, name: str, by: Operator, *, is_done: bool, as_json: bool) -> None:
    pair = asyncio.run(find_pair(broker, name))
    is_halted = pair.halt is not None and pair.halt.is_halted
    if is_halted and is_done:
        asyncio.run(halt_ramp(broker, by, Halt(name, "resume", "by hand", time.time_ns() // 1_000_000)))
    words = "goes on" if is_done else "would go on"
    told = f"{name} {words}, from {100 * pair.rollout.share:g} %" if is_halted else f"{name} is not halted"
    click.echo(orjson.dumps({"policy": name, "was_halted": is_halted, "is_done": is_done}) if as_json else told)


async def _gather(broker: Address, pair: Pair) -> Evidence:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading the ledger", total=None)
        return await gather_evidence(
            broker, pair, lambda done, total: progress.update(task, completed=done, total=total)
        )


def _rules(pair: Pair, steps: Sequence[float], up: str, pause: Sequence[str], back: Sequence[str]) -> Rules:
    def read(text: str, where: str) -> Named:
        return Named(text, parse_condition(text, pair.names, where))

    return Rules(
        steps,
        read(up, "--if"),
        [read(text, "--pause-if") for text in pause],
        [read(text, "--back-if") for text in back],
    )


def _lesson(pair: Pair, steps: Sequence[float]) -> Rules:
    """Return the rules of an apprentice: the mark is its policy's own."""
    until = pair.rollout.until or UNTIL
    return Rules(steps, Named(until, parse_condition(until, pair.names, "rollout.until")), (), ())


def _because(move: Move, evidence: Evidence) -> Mapping[str, Any]:
    known = {name: value for name, value in evidence.figures.items() if value is not None}
    return {"why": move.why, "since_ms": evidence.since_ms, "figures": known}


def _say(pair: Pair, move: Move, evidence: Evidence, *, is_done: bool, as_json: bool) -> None:
    if as_json:
        fields = {
            "policy": pair.new.name,
            "of": pair.old.name,
            "share_before": pair.rollout.share,
            **move._asdict(),
            "is_done": is_done,
            "since_ms": evidence.since_ms,
            "figures": evidence.figures,
            "doubts": list(evidence.doubts),
        }
        click.echo(orjson.dumps(fields))
        return
    before, after = (f"{100 * share:g} %" for share in (pair.rollout.share, move.share))
    told = {
        "up": f"from {before} to {after}",
        "wait": f"stays at {before}",
        "pause": f"is halted at {before}",
        "back": f"goes back from {before} to {after}, and is halted",
        "done": f"is done at {before}",
        "graduate": f"has met its mark and is shown itself, to {after}",
        "halted": f"is halted at {after} (--resume goes on)",
    }[move.act]
    would = "" if is_done or move.act in ("wait", "done", "halted") else "would be: "
    click.echo(f"{pair.new.name} of {pair.old.name}: {would}{told}: {move.why}")
    for doubt in evidence.doubts:
        click.echo(f"  doubtful: {doubt}")

"""`pipeline policy`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import click
import orjson

from pipeline.audit.record import Operator
from pipeline.cli import options, switching
from pipeline.cli.control import apply_policy
from pipeline.cli.directives import read_book
from pipeline.cli.ramp import promote, ramp
from pipeline.cli.switching import rollout_in_words, switched_in_words
from pipeline.evaluate.context_log import read_contexts
from pipeline.models import ALGORITHMS
from pipeline.policy.assignment import FOR_EVER, SNAPSHOT
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.directive import is_held
from pipeline.policy.feature_use import feature_doubts, lacking_doubts
from pipeline.policy.guardrails import RolloutMode
from pipeline.policy.parsing.parse import load_policy
from pipeline.policy.parsing.reward_grid import grid_doubts
from pipeline.stream.security import Address

policy_file = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group()
def policy() -> None:
    """Policy definitions: check one, apply it, show what is applied, switch it off, roll it out."""


for command in (promote, ramp):
    policy.add_command(command)


@policy.command()
@policy_file
@click.option(
    "--log",
    "log_file",
    envvar="PIPELINE_POLICY_LOG",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Try its features on a log too: JSON lines (decisions, or contexts alone) or a table with a column for each. "
    "[PIPELINE_POLICY_LOG]",
)
@options.as_json
def validate(file: Path, log_file: Path | None, as_json: bool) -> None:
    """Check a policy file; every fault in it is named. Exit code 1 if there are any.

    What is no fault but may not be meant is told as a doubt, on standard error: values that the reward's grid is coarse
    for, features that a request must have; of a log, contexts that would be refused, words that count as other, numbers
    that are clipped, and features that use a hundredth of their bounds.

    \b
    Example:
      pipeline policy validate ops/policies/homepage.toml
      pipeline policy validate ops/policies/homepage.toml --log contexts.jsonl
    """
    definition = load_policy(file.read_text(encoding="utf-8"), str(file))
    doubts = [*grid_doubts(definition.reward), *lacking_doubts(definition)]
    if log_file is not None:
        contexts, guessed = read_contexts(log_file.read_bytes(), str(log_file), definition.features)
        doubts += [*guessed, *feature_doubts(definition, contexts)]
    if as_json:
        click.echo(to_canonical_json(definition))
    else:
        click.echo(f"{file} is a valid policy: {in_words(definition)}")
    for words in doubts:
        click.echo(f"! {words}", err=True)


@policy.command()
@options.broker_address
@policy_file
@options.audited
def apply(broker: Address, file: Path, by: Operator) -> None:
    """Make a policy file the definition in force, if it may follow the one that is.

    What commands have set stays: what is switched off, and the share of a rollout. Of two that are applied at once one
    is refused.

    \b
    Example:
      pipeline policy apply --broker 127.0.0.1:9092 ops/policies/homepage.toml
    """
    definition = load_policy(file.read_text(encoding="utf-8"), str(file))
    applied = asyncio.run(apply_policy(broker, definition, by))
    book = asyncio.run(read_book(broker))
    in_force = book.in_force(definition.name) or definition
    click.echo(f"{'applied' if applied.is_new else 'already in force'}: {in_words(in_force)}")
    for words in applied.kept:
        click.echo(f"! {words}", err=True)
    if is_held(book.directive(definition.name)):
        click.echo(f"{definition.name} is held: nodes decide by it after `pipeline snapshot unpin {definition.name}`")


@policy.command()
@options.broker_address
@click.argument("name", required=False)
@options.as_json
def show(broker: Address, name: str | None, as_json: bool) -> None:
    """Show the policies in force, or one of them.

    \b
    Example:
      pipeline policy show homepage --json
    """
    book = asyncio.run(read_book(broker))
    chosen = [definition for definition in book if name in (None, definition.name)]
    if as_json:
        click.echo(orjson.dumps([orjson.loads(to_canonical_json(definition)) for definition in chosen]))
    elif not chosen:
        raise click.ClickException(f"no policy {name or ''} is applied: pipeline policy apply FILE")
    else:
        for definition in chosen:
            held = ", held" if is_held(book.directive(definition.name)) else ""
            click.echo(f"{in_words(definition)}{held}")


@policy.command()
@options.broker_address
@click.argument("name")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given again for another.")
@options.audited
def kill(broker: Address, name: str, arms: tuple[str, ...], by: Operator) -> None:
    """Switch a policy or some of its arms off, at once on every node, until it is revived.

    A killed policy shows its control arm, or any eligible arm uniformly; a killed arm is not shown.

    \b
    Example:
      pipeline policy kill homepage --arm promo
    """
    click.echo(switched_in_words(asyncio.run(switching.kill(broker, name, arms, by))))


@policy.command()
@options.broker_address
@click.argument("name")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given again for another.")
@options.audited
def revive(broker: Address, name: str, arms: tuple[str, ...], by: Operator) -> None:
    """Switch a policy and all its arms on again, or only some arms.

    \b
    Example:
      pipeline policy revive homepage --arm promo
    """
    click.echo(switched_in_words(asyncio.run(switching.revive(broker, name, arms, by))))


@policy.command()
@options.broker_address
@click.argument("name")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 100.0),
    required=True,
    metavar="PERCENT",
    help="Of subjects. A larger share keeps those that a smaller one had.",
)
@click.option("--mode", type=click.Choice(get_args(RolloutMode)), help="Show what it decides, or only log it.")
@options.audited
def rollout(broker: Address, name: str, share: float, mode: RolloutMode | None, by: Operator) -> None:
    """Let a policy with a [rollout] decide for a share of the subjects of the policy it is to follow.

    `pipeline policy ramp` goes from 5 to 20, 50 and 100 percent as the numbers allow.

    \b
    Example:
      pipeline policy rollout homepage-v2 --share 20
    """
    words = rollout_in_words(asyncio.run(switching.roll_out(broker, name, share / 100.0, mode, by)))
    if words:
        click.echo(words)


def in_words(definition: PolicyDefinition) -> str:
    """Say in a line what a definition is."""
    return (
        f"{definition.name} generation {definition.generation}, {definition.algorithm.name}{_rule(definition)}, "
        f"{len(definition.active_arms)} arms, {len(definition.segments.names)} segments, "
        f"context of {definition.dimension}{_kept(definition)}, {definition.definition_hash[:12]}"
        f"{', KILLED' if definition.switches.is_killed else ''}"
        f"{', killed arms: ' + ', '.join(definition.switches.arms) if definition.switches.arms else ''}"
    )


def _kept(definition: PolicyDefinition) -> str:
    assignment = definition.assignment
    if assignment is None:
        return ""
    lasts = {FOR_EVER: FOR_EVER, SNAPSHOT: "until each new snapshot"}.get(assignment.epoch_text)
    return f", one answer per person {lasts or 'for ' + assignment.epoch_text}"


def _rule(definition: PolicyDefinition) -> str:
    words = ALGORITHMS[definition.algorithm.name].words
    return f" ({words})" if words else ""

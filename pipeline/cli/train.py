"""`pipeline train`."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import click
import orjson

from pipeline.cli import options
from pipeline.cli.snapshots import find_published
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.read import gather_ledger
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy, parse_policy
from pipeline.policy.parsing.toml import to_toml
from pipeline.stream.security import Address


@click.command()
@click.argument("policy")
@options.broker_address
@click.option(
    "--generation",
    envvar="PIPELINE_TRAIN_GENERATION",
    type=click.IntRange(1),
    help="Whose decisions to learn from, by that generation's own rules; if not given, those of all up to the latest "
    "snapshot's, by its rules. [PIPELINE_TRAIN_GENERATION]",
)
@click.option(
    "--seed",
    envvar="PIPELINE_TRAIN_SEED",
    type=click.IntRange(0, 2**31),
    default=1,
    show_default=True,
    help="Of the network's first weights and of the order of examples. [PIPELINE_TRAIN_SEED]",
)
@click.option(
    "--out",
    envvar="PIPELINE_TRAIN_OUT",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the policy file of the next generation goes; standard output if not given. [PIPELINE_TRAIN_OUT]",
)
@options.as_json
def train(policy: str, broker: Address, generation: int | None, seed: int, out: Path | None, as_json: bool) -> None:
    """Train a network from a policy's ledger, as the encoder of its next generation.

    Nothing changes yet: `pipeline replay` then counts the past under the new encoder, and promotes it.

    \b
    Example:
      pipeline train homepage --out homepage-2.toml
      pipeline replay --policy homepage --into 2 --definition homepage-2.toml
      pipeline replay promote homepage 2
    """
    if find_spec("sklearn") is None:
        raise ConfigError("pipeline train", ["needs scikit-learn, which is not installed: pip install '.[train]'"])
    from pipeline.train.proposal import propose  # noqa: PLC0415  optional, and slow to import

    definition, log, left_out = asyncio.run(read(broker, policy, generation))
    found = propose(definition, log, seed)
    text = to_toml(found.definition.to_plain())
    load_policy(text, "the policy with an encoder")  # what is proposed must be a policy
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    if as_json:
        said = {
            **found._asdict(),
            "left_out": left_out,
            "definition": None,
            "generation": found.definition.generation,
            "policy": text,
        }
        click.echo(orjson.dumps({key: value for key, value in said.items() if value is not None}))
        return
    click.echo(
        f"{found.decisions:,} decisions ({found.refused:,} more can't be encoded). Mean squared error of a linear "
        f"model on decisions held out: {found.error_before:.4g} on the features, {found.error_after:.4g} on an encoder",
        err=True,
    )
    for words in left_out:
        click.echo(f"! {words}", err=True)
    if found.error_after >= found.error_before:
        click.echo("! the encoder predicts no better than the features do: keep them", err=True)
    into = found.definition.generation
    go_on = (
        f"pipeline replay --policy {policy} --into {into} --definition {out}; pipeline replay promote {policy} {into}"
    )
    click.echo(f"The policy is in {out}: {go_on}" if out else text, err=out is not None)


async def read(broker: Address, policy: str, generation: int | None) -> tuple[PolicyDefinition, DecisionLog, list[str]]:
    """Return the definition that is live, the log to learn from, and in words what was left out of it."""
    fields = (await find_published(broker, policy, None)).fields
    definition = parse_policy(orjson.loads(fields["definition"]), f"snapshot {fields['version']} of {policy}")
    gathering = await gather_ledger(broker, definition, generation)
    return definition, *gathering.log(analysis=False)

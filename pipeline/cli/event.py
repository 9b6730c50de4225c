"""`pipeline event`."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from pipeline.cli import options
from pipeline.cli.control import find_policy
from pipeline.cli.directives import read_book
from pipeline.codec import avro
from pipeline.codec.framed import schema_ids
from pipeline.events import Decision, Outcome, decision_from, outcome_from
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.parsing.parse import load_policy
from pipeline.producers.check import Verdict, judge, records_in
from pipeline.producers.example import example_decision, example_outcome
from pipeline.reasons import cure_of
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.stream.security import Address

policy_files = click.option(
    "--policy-file",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A policy to go by, instead of those in force at the broker; may be given again.",
)


@click.group()
def event() -> None:
    """Records of producers: what becomes of one, and one to copy from."""


@event.command()
@options.broker_address
@policy_files
@click.argument("file", type=click.File("rb"))
@click.option("--as", "expected", type=click.Choice(["decision", "outcome"]), help="What FILE holds; else it is seen.")
@options.registry
@options.as_json
@click.pass_context
def validate(
    ctx: click.Context,
    broker: Address,
    files: tuple[Path, ...],
    file: BinaryIO,
    expected: str | None,
    registry: RegistrySettings,
    as_json: bool,
) -> None:
    """Say what a worker would make of sample records: accepted as what, or the fault and its place.

    Exit code 1 if nothing would come of one of them. FILE, or - for standard input, holds a record in Avro or in a
    registry's frame, a JSON object, a list of them, or JSON lines; decisions and their outcomes may stand together.
    Nothing is sent. What is right by itself and still may never count is told as a doubt.

    \b
    Example:
      pipeline event validate samples.jsonl --policy-file homepage.toml
      pipeline event example decision --policy homepage | pipeline event validate -
    """
    records = records_in(file.read())
    book = asyncio.run(_book(broker, files))
    verdicts = asyncio.run(_judge(records, book, registry, expected))
    if as_json:
        click.echo(orjson.dumps([_as_plain(verdict) for verdict in verdicts]))
    else:
        for verdict in verdicts:
            click.echo(_in_words(verdict))
    for verdict in verdicts if not as_json else ():
        for doubt in verdict.doubts:
            click.echo(f"! record {verdict.number}: {doubt}", err=True)
    if not verdicts:
        raise click.ClickException("there is no record in it")
    ctx.exit(0 if all(verdict.counts for verdict in verdicts) else 1)


@event.command()
@options.broker_address
@policy_files
@click.argument("record", type=click.Choice(["decision", "outcome"]))
@click.option("--policy", "policy_name", help="Its name; not needed with a single --policy-file.")
@click.option("--action-id", default="", help="Of both, so that the outcome is credited to the decision.")
@click.option("--avro", "as_avro", is_flag=True, help="Avro single-object encoding instead of JSON.")
def example(
    broker: Address, files: tuple[Path, ...], record: str, policy_name: str | None, action_id: str, as_avro: bool
) -> None:
    """Write a decision that a policy accepts, or an outcome that it counts, as a producer would send it.

    \b
    Example:
      pipeline event example decision --policy homepage
      pipeline event example outcome --policy-file homepage.toml --avro > outcome.avro
    """
    book = asyncio.run(_book(broker, files))
    if policy_name is None and len(book) != 1:
        raise click.UsageError(f"--policy is needed: there are {len(book)}")
    definition = find_policy(book, policy_name or next(iter(book)).name)
    make = example_decision if record == "decision" else example_outcome
    fields = make(definition, time.time_ns() // 1_000_000, *([action_id] if action_id else []))
    if as_avro:
        sys.stdout.buffer.write(_in_avro(record, fields))
    else:
        click.echo(orjson.dumps(fields))


def _in_avro(record: str, fields: dict[str, Any]) -> bytes:
    checked: Decision | Outcome = decision_from(fields) if record == "decision" else outcome_from(fields)
    return avro.encode(record, checked._asdict())


async def _book(broker: Address, files: tuple[Path, ...]) -> PolicyBook:
    if not files:
        return await read_book(broker)
    book = PolicyBook()
    for file in files:
        book.put(load_policy(file.read_text(encoding="utf-8"), str(file)))
    return book


async def _judge(
    records: list[bytes], book: PolicyBook, registry: RegistrySettings, expected: str | None
) -> list[Verdict]:
    async with Schemas(registry) as schemas:
        await schemas.look_up(schema_ids(records))
        return judge(records, book, time.time_ns() // 1_000_000, Limits(registry=schemas), expected)


def _in_words(verdict: Verdict) -> str:
    why = f"{verdict.reason}: {verdict.detail}" if verdict.reason else verdict.detail
    cure = f"\n  what to do: {cure_of(verdict.reason)}" if verdict.reason else ""
    return f"record {verdict.number}: {verdict.record} {verdict.fate}: {why}{cure}"


def _as_plain(verdict: Verdict) -> dict[str, Any]:
    return verdict._asdict() | {"counts": verdict.counts, "cure": cure_of(verdict.reason)}

"""`pipeline dead-letters`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.errors import ConfigError
from pipeline.reasons import cure_of
from pipeline.replay.dead_letters.letters import Choice, DeadLetter, Plan, choose, describe, plan_replay
from pipeline.replay.dead_letters.resend import Unsent, read_letters, send_back
from pipeline.stream.log.topics import DECISIONS, OUTCOMES
from pipeline.stream.security import Address

SHOWN_CHARACTERS = 70
"""How much of a detail a list shows."""

F = TypeVar("F", bound=Callable[..., Any])


def choosing(command: F) -> F:
    """Give a command the options that choose letters; their names are the fields of `Choice`."""
    for option in (
        click.option("--last", type=click.IntRange(1), metavar="N", help="Only so many of the newest."),
        click.option(
            "--until", "until_ms", type=options.Moment(), help="Only records from before: ISO time or epoch ms."
        ),
        click.option(
            "--since", "since_ms", type=options.Moment(), help="Only records from then on: ISO time or epoch ms."
        ),
        click.option("--source", type=click.Choice([DECISIONS, OUTCOMES]), help="Only records of this topic."),
        click.option("--reason", help="Only records refused for this reason, such as unknown-policy."),
    ):
        command = option(command)
    return command


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Records that could not be used: list them, look at one, send them again after a fix."""


@dead_letters.command(name="list")
@options.broker_address
@choosing
@options.as_json
def list_letters(broker: Address, as_json: bool, **chosen: Any) -> None:
    """List dead letters, oldest first.

    \b
    Example:
      pipeline dead-letters list --reason unknown-policy --since 2025-01-31
    """
    letters = _chosen(broker, chosen)
    if as_json:
        click.echo(orjson.dumps([_summary(letter) for letter in letters]))
        return
    table = Table()
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("reason: detail")
    table.add_column("replayed", no_wrap=True)
    for letter in letters:
        replayed = "" if letter.replayed_at_ms is None else "yes"
        why = f"{letter.reason}: {shorten(letter.detail, SHOWN_CHARACTERS, placeholder=' …')}"
        # Text, since a detail may have brackets, which rich would take for its markup.
        table.add_row(_when(letter.at_ms), str(letter.source), Text(why), replayed)
    Console().print(table)


@dead_letters.command()
@options.broker_address
@click.argument("source", metavar="TOPIC/PARTITION/OFFSET")
@click.option("--raw", "as_raw", is_flag=True, help="Write the record's bytes, nothing else.")
@options.as_json
def show(broker: Address, source: str, as_raw: bool, as_json: bool) -> None:
    """Show one dead letter: why it was refused, what mends that, and what it says.

    \b
    Example:
      pipeline dead-letters show decisions/0/17
    """
    letter = next((one for one in _chosen(broker, {}) if str(one.source) == source), None)
    if letter is None:
        raise ConfigError("dead letter", [f"there is none from {source!r}: pipeline dead-letters list names them"])
    if as_raw:
        click.get_binary_stream("stdout").write(letter.raw)
        return
    described = describe(letter.raw)
    fields = {
        **_summary(letter),
        "cure": cure_of(letter.reason),
        "encoding": described.encoding,
        "content": described.content,
    }
    if as_json:
        click.echo(orjson.dumps(fields))
        return
    content = fields.pop("content")
    for name, value in fields.items():
        click.echo(f"{name + ':':21}{'' if value is None else value}")
    click.echo(content if described.encoding == "hex" else orjson.dumps(content, option=orjson.OPT_INDENT_2))


@dead_letters.command()
@options.broker_address
@choosing
@click.option("--again", is_flag=True, help="Also those that were replayed before.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@options.as_json
@options.audited
def replay(broker: Address, again: bool, dry_run: bool, as_json: bool, by: Operator, **chosen: Any) -> None:
    """Send dead letters back to their topic, bytes unchanged, after what refused them is fixed.

    A replayed letter is marked, and not sent a second time without --again; if it were, nothing would change. What is
    refused again comes back as a new dead letter.

    \b
    Example:
      pipeline dead-letters replay --reason unknown-policy --dry-run
    """
    plan = plan_replay(_chosen(broker, chosen), again=again)
    unsent: Sequence[Unsent] = ()
    if not dry_run:
        unsent = asyncio.run(send_back(broker, plan.to_send, by, round(time.time() * 1000)))
        failed = {one.source for one in unsent}
        plan = plan._replace(to_send=[letter for letter in plan.to_send if letter.source not in failed])
    if as_json:
        parts = {name: _sources(part) for name, part in plan._asdict().items()}
        not_sent = [{"source": str(one.source), "why": one.why} for one in unsent]
        click.echo(orjson.dumps({"dry_run": dry_run, **parts, "not_sent": not_sent}))
    else:
        click.echo(_in_words(plan, dry_run=dry_run))
        for one in unsent:
            click.echo(f"not sent: {one.source}: {one.why}")


def _chosen(broker: Address, chosen: dict[str, Any]) -> list[DeadLetter]:
    gathered = asyncio.run(read_letters(broker))
    if gathered.unreadable:
        click.echo(f"{gathered.unreadable} records of dead-letters are not readable by this release", err=True)
    return choose(gathered.letters, Choice(**chosen))


def _summary(letter: DeadLetter) -> dict[str, Any]:
    key = letter.record_key
    return {
        "source": str(letter.source),
        "source_topic": letter.source.topic,
        "source_partition": letter.source.partition,
        "source_offset": letter.source.offset,
        "reason": letter.reason,
        "detail": letter.detail,
        "record_timestamp_ms": letter.record_timestamp_ms,
        "refused_at_ms": letter.refused_at_ms,
        "record_key": None if key is None else key.decode(errors="backslashreplace"),
        "bytes": len(letter.raw) if letter.raw_bytes is None else letter.raw_bytes,
        "bytes_kept": len(letter.raw),
        "sha256": letter.raw_sha256 or hashlib.sha256(letter.raw).hexdigest(),
        "replayed_at_ms": letter.replayed_at_ms,
    }


def _in_words(plan: Plan, *, dry_run: bool) -> str:
    lines = [f"{'would be sent back' if dry_run else 'sent back'}: {len(plan.to_send)}"]
    counts = Counter((one.source.topic, one.source.partition, one.reason) for one in plan.to_send)
    lines += [f"  {topic}/{number}: {count} ({reason})" for (topic, number, reason), count in sorted(counts.items())]
    if plan.already_replayed:
        lines.append(f"replayed before: {len(plan.already_replayed)} (--again sends them once more)")
    if plan.unsendable:
        lines.append(f"not to be sent: {len(plan.unsendable)} (without bytes, or of a topic that is no source)")
    return "\n".join(lines)


def _sources(letters: Any) -> list[str]:
    return [str(letter.source) for letter in letters]


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

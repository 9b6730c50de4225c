"""`pipeline snapshot`."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from pipeline.cli import options
from pipeline.cli.changes import count_table, in_words
from pipeline.cli.directives import read_book
from pipeline.cli.pins import pin, rollback, unpin
from pipeline.cli.snapshots import Published, find_snapshot, read_published
from pipeline.policy.book import PolicyBook
from pipeline.policy.directive import is_held
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.parts import rewards_counted
from pipeline.replay.proof.diff import diff_snapshots
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from pipeline.stream.security import Address


@click.group()
def snapshot() -> None:
    """Published snapshots."""


for command in (rollback, pin, unpin):
    snapshot.add_command(command)


@snapshot.command(name="list")
@options.broker_address
@click.option("--policy", "policy_name", help="Only this policy's.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many of the newest.")
@options.as_json
def list_snapshots(broker: Address, policy_name: str | None, last: int, as_json: bool) -> None:
    """List published snapshots, oldest first.

    \b
    Example:
      pipeline snapshot list --policy homepage --last 5
    """
    published = asyncio.run(read_published(broker, SNAPSHOT_HISTORY, policy_name))
    # A worker that was started again sends the last one once more.
    found = {row["id"]: row for row in map(_summary, published)}
    chosen = sorted(found.values(), key=lambda row: (row["policy"], row["version"]))
    _mark_held(chosen, asyncio.run(read_book(broker)))
    chosen = chosen[-last:]
    if as_json:
        click.echo(orjson.dumps(chosen))
        return
    table = Table("policy", "version", "id", "rewards counted", "posterior", "")
    for row in chosen:
        told = [f"content of {row['rollback_of']}"] if row["rollback_of"] else []
        told += ["held"] if row["is_held"] else []
        table.add_row(
            row["policy"],
            str(row["version"]),
            row["id"][:12],
            f"{row['count']:,}",
            row["posterior_sha256"][:12],
            ", ".join(told),
        )
    Console().print(table)


@snapshot.command()
@options.broker_address
@click.argument("policy_name", metavar="POLICY")
@click.option("--version", type=click.IntRange(1), help="Which version; the latest if not given.")
@options.as_json
def show(broker: Address, policy_name: str, version: int | None, as_json: bool) -> None:
    """Show one snapshot: its provenance, and each arm's count and mean by segment.

    \b
    Example:
      pipeline snapshot show homepage --version 7
    """
    found = asyncio.run(find_snapshot(broker, policy_name, version))
    fields = found.fields
    definition = parse_policy(orjson.loads(fields["definition"]), "snapshot")
    exponent = definition.reward_exponent
    arms = [
        {
            "segment": segment["segment"],
            "arm": arm,
            "count": count,
            "reward_sum": total / 2**exponent,
            "mean": total / 2**exponent / count if count else None,
        }
        for segment in fields["segments"]
        for arm, count, total in zip(segment["arms"], segment["counts"], segment["reward_sums"], strict=True)
    ]
    names = ("policy", "version", "parent", "rollback_of", "generation", "definition_hash", "schema_hash")
    head = {name: fields[name] for name in names}
    head |= {"id": found.id, "posterior_sha256": fields["posterior_sha256"]}
    head |= {"event_time_ms": fields["event_time_ms"], "ledger_offsets": fields["ledger_offsets"]}
    if definition.assignment is not None:
        head |= {"epoch": definition.assignment.epoch_of(fields["version"], fields["event_time_ms"])}
    if found.content.parts:
        head |= {"parts": len(found.content.parts), "size_bytes": sum(map(len, found.content.parts.values()))}
    if fields["base_plan"]:
        head |= {"base_cuts": fields["base_cuts"]}
    if as_json:
        click.echo(orjson.dumps({**head, "arms": arms}))
        return
    for name, value in head.items():
        click.echo(f"{name + ':':18}{value}")
    table = Table("segment", "arm", "count", "reward sum", "mean")
    for row in arms:
        mean = "" if row["mean"] is None else f"{row['mean']:.5f}"
        table.add_row(row["segment"], row["arm"], f"{row['count']:,}", f"{row['reward_sum']:.4f}", mean)
    Console().print(table)


@snapshot.command()
@options.broker_address
@click.argument("policy_name", metavar="POLICY")
@click.argument("a", type=click.IntRange(1))
@click.argument("b", type=click.IntRange(1))
@options.as_json
def diff(broker: Address, policy_name: str, a: int, b: int, as_json: bool) -> None:
    """Say what changed from version A to version B: definition, ledger, and each arm's count and mean.

    \b
    Example:
      pipeline snapshot diff homepage 7 12
    """
    before, after = (asyncio.run(find_snapshot(broker, policy_name, version)) for version in (a, b))
    found = diff_snapshots(before.fields, after.fields)
    if as_json:
        click.echo(orjson.dumps({"policy": policy_name, "before": a, "after": b, **found.to_plain()}))
        return
    click.echo(f"{policy_name}: version {a} ({before.id[:12]}) → {b} ({after.id[:12]})")
    for line in in_words(found):
        click.echo(line)
    if found.counts:
        Console().print(count_table(found))


def _summary(published: Published) -> dict[str, Any]:
    fields = published.fields
    return {
        "policy": fields["policy"],
        "version": fields["version"],
        "id": published.id,
        "parent": fields["parent"],
        "rollback_of": fields["rollback_of"],
        "published_at_ms": published.published_at_ms,
        "count": rewards_counted(fields),
        "posterior_sha256": fields["posterior_sha256"],
    }


def _mark_held(rows: list[dict[str, Any]], book: PolicyBook) -> None:
    """Say of each policy's newest snapshot whether it is held: sorted by version, that is the last."""
    newest = {row["policy"]: row["version"] for row in rows}
    for row in rows:
        row["is_held"] = row["version"] == newest[row["policy"]] and is_held(book.directive(row["policy"]))

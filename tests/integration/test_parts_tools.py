"""What operators' tools make of snapshots in parts: list, show, diff, verify, and what a rollback hands over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.audit.record import Operator
from pipeline.brokers import running_broker
from pipeline.cli import cli, directives
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.learn.ledger import ledger_record
from pipeline.publish import parts as publish_parts
from pipeline.publish.parts import SnapshotContent, divide, part_key, part_names, whole
from pipeline.publish.snapshot import snapshot_fields, snapshot_id
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from pipeline.stream.policies import Policies
from tests.integration.test_verify import LEDGER, POLICY
from tests.ledger_fold import LedgerFold

PARTS = 4
"""Two arms in two segments, one row a part."""


@pytest.fixture(autouse=True)
def are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_parts, "PARTED_FROM_BYTES", 0)
    monkeypatch.setattr(publish_parts, "PART_BYTES", 1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with running_broker("embedded", cache_dir=tmp_path) as started:
        yield started.bootstrap_servers


def fields_of(length: int, version: int, parent: str = "") -> dict[str, Any]:
    """Give the snapshot of the first `length` records of the ledger."""
    fold = LedgerFold(POLICY.name, POLICY.generation)
    fold.add(0, [ledger_record(offset, fields) for offset, fields in enumerate(LEDGER[:length])])
    return snapshot_fields(POLICY, fold.rows(), fold.marks(), version=version, parent=parent)


def line() -> list[SnapshotContent]:
    """Versions 1 to 3, of 10, 20 and 30 ledger records."""
    contents: list[SnapshotContent] = []
    for version in (1, 2, 3):
        parent = snapshot_id(contents[-1].record) if contents else ""
        contents.append(divide(fields_of(10 * version, version, parent)))
        assert len(contents[-1].parts) == PARTS
    return contents


async def publish(broker: str, *contents: SnapshotContent) -> None:
    """Publish the ledger; what changes from snapshot to snapshot; and in `snapshots` the last one alone."""
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in LEDGER)
        sent: set[str] = set()
        for content in contents:
            into = (SNAPSHOTS, SNAPSHOT_HISTORY) if content is contents[-1] else (SNAPSHOT_HISTORY,)
            for topic in into:
                fresh = [name for name in content.parts if topic == SNAPSHOTS or name not in sent]
                records = [Record(topic, 0, part_key("homepage", name), content.parts[name]) for name in fresh]
                await outbox.deliver([*records, Record(topic, 0, b"homepage", content.record)])
            sent |= content.parts.keys()
    finally:
        await outbox.stop()


async def run(broker: str, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--json"], env={"PIPELINE_BROKER": broker})


async def asked(broker: str, *arguments: str) -> Any:
    result = await run(broker, *arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return orjson.loads(result.stdout)


async def test_any_version_is_listed_shown_and_compared(broker: str) -> None:
    contents = line()
    await publish(broker, *contents)
    rows = await asked(broker, "snapshot", "list")
    assert [(row["version"], row["count"]) for row in rows] == [(1, 10), (2, 20), (3, 30)]
    assert [row["id"] for row in rows] == [snapshot_id(content.record) for content in contents]
    shown = await asked(broker, "snapshot", "show", "homepage", "--version", "1")
    assert (shown["id"], shown["parts"]) == (snapshot_id(contents[0].record), PARTS)
    assert sum(row["count"] for row in shown["arms"]) == 10
    told = await asked(broker, "snapshot", "diff", "homepage", "1", "3")
    # Arms a and b by turns: 5 and 5 of 10, 15 and 15 of 30.
    assert [(one["arm"], one["before"]["count"], one["after"]["count"]) for one in told["counts"]] == [
        ("a", 5, 15),
        ("b", 5, 15),
    ]


async def test_every_version_is_proven(broker: str) -> None:
    await publish(broker, *line())
    found = await asked(broker, "verify", "--last", "10")
    assert [(one["version"], one["difference"]) for one in found["snapshots"]] == [(1, None), (2, None), (3, None)]


async def test_an_altered_part_is_named_by_what_is_wrong_in_it(broker: str) -> None:
    fields = fields_of(30, 1)
    fields["segments"][1]["counts"][1] += 1  # arm b of the other segment, 15 in the ledger
    await publish(broker, divide(fields))
    result = await run(broker, "verify")
    assert result.exit_code == 1
    assert orjson.loads(result.stdout)["difference"] == {
        "where": "segment other, arm b: count",
        "published": "16",
        "recomputed": "15",
    }


async def test_an_altered_part_that_is_not_kept_is_a_difference_too(broker: str) -> None:
    fields = fields_of(30, 1)
    fields["segments"][1]["counts"][1] += 1
    content = divide(fields)
    lost = part_names(avro.decode_as("snapshot", content.record))[3]
    kept = {name: part for name, part in content.parts.items() if name != lost}
    await publish(broker, SnapshotContent(content.record, kept))
    result = await run(broker, "verify")
    assert result.exit_code == 1
    assert orjson.loads(result.stdout)["difference"]["where"] == f"1 of 4 parts, the first is {lost}"


async def test_a_version_whose_parts_have_aged_out_can_not_be_shown(broker: str) -> None:
    content = line()[0]
    first = part_names(avro.decode_as("snapshot", content.record))[0]
    kept = {name: part for name, part in content.parts.items() if name != first}
    await publish(broker, SnapshotContent(content.record, kept))
    result = await run(broker, "snapshot", "show", "homepage")
    assert result.exit_code != 0
    assert (
        f"1 of 4 parts of homepage version 1 are in neither snapshots nor snapshot-history, the first is {first}"
        in (result.output + str(result.exception))
    )


async def test_a_rollback_hands_its_parts_to_the_publisher_and_the_next_directive_takes_them_back(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = line()
    await apply_policy(broker, POLICY, Operator("tests", "policy apply"))
    await publish(broker, *contents)
    monkeypatch.setattr(directives, "OBEYED_WITHIN_S", 0.1)  # there is no worker here
    assert (await run(broker, "snapshot", "rollback", "homepage", "--to", "1")).exit_code != 0
    policies = Policies(broker)
    try:
        await policies.start()
        directive = policies.book.directive("homepage")
        assert directive is not None
        ordered = whole(SnapshotContent(directive.content, policies.book.parts("homepage")))
        assert ordered["segments"] == whole(contents[0])["segments"]
    finally:
        await policies.stop()
    assert (await run(broker, "snapshot", "unpin", "homepage")).exit_code != 0
    policies = Policies(broker)
    try:
        await policies.start()
        directive = policies.book.directive("homepage")
        assert directive is not None
        assert (directive.action, policies.book.parts("homepage")) == ("unpin", {})
    finally:
        await policies.stop()

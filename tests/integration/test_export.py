"""`pipeline export`, as it is typed, of a ledger that is written here record by record, read by DuckDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.codec.reward import WHOLE, Reward
from pipeline.errors import ConfigError
from pipeline.stream.log.topics import REWARDS
from tests.harness.client import Client
from tests.samples import define, plain_decision, plain_policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = define(plain_policy(settle="optimistic"))
DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
"""2024-10-04, as 20,000 days are 54 years of 365.25 days and 277 days."""
HELD_MS = 15_000
UNIT = 1 << POLICY.reward.exponent
ERASED = 1 << 62


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers, partitions=4) as client:
            await client.apply(POLICY)
            yield client


async def invoke(client: Client, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": client.broker})


async def asked(client: Client, *arguments: str) -> Any:
    result = await invoke(client, *arguments, "--json")
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return orjson.loads(result.stdout_bytes)


async def tell(client: Client, partition: int, action_id: str, at_ms: int, **others: Any) -> int:
    """Write a ledger record of a decision of then, or of what has come of it."""
    decided_ms = others.pop("decided_at_ms", at_ms)
    record = Reward(
        action_id=action_id,
        revision=1,
        is_settled=False,
        policy=POLICY.name,
        generation=1,
        segment="other",
        arm="a",
        reward=0,
        reward_exponent=POLICY.reward.exponent,
        context_vector=b"",
        decided_at_ms=decided_ms,
        bucket=decided_ms // POLICY.bucket_ms,
        expires_at_ms=decided_ms + HELD_MS,
        event_time_ms=at_ms,
        attribution=POLICY.statistics_hash,
        outcomes=(),
        outcomes_before=WHOLE,
        decision=orjson.dumps(plain_decision(action_id, decided_ms, context={"visits": 1})),
    )._replace(**others)
    return await client.send(REWARDS, partition, avro.encode("reward", record.fields()))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(folder: Path) -> duckdb.DuckDBPyRelation:
    return duckdb.read_parquet(f"{folder}/ledger/**/*.parquet", hive_partitioning=True)


async def test_the_files_say_what_the_report_counts_each_decision_once_by_its_last_revision(
    client: Client, tmp_path: Path
) -> None:
    """
    x    decided  + a click  settled   again, after a crash       reward 1
    y    decided                                        settled   reward 0
    z    decided, of the next day                                 open
    """
    click = (("x-click", "click", 1.0, START_MS + 10),)
    increment = {"outcomes_before": 0, "decision": b"", "outcomes": click, "reward": UNIT}
    x = {"action_id": "x", "decided_at_ms": START_MS}
    await tell(client, 0, at_ms=START_MS, **x)
    await tell(client, 1, "y", START_MS)
    await tell(client, 0, at_ms=START_MS + 20, revision=2, **x, **increment)
    await tell(client, 0, at_ms=START_MS + 10_001, revision=3, is_settled=True, outcomes=click, reward=UNIT, **x)
    await tell(client, 1, "y", START_MS + 10_001, decided_at_ms=START_MS, revision=2, is_settled=True)
    await tell(client, 0, "z", START_MS + DAY_MS)
    await tell(client, 0, at_ms=START_MS + 20, revision=2, **x, **increment)
    await client.send(REWARDS, 2, b"no record")

    folder = tmp_path / "export"
    told = await asked(client, "export", "--out", str(folder))
    assert (told["rows"], told["open"], told["erased"], told["passed_over"]) == (3, 1, 0, 1)
    assert told["rewards"]["ends"] == {"0": 5, "1": 2, "2": 1, "3": 0}
    rows = read(folder).order("action_id").project("action_id, revision, reward, is_settled, day::varchar, policy")
    assert rows.fetchall() == [
        ("x", 3, 1.0, True, "2024-10-04", "homepage"),
        ("y", 2, 0.0, True, "2024-10-04", "homepage"),
        ("z", 1, 0.0, False, "2024-10-05", "homepage"),
    ]
    assert read(folder).filter("action_id = 'x'").project("outcomes[1].kind, context").fetchall() == [
        ("click", '{"visits":1}')
    ]
    groups = (await asked(client, "report", POLICY.name))["groups"].values()
    reported = [(group["decisions"], group["mean_reward"]) for group in groups if group["decisions"]]
    assert read(folder).filter("is_settled").aggregate("count(*), avg(reward)").fetchall() == reported == [(2, 0.5)]
    every = await asked(client, "export", "--out", str(tmp_path / "every"), "--every-revision")
    # The repeat of an increment of what is over by then changes nothing, and is none.
    assert every["rows"] == 6


async def test_up_to_the_same_end_the_files_are_the_same_but_for_who_was_forgotten_since(
    client: Client, tmp_path: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    await tell(client, 3, "hers", START_MS)
    before = await asked(client, "export", "--out", str(first), "--policy", POLICY.name)
    await tell(client, 3, "later", START_MS)
    same_end = ("--as-of", str(first / "_export.json"), "--out", str(again), "--policy", POLICY.name)
    assert (await asked(client, "export", *same_end))["files"] == before["files"]

    erasure = {"decided_at_ms": START_MS, "revision": ERASED, "is_erased": True, "decision": b""}
    await tell(client, 3, "hers", START_MS + 10, **erasure)
    since = await asked(client, "export", *same_end)
    assert since["rewards"] == before["rewards"]
    assert (since["rows"], since["erased"]) == (before["rows"] - 1, 1)
    assert read(again).filter("action_id in ('hers', 'later')").fetchall() == []
    assert names(tmp_path) == ["again", "first"]


async def test_what_can_not_be_exported_is_refused_and_nothing_is_touched(client: Client, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "other.json").write_text("{}")
    for arguments, words in (
        (("--out", str(tmp_path)), "is there, and no export"),
        (("--out", str(tmp_path / "new"), "--policy", "hompage"), "'hompage' is not applied; known: homepage"),
        (("--out", str(tmp_path / "new"), "--as-of", str(tmp_path / "other.json")), "is no export's _export.json"),
    ):
        result = await invoke(client, "export", *arguments)
        assert isinstance(result.exception, ConfigError)
        assert words in str(result.exception)
    assert names(tmp_path) == ["other.json", "thesis.tex"]


async def test_without_arrow_it_says_what_to_install(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.export.find_spec", lambda _: None)
    result = await invoke(client, "export")
    assert "pip install 'bandit-pipeline[export]'" in str(result.exception)

"""A person is forgotten: the posterior is as if they had never come, and every snapshot, old and new, is proven."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from hashlib import blake2b, sha256
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
from pipeline.errors import ConfigError, UnavailableError
from pipeline.stream.log.topics import REWARDS
from tests.harness.client import Client
from tests.harness.worker import Worker
from tests.naive.fold import naive_fold
from tests.samples import define, linear_policy, plain_decision, plain_outcome

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 4
HOLD_MS = 15_000
"""Window (10 s) and grace (5 s) of the policy."""
PLAIN = linear_policy(settle="optimistic")
POLICY = define(PLAIN)
SALTS = ("a salt of this test that is new", "a salt of this test that was before")
SUBJECTS = ("5e1f" * 8, "0dd5" * 8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a worker on a broker of their own."""
    folder = tmp_path_factory.mktemp("worker")
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers, partitions=PARTITIONS) as client:
            with Worker(broker.bootstrap_servers, folder) as worker:
                client.watch(worker)
                await client.apply(POLICY)
                yield client
            assert worker.exit_code == 0


async def invoke(client: Client, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": client.broker})


async def asked(client: Client, *arguments: str) -> Any:
    result = await invoke(client, *arguments, "--json")
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return orjson.loads(result.stdout_bytes)


def read(export: Path) -> duckdb.DuckDBPyRelation:
    return duckdb.read_parquet(f"{export}/ledger/**/*.parquet", hive_partitioning=True)


def decisions(start_ms: int, names: str) -> list[dict[str, Any]]:
    """Make ten decisions; every other one is the first subject's."""
    return [
        plain_decision(
            f"{names}-{number}",
            start_ms + number,
            arm="ab"[number % 3 % 2],
            subject_hash=SUBJECTS[number % 2],
            context_vector=[4096, 100 * number, -7 * number],
        )
        for number in range(10)
    ]


def clicks(of: list[dict[str, Any]], outcome: str) -> list[dict[str, Any]]:
    return [
        plain_outcome(one["action_id"], one["decided_at_ms"] + 5, f"{one['action_id']}-{outcome}") for one in of[::3]
    ]


async def test_what_is_left_is_as_if_the_person_had_never_come_and_every_snapshot_is_proven(client: Client) -> None:
    start_ms = round(time.time() * 1000) - 10 * HOLD_MS
    expired, held = decisions(start_ms, "expired"), decisions(start_ms + 3 * HOLD_MS, "held")
    outcomes = clicks(expired, "o") + clicks(held, "o")
    await client.decide(expired)
    await client.observe(clicks(expired, "o"))
    await client.tick(start_ms + 2 * HOLD_MS)
    await client.quiet()
    await client.decide(held)
    await client.observe(clicks(held, "o"))
    await client.quiet()
    everyone = naive_fold(PLAIN, expired + held, outcomes)
    before = (await client.last_snapshot(POLICY.name, everyone.sha256))["version"]

    # Ten decisions of the subject, five of them with their row gone.
    report = await asked(client, "forget", SUBJECTS[0], "--dry-run")
    assert (report["actions"], report["counting"], report["taken_back"]) == (10, 10, 0)
    report = await asked(client, "forget", SUBJECTS[0])
    assert (report["actions"], report["counting"], report["taken_back"]) == (10, 0, 10)

    left = [one for one in expired + held if one["subject_hash"] == SUBJECTS[1]]
    others = naive_fold(PLAIN, left, outcomes)
    assert others.sha256 != everyone.sha256
    await client.quiet()
    after = (await client.last_snapshot(POLICY.name, others.sha256))["version"]

    # What comes for an erased action, a second request, and the end of all windows change nothing.
    await client.observe(clicks(held, "late"))
    await client.decide(held)
    again = await asked(client, "forget", SUBJECTS[0])
    assert (again["actions"], again["taken_back"]) == (10, 10)
    await client.tick(start_ms + 9 * HOLD_MS)
    await client.quiet()
    late = naive_fold(PLAIN, left, outcomes + clicks(held, "late"))
    last = (await client.last_snapshot(POLICY.name, late.sha256))["version"]

    for version in sorted({1, before, after, last}):
        verdict = await asked(client, "verify", "--policy", POLICY.name, "--version", str(version))
        assert verdict["equal"], verdict


async def test_the_ledger_names_nobody_and_who_was_forgotten_is_on_record(client: Client) -> None:
    for record in await client.read(REWARDS):
        assert not any(subject.encode() in record.value for subject in SUBJECTS)
        fields = avro.decode_as("reward", record.value)
        is_increment = fields["outcomes_before"] >= 0
        assert (fields["is_erased"] or is_increment) == (fields["decision"] == b"")
    records = await asked(client, "forget", "--list")
    hashed = sha256(SUBJECTS[0].encode()).hexdigest()
    assert [(one["subject_sha256"], one["actions"], one["taken_back"]) for one in records] == [(hashed, 10, 10)] * 2
    assert hashed in (await invoke(client, "forget", "--list")).output


async def test_an_export_is_what_the_report_counts_and_holds_nobody_who_was_forgotten_before_or_since(
    client: Client, tmp_path: Path
) -> None:
    third = "7a7a" * 8
    now_ms = round(time.time() * 1000)
    await client.decide([{**one, "subject_hash": third} for one in decisions(now_ms, "third")])
    await client.quiet()
    first = await asked(client, "export", "--out", str(tmp_path / "first"))
    # Settled are the ten that are left of two times twenty halves: the second subject's. Numbers 3 and 9 had clicks,
    # worth 1. Open are the third's ten.
    assert (first["rows"], first["open"], first["erased"]) == (20, 10, 10)
    groups = (await asked(client, "report", POLICY.name))["groups"].values()
    counted = [(group["decisions"], group["mean_reward"]) for group in groups if group["decisions"]]
    settled = read(tmp_path / "first").filter("is_settled")
    assert settled.aggregate("count(*), avg(reward)").fetchall() == [(10, 0.4)]
    assert counted == [(10, pytest.approx(0.4))]
    everything = str(read(tmp_path / "first").project("columns(*)::varchar").fetchall())
    assert not any(subject in everything for subject in (*SUBJECTS, third))

    same_end = ("--as-of", str(tmp_path / "first" / "_export.json"))
    again = await asked(client, "export", "--out", str(tmp_path / "again"), *same_end)
    assert again["files"] == first["files"]
    assert (await asked(client, "forget", third))["actions"] == 10
    await client.quiet()
    # Up to the same offsets, where the ledger knew nothing of it.
    since = await asked(client, "export", "--out", str(tmp_path / "again"), *same_end)
    assert (since["rows"], since["erased"], since["rewards"]) == (10, 20, first["rewards"])
    names = read(tmp_path / "again").project("split_part(action_id, '-', 1)").distinct().fetchall()
    assert sorted(names) == [("expired",), ("held",)]
    every = await asked(client, "export", "--out", str(tmp_path / "every"), "--every-revision")
    # Each is decided, has its clicks, is settled: more revisions than decisions.
    assert every["rows"] > since["rows"]


async def test_nobody_s_decisions_are_none_and_that_is_on_record_too(client: Client) -> None:
    report = await asked(client, "forget", "0b0d" * 8)
    assert (report["actions"], report["taken_back"]) == (0, 0)
    assert len(await asked(client, "forget", "--list")) == 4
    assert (await invoke(client, "forget")).exit_code == 2


async def test_a_person_is_found_by_id_under_every_salt_and_in_what_was_refused(client: Client, tmp_path: Path) -> None:
    salts, jane = tmp_path / "salts", "jane.doe@example.org"
    salts.write_text("\n".join(SALTS))
    # What a node logs: BLAKE2b keyed by the salt, 16 bytes (RFC 7693).
    hashes = [blake2b(jane.encode(), key=salt.encode(), digest_size=16).hexdigest() for salt in SALTS]
    now_ms = round(time.time() * 1000)
    vector = {"context_vector": [4096, 100, -7]}
    shown = [plain_decision(f"by-{n}", now_ms, subject_hash=one, **vector) for n, one in enumerate((*hashes, jane))]
    refused = plain_decision("refused", now_ms, arm="no such arm", subject_hash=hashes[1], **vector)
    other = plain_decision("other", now_ms, arm="no such arm", **vector)
    await client.decide([*shown, refused, other, plain_decision("sound", now_ms, **vector)])
    await client.observe(
        [
            plain_outcome("by-1", now_ms, "of-hers", kind="unheard-of"),
            plain_outcome("sound", now_ms, "of-a-careless-caller", kind=jane),
            plain_outcome("sound", now_ms, "of-nobody", kind="unheard-of"),
        ]
    )
    await client.quiet()
    by_user = ("forget", "--user", jane, "--salt-file", str(salts))
    for arguments, letters in (((*by_user, "--dry-run"), 3), (by_user, 3), (by_user, 0)):
        report = await asked(client, *arguments)
        assert (report["actions"], report["dead_letters"]) == (4, letters), arguments
    left = await asked(client, "dead-letters", "list")
    forgotten = [one for one in left if one["reason"] == "forgotten"]
    assert [one["bytes_kept"] for one in forgotten] == [0, 0, 0]
    assert not any(name in str(left) for name in (jane, *hashes))
    # Others' are there still, and what is erased is not sent back.
    assert {one["record_key"] for one in left} >= {"other"}
    planned = await asked(client, "dead-letters", "replay", "--reason", "forgotten", "--dry-run")
    assert (len(planned["unsendable"]), planned["to_send"]) == (3, [])
    names = {one["subject_sha256"] for one in await asked(client, "forget", "--list")}
    assert names >= {sha256(one.encode()).hexdigest() for one in hashes}
    assert sha256(jane.encode()).hexdigest() not in names


async def test_what_is_no_hash_is_refused_and_not_repeated(client: Client) -> None:
    result = await invoke(client, "forget", "jane.doe@example.org")
    assert isinstance(result.exception, ConfigError)
    assert "20 characters that are no hash" in str(result.exception)
    assert "jane" not in str(result.exception)
    for wrong in (["--user", "jane"], ["--user", "jane", "5e1f" * 8]):
        assert (await invoke(client, "forget", *wrong)).exit_code == 2


async def test_replays_that_have_counted_a_person_are_run_on_until_they_count_none_of_it(tmp_path: Path) -> None:
    """
    decided   ├─ generation 1 ─┤
    replay                       counted, promoted       run on      begun anew: its folder is gone
    forget                                          first person      second person
    """
    into = ("replay", "--policy", POLICY.name, "--into", "2", "--work-dir", str(tmp_path / "work"))
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers, partitions=PARTITIONS) as client:
            with Worker(broker.bootstrap_servers, tmp_path / "worker") as worker:
                client.watch(worker)
                await client.apply(POLICY)
                start_ms = round(time.time() * 1000) - 10 * HOLD_MS
                shown = decisions(start_ms, "x")
                await client.decide(shown)
                await client.observe(clicks(shown, "o"))
                await client.tick(start_ms + 9 * HOLD_MS)
                await client.quiet()
                assert (await asked(client, *into))["counted"] == 10
                await asked(client, "replay", "promote", POLICY.name, "2")
                await client.last_snapshot(POLICY.name, naive_fold(PLAIN, shown, clicks(shown, "o")).sha256)

                assert (await asked(client, "forget", SUBJECTS[0], "--dry-run"))["replays"] == [f"{POLICY.name}/2"]
                folder = ("--work-dir", str(tmp_path / "work"))
                report = await asked(client, "forget", SUBJECTS[0], *folder)
                assert (report["taken_back"], report["replays"]) == (5, [f"{POLICY.name}/2"])
                left = [one for one in shown if one["subject_hash"] == SUBJECTS[1]]
                others = naive_fold(PLAIN, left, clicks(shown, "o"))
                last = await client.last_snapshot(POLICY.name, others.sha256)
                assert last["generation"] == 2
                # What was taken back is taken back: a repeat has nothing to run on.
                assert (await asked(client, "forget", SUBJECTS[0], *folder))["replays"] == []

                (tmp_path / "work").rename(tmp_path / "lost")
                report = await asked(client, "forget", SUBJECTS[1], *folder)
                assert (report["taken_back"], report["replays"]) == (5, [f"{POLICY.name}/2"])
                await client.last_snapshot(POLICY.name, naive_fold(PLAIN, [], []).sha256)
                assert (await asked(client, "verify", "--policy", POLICY.name))["equal"]


async def test_without_a_worker_it_says_what_is_left_to_do() -> None:
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers, partitions=PARTITIONS) as alone:
            await alone.decide(decisions(1_000, "x"))
            result = await invoke(alone, "forget", SUBJECTS[0], "--timeout", "0")
            assert isinstance(result.exception, UnavailableError)
            assert "5 of 5 decisions were asked to be erased" in str(result.exception)
            assert await asked(alone, "forget", "--list") == []

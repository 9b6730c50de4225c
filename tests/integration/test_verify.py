"""`pipeline verify` recomputes snapshots from the ledger, and turns red when one record of either is another."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition

from pipeline.audit.record import Operator
from pipeline.brokers import running_broker
from pipeline.checkpoint.head import LIST, PART, Head, head_from
from pipeline.checkpoint.parts import cut, list_of
from pipeline.checkpoint.state import LedgerState, lines_of
from pipeline.checkpoint.topic import record_of
from pipeline.cli.control import apply_policy
from pipeline.codec import avro
from pipeline.learn.ledger import fold_ledger, ledger_record
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.hold import republish
from pipeline.publish.outline import outline_of
from pipeline.publish.snapshot import build_snapshot, posterior_sha256, snapshot_id
from pipeline.stream.log.identity import LogLookup
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import CHECKPOINTS, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.ledger_fold import LedgerFold
from tests.samples import define, plain_policy

NIGHTLY = Path(__file__).parents[2] / "ops" / "nightly" / "prove.sh"
POLICY = define(plain_policy())
GRID = 1 << POLICY.reward_exponent


def reward(action: int, units: int) -> dict[str, object]:
    """Make the ledger record of a settled decision for arm a or b, by turns."""
    return {
        "action_id": f"x{action}",
        "revision": 2,
        "is_settled": True,
        "policy": POLICY.name,
        "generation": POLICY.generation,
        "segment": "other",
        "arm": "ab"[action % 2],
        "reward": units,
        "reward_exponent": POLICY.reward_exponent,
        "context_vector": b"",
        "decided_at_ms": action,
        "bucket": 0,
        "expires_at_ms": 60_000,
        "event_time_ms": 10_000,
        "attribution": POLICY.statistics_hash,
        "outcomes": [],
        "decision": b"{}",
        "is_erased": False,
        "is_reward_final": False,
    }


LEDGER = [reward(action, GRID if action % 3 == 0 else 0) for action in range(30)]


def snapshot(length: int = 30, version: int = 1, parent: str = "", policy: PolicyDefinition = POLICY) -> bytes:
    """Make the snapshot of the first `length` records in partition 0 of the ledger."""
    fold = LedgerFold(policy.name, policy.generation)
    fold.add(0, [ledger_record(offset, fields) for offset, fields in enumerate(LEDGER[:length])])
    return build_snapshot(policy, fold.rows(), fold.marks(), version=version, parent=parent)


def line() -> list[bytes]:
    """Versions 1 to 3, of 10, 20 and 30 ledger records, and version 1 once more."""
    contents: list[bytes] = []
    for version in (1, 2, 3):
        contents.append(snapshot(10 * version, version, snapshot_id(contents[-1]) if contents else ""))
    return [*contents, republish(contents[0], 4, snapshot_id(contents[-1]))]


async def publish(broker: str, ledger: list[dict[str, object]], *snapshots: bytes) -> None:
    """Publish the ledger and the snapshots, that of the whole ledger if none is given."""
    outbox = Outbox(broker)
    await outbox.start()
    try:
        key = POLICY.name.encode()
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in ledger)
        for content in snapshots or [snapshot()]:
            await outbox.deliver(Record(topic, 0, key, content) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
    finally:
        await outbox.stop()


def verify(broker: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "verify", "--broker", broker, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def broker(tmp_path: Path):
    with running_broker("embedded", cache_dir=tmp_path) as started:
        yield started.bootstrap_servers


async def test_a_snapshot_that_is_the_fold_of_its_ledger_is_equal(broker):
    await publish(broker, LEDGER)
    done = verify(broker)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.startswith("equal: homepage version 1")
    fields = orjson.loads(verify(broker, "--policy", "homepage", "--version", "1", "--json").stdout)
    assert (fields["equal"], fields["ledger_records"], fields["difference"]) == (True, 30, None)


@pytest.mark.attack
async def test_what_is_no_snapshot_among_them_is_passed_over_by_its_offset_and_told_of(broker):
    await publish(broker, LEDGER)
    outbox = Outbox(broker)
    await outbox.start()
    strange = (b"no record", b"\xc3\x01" + bytes(20), b"")
    await outbox.deliver(
        Record(topic, 0, key, value)
        for topic in (SNAPSHOTS, SNAPSHOT_HISTORY)
        for key, value in zip((b"homepage", b"\xff/part/x", b"other"), strange, strict=True)
    )
    await outbox.stop()
    done = verify(broker)
    assert (done.returncode, done.stdout.startswith("equal: homepage version 1")) == (0, True)
    told = [line for line in done.stderr.splitlines() if line]
    # One snapshot stands at offset 0 of each topic.
    assert [line.split()[:3] for line in told] == [
        ["record-passed-over", f"place={topic}/0", f"offset={offset}"]
        for topic in (SNAPSHOTS, SNAPSHOT_HISTORY)
        for offset in (1, 2, 3)
    ]
    for command in (["snapshot", "list"], ["snapshot", "rollback", "homepage", "--to", "1", "--dry-run"]):
        arguments = [sys.executable, "-m", "pipeline", *command, "--broker", broker]
        asked = await asyncio.to_thread(
            subprocess.run, arguments, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in asked.stderr
        assert "record-passed-over" in asked.stderr


@pytest.mark.attack
async def test_what_is_no_reward_in_the_ledger_is_passed_over_by_its_offset_and_told_of(broker):
    """
    offset   0 … 9   10        11        12        13 … 32
             reward  nonsense  snapshot  (empty)   reward
    """
    strange = (b"no record", snapshot(), b"")
    offsets = [*range(10), *range(13, 33)]
    fold = LedgerFold(POLICY.name, POLICY.generation)
    fold.add(0, [ledger_record(offset, fields) for offset, fields in zip(offsets, LEDGER, strict=True)])
    content = build_snapshot(POLICY, fold.rows(), fold.marks(), version=1, parent="")
    outbox = Outbox(broker)
    await outbox.start()
    await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in LEDGER[:10])
    await outbox.deliver(Record(REWARDS, 0, b"x", value) for value in strange)
    await outbox.stop()
    await publish(broker, LEDGER[10:], content)
    at_the_end = verify(broker, "--offsets", "0=33")
    for done in (verify(broker), at_the_end):
        assert done.returncode == 0, done.stderr
        assert [line.split()[:3] for line in done.stderr.splitlines() if line] == [
            ["record-passed-over", f"place={REWARDS}/0", f"offset={offset}"] for offset in (10, 11, 12)
        ]
    assert POLICY.name in at_the_end.stdout
    other = verify(broker, "--independent")
    assert other.stdout.startswith("equal: homepage version 1")
    assert f"not looked at: {REWARDS}/0/10, 0/11, 0/12: no reward records" in other.stdout


async def test_other_code_comes_to_the_same_of_every_version_and_says_what_it_did_not_look_at(broker):
    await publish(broker, LEDGER, *line())
    command = [str(NIGHTLY), "--last", "10"]
    environment = os.environ | {
        "PIPELINE_BROKER": broker,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    fields = orjson.loads(done.stdout)
    assert [(one["version"], one["ledger_records"]) for one in fields["snapshots"]] == [
        (1, 10),
        (2, 20),
        (3, 30),
        (4, 10),
    ]
    assert (fields["equal"], fields["left_out"]) == (True, [])
    assert fields["lineage"][0]["last_version"] == 4


async def test_other_code_names_an_altered_record_and_what_can_not_go_together(broker):
    await publish(broker, [*LEDGER[:3], {**LEDGER[3], "reward": 0}, *LEDGER[4:]])
    done = verify(broker, "--independent")
    assert done.returncode == 1
    assert "first difference: segment other, arm b: reward sum in grid units" in done.stdout
    both = verify(broker, "--independent", "--sample", "3")
    assert both.returncode == 2
    assert "leave --offsets and --sample out" in both.stderr


async def test_one_altered_ledger_record_is_named(broker):
    """Record 3 is for arm b, worth 1: altered to 0, arm b's sum is one less."""
    altered = [*LEDGER[:3], {**LEDGER[3], "reward": 0}, *LEDGER[4:]]
    await publish(broker, altered)
    done = verify(broker)
    assert done.returncode == 1
    assert "first difference: segment other, arm b: reward sum in grid units" in done.stdout
    fields = orjson.loads(verify(broker, "--json").stdout)
    # Of the actions 0, 3, … 27 that are worth 1, five are odd: 3, 9, 15, 21, 27.
    assert fields["difference"]["published"] == str(5 * GRID)
    assert fields["difference"]["recomputed"] == str(4 * GRID)


async def test_a_ledger_that_ends_too_early_is_said_to_be_incomplete(broker):
    await publish(broker, LEDGER[:-1])
    done = verify(broker)
    assert done.returncode == 70
    assert "ends at offset 29, 30 is needed" in done.stderr


def answer(broker: str, *options: str) -> tuple[int, dict[str, Any]]:
    done = verify(broker, *options, "--json")
    return done.returncode, orjson.loads(done.stdout)


async def test_every_version_is_recomputed_in_one_pass(broker):
    await publish(broker, LEDGER, *line())
    code, fields = answer(broker, "--last", "10")
    assert (code, fields["equal"]) == (0, True)
    assert [(one["version"], one["ledger_records"]) for one in fields["snapshots"]] == [
        (1, 10),
        (2, 20),
        (3, 30),
        (4, 10),
    ]
    (lineage,) = fields["lineage"]
    assert (lineage["first_version"], lineage["last_version"], lineage["rollbacks"]) == (1, 4, 1)
    done = verify(broker)
    assert "lineage: homepage versions 1 to 4 follow each other without gap or reuse, 1 of them" in done.stdout


async def test_the_first_version_that_an_altered_record_is_in_is_named(broker):
    """Record 15 is in versions 2 and 3, not in 1."""
    altered = [*LEDGER[:15], {**LEDGER[15], "reward": 1}, *LEDGER[16:]]
    await publish(broker, altered, *line())
    code, fields = answer(broker, "--last", "10")
    assert (code, fields["equal"]) == (1, False)
    assert [one["version"] for one in fields["snapshots"] if one["difference"]] == [2, 3]
    assert answer(broker, "--policy", "homepage", "--version", "1")[0] == 0


async def test_a_break_in_the_lineage_is_named_though_every_snapshot_is_the_fold_of_its_ledger(broker):
    one, _, three, _ = line()
    await publish(broker, LEDGER, one, three)
    done = verify(broker, "--last", "10")
    assert done.returncode == 1
    assert "first difference: version 3: number after 1" in done.stdout
    code, fields = answer(broker, "--last", "10")
    assert (code, fields["policy"], fields["difference"]["recomputed"]) == (1, "homepage", "2")
    assert [one["difference"] for one in fields["snapshots"]] == [None, None]


async def test_all_policies_are_verified_when_none_is_named(broker):
    other = define(plain_policy(name="other"))
    await publish(broker, LEDGER, snapshot(), snapshot(20, policy=other))
    code, fields = answer(broker)
    assert (code, [one["policy"] for one in fields["snapshots"]]) == (0, ["homepage", "other"])
    chosen = answer(broker, "--policy", "other")[1]
    assert [one["policy"] for one in chosen["lineage"]] == ["other"]
    refused = verify(broker, "--policy", "other", "--policy", "nowhere")
    assert refused.returncode == 1
    assert "policy 'nowhere' has none" in refused.stderr


async def test_the_statistics_at_an_offset_vector_are_hashed_and_compared_with_its_snapshots(broker):
    await publish(broker, LEDGER, *line())
    code, fields = answer(broker, "--offsets", "0=20,1=0")
    assert code == 0
    fold = LedgerFold(POLICY.name, POLICY.generation)
    fold.add(0, [ledger_record(offset, one) for offset, one in enumerate(LEDGER[:20])])
    (at,) = fields["at_offsets"]
    assert (at["posterior_sha256"], at["rewards_counted"]) == (posterior_sha256(POLICY, fold.rows()), 20)
    assert [one["version"] for one in fields["snapshots"]] == [2]
    # Version 4 is the content of version 1, and says the same offsets.
    assert [one["version"] for one in answer(broker, "--offsets", "0=10")[1]["snapshots"]] == [1, 4]
    done = verify(broker, "--offsets", "0=7")
    assert done.returncode == 0
    assert "7 rewards counted from 7 ledger records" in done.stdout
    assert "there is nothing to compare with" in done.stdout
    assert verify(broker, "--offsets", "0=31").returncode == 70


async def test_a_sample_looks_at_records_and_says_that_no_sum_was_checked(broker):
    """Rewards of decisions 0, 3, … 27 come of a click each, which is said to be worth 1."""
    await apply_policy(broker, POLICY, Operator("tests", "policy apply"))
    clicks = [
        {
            **fields,
            "outcomes": [{"outcome_id": f"o{at}", "kind": "click", "value": 1.0, "occurred_at_ms": at}],
            "revision": 3,
        }
        if fields["reward"]
        else fields
        for at, fields in enumerate(LEDGER)
    ]
    await publish(broker, clicks)
    code, fields = answer(broker, "--sample", "1000")
    assert (code, fields["sampled"]["looked_at"], fields["snapshots"]) == (0, 30, [])
    assert answer(broker, "--sample", "7")[1]["sampled"]["looked_at"] == 7
    assert "no sum was checked" in verify(broker, "--sample", "7").stdout


async def test_a_sampled_record_that_is_worth_something_else_is_named(broker):
    await apply_policy(broker, POLICY, Operator("tests", "policy apply"))
    await publish(broker, LEDGER)  # rewards without an outcome
    done = verify(broker, "--sample", "30")
    assert done.returncode == 1
    assert "first difference: ledger record rewards/0/0, action x0: reward" in done.stdout


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--version", "1"), "--version is of one policy"),
        (("--last", "2", "--sample", "3"), "exclude each other"),
        (("--offsets", "0:7"), "no offset vector such as 0=120,1=98"),
        (("--offsets", "0=7,0=8"), "names a partition twice"),
    ],
)
def test_options_that_can_not_be_meant_are_refused_before_anything_is_read(options, fault):
    refused = verify("127.0.0.1:1", *options)
    assert refused.returncode == 2
    assert fault in " ".join(refused.stderr.split())


async def send_history(broker: str, live: bytes, *history: bytes) -> None:
    outbox = Outbox(broker)
    await outbox.start()
    try:
        key = POLICY.name.encode()
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in LEDGER)
        await outbox.deliver(Record(SNAPSHOT_HISTORY, 0, key, value) for value in history)
        await outbox.deliver([Record(SNAPSHOTS, 0, key, live)])
    finally:
        await outbox.stop()


def in_outline(content: bytes, **others: object) -> bytes:
    """Make the outline of a snapshot; `others` is what it says otherwise."""
    return outline_of(content, avro.decode_as("snapshot", content) | others)


def run(broker: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *words, "--broker", broker]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_what_is_kept_as_an_outline_is_shown_compared_and_proven_and_not_gone_back_to(broker):
    one, two, three, four = line()
    await apply_policy(broker, POLICY, Operator("ada", "test"))
    await send_history(broker, four, one, in_outline(two), in_outline(three), four)
    for how in ((), ("--independent",)):
        fields = orjson.loads(verify(broker, "--last", "4", "--json", *how).stdout)
        assert fields["equal"], fields
    shown = orjson.loads(run(broker, "snapshot", "show", "homepage", "--version", "2", "--json").stdout)
    assert (shown["id"], shown["version"]) == (snapshot_id(two), 2)
    # The first 20 records are of arms a and b by turns.
    assert [arm["count"] for arm in shown["arms"] if arm["segment"] == "other"][:2] == [10, 10]
    found = run(broker, "snapshot", "diff", "homepage", "1", "3", "--json")
    assert found.returncode == 0, found.stderr
    listed = orjson.loads(run(broker, "snapshot", "list", "--json").stdout)
    assert [row["id"] for row in listed] == [snapshot_id(content) for content in (one, two, three, four)]
    refused = run(broker, "snapshot", "rollback", "homepage", "--to", "2")
    assert refused.returncode == 1
    assert "version 2 of 'homepage' is kept as an outline" in refused.stderr
    assert "the nearest whole ones are 1 and 4" in refused.stderr


@pytest.mark.parametrize("how", [(), ("--independent",)])
async def test_an_outline_that_says_something_else_than_the_ledger_is_different(broker, how):
    one, two, three, four = line()
    wrong = avro.decode_as("snapshot", two)["segments"]
    wrong[0]["counts"][0] += 1
    await send_history(broker, four, one, in_outline(two, segments=wrong), in_outline(three), four)
    done = verify(broker, "--policy", "homepage", "--version", "2", *how)
    assert done.returncode == 1
    assert "count" in done.stdout


async def test_an_outline_of_another_snapshot_than_its_successor_names_breaks_the_line(broker):
    one, _, three, four = line()
    other = snapshot(20, 2, "ab" * 32)
    await send_history(broker, four, one, in_outline(other), in_outline(three), four)
    done = verify(broker)
    assert done.returncode == 1
    assert "version 2: parent" in done.stdout


def checkpoint(end: int, previous: str = "", **others: Any) -> list[Record]:
    """Make the records of the checkpoint of the ledger below an offset; the head is the last of them."""
    state = LedgerState()
    fold = fold_ledger([ledger_record(offset, fields) for offset, fields in enumerate(LEDGER[:end])], {}, state.fold)
    parts = list(cut(lines_of(state.fold.watermark_ms, fold.counted, fold.deltas)))
    named = list_of(part.name for part in parts)
    head = Head("", 0, end, state.fold.watermark_ms, previous, named.name, len(parts))._replace(**others)
    made = [record_of(0, PART, part) for part in parts] + [record_of(0, LIST, named)]
    return [*made, Record(CHECKPOINTS, 0, head.key, head.to_bytes())]


async def send_checkpoints(broker: str, *made: list[Record]) -> list[str]:
    """Send checkpoints of this broker's ledger, each behind the one before; return their ids."""
    outbox = Outbox(broker)
    await outbox.start()
    try:
        topic_id = (await LogLookup(outbox.client).log(TopicPartition(REWARDS, 0))).topic_id
        ids = [""]
        for records in made:
            head = head_from(records[-1].value or b"")
            head = head._replace(topic_id=head.topic_id or topic_id, previous=head.previous or ids[-1])
            await outbox.deliver([*records[:-1], Record(CHECKPOINTS, 0, head.key, head.to_bytes())])
            ids.append(head.id)
    finally:
        await outbox.stop()
    return ids[1:]


@pytest.mark.parametrize("how", [(), ("--independent",)], ids=["fold", "other-code"])
async def test_a_proof_begins_where_it_came_to_before_and_says_so(broker, tmp_path, how):
    await publish(broker, LEDGER, *line())
    first, second = await send_checkpoints(broker, checkpoint(8), checkpoint(19))
    remember = (*how, "--trusted", str(tmp_path / "trusted.json"), "--json")

    def proven(*options: str) -> dict[str, Any]:
        done = verify(broker, *remember, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    begun = proven("--version", "3", "--policy", "homepage")
    assert (begun["begun_at"], begun["ledger_records"]) == ([], 30)
    assert begun["checkpoints"] == [{"partition": 0, "offset": 19, "checkpoint": second, "equal": True}]
    again = proven("--version", "3", "--policy", "homepage")
    assert again["begun_at"] == [{"partition": 0, "offset": 19, "checkpoint": second}]
    assert (again["ledger_records"], again["checkpoints"]) == (11, [])
    # Version 1 ends at 10, before what is trusted: it comes by the first one, which is trusted from then on.
    assert [one["checkpoint"] for one in proven("--version", "1", "--policy", "homepage")["checkpoints"]] == [first]
    assert [one["offset"] for one in proven("--last", "4")["begun_at"]] == [8]
    whole = proven("--from-start", "--version", "3", "--policy", "homepage")
    assert (whole["begun_at"], whole["ledger_records"]) == ([], 30)
    assert [(one["checkpoint"], one["equal"]) for one in whole["checkpoints"]] == [(first, True), (second, True)]
    # What the one code came to is not the other's word.
    other = () if how else ("--independent",)
    apart = orjson.loads(verify(broker, *other, *remember[len(how) :]).stdout)
    assert apart["begun_at"] == []


@pytest.mark.parametrize("how", [(), ("--independent",)], ids=["fold", "other-code"])
async def test_an_operator_may_vouch_for_a_checkpoint_and_a_wrong_one_is_told_of(broker, tmp_path, how):
    await publish(broker, LEDGER, snapshot())
    (wrong_id,) = await send_checkpoints(broker, checkpoint(7, offset=9))
    here = (*how, "--trusted", str(tmp_path / "trusted.json"))
    found = verify(broker, *here)
    assert found.returncode == 1
    assert f"different: checkpoint {wrong_id[:12]} of ledger partition 0 at offset 9" in found.stdout
    assert not (tmp_path / "trusted.json").exists()
    # Two records are not in it, whoever vouches for it.
    for trust in ("newest", wrong_id[:12]):
        vouched = verify(broker, *here, "--trust", trust)
        assert vouched.returncode == 1
        assert f"begun: the ledger's partition 0 at 9 ({wrong_id[:12]})" in vouched.stdout
        assert "different: homepage version 1" in vouched.stdout


async def test_a_checkpoint_of_another_log_or_that_lacks_a_part_is_not_begun_at_whoever_vouches(broker, tmp_path):
    await publish(broker, LEDGER, snapshot())
    trust = ("--trusted", str(tmp_path / "trusted.json"), "--trust", "newest")
    for refused in (checkpoint(9, topic_id="of-another-ledger"), checkpoint(9, partition=1), checkpoint(8)[1:]):
        await send_checkpoints(broker, refused)
        found = verify(broker, *trust)
        assert found.returncode == 0, found.stdout
        assert "begun: the ledger's start" in found.stdout
    await send_checkpoints(broker, checkpoint(9))
    assert "begun: the ledger's partition 0 at 9" in verify(broker, *trust).stdout


async def test_a_part_that_was_changed_ends_the_proof_and_says_how_to_do_without(broker, tmp_path):
    await publish(broker, LEDGER, snapshot())
    part, *rest = checkpoint(9)
    other, *_ = checkpoint(8)
    await send_checkpoints(broker, [part._replace(value=other.value), *rest])
    found = verify(broker, "--trusted", str(tmp_path / "trusted.json"), "--trust", "newest")
    assert found.returncode not in (0, 1)
    assert "it was changed" in found.stderr
    assert "--from-start" in found.stderr


async def test_a_chain_with_a_head_that_is_missing_is_different(broker, tmp_path):
    await publish(broker, LEDGER, snapshot())
    await send_checkpoints(broker, checkpoint(9), checkpoint(19, "ab" * 32))
    found = verify(broker, "--trusted", str(tmp_path / "trusted.json"))
    assert found.returncode == 1
    assert "the chain of checkpoints" in found.stdout
    assert "missing or is another now" in found.stdout

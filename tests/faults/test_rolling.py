"""Scenario 10: workers are restarted one after the other, for a changed policy, an added arm, a new release."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.codec.schemas import schemas_folder
from pipeline.stream.log.topics import DECISIONS
from tests.contract.avro_writer import single_object
from tests.faults.trial import Trial
from tests.harness.client import partition_of
from tests.harness.known import Traffic
from tests.harness.worker import Worker
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision

SHARE = 20
"""Chunks of the stream."""
NEW_FIELD = {"name": "page", "type": "string", "default": "", "doc": "Where it was shown."}


@pytest.mark.faults
async def test_a_rolling_restart_with_a_changed_policy_and_an_added_arm(long_trial: Trial) -> None:
    trial = long_trial
    homepage, linear = trial.streams()
    floored = homepage.policy | {"exploration": {"floor": 0.05}}
    widened = floored | {"arms": [*floored["arms"], {"name": "c"}]}
    async with trial.flow(homepage, linear) as flow:
        workers = [trial.worker("0"), trial.worker("1")]
        for worker in workers:
            worker.start()
        trial.client.watch(*workers)
        await flow.send(SHARE)
        for policy in (floored, widened):
            await trial.client.apply(define(policy))
            for worker in workers:
                await restarted(trial, worker, workers)
                await flow.allow(SHARE // 2)
        # Decisions of its end come behind the stream, whose repeats would be too late after them.
        await flow.send(len(flow))
        shown = [of_new_arm(homepage, number) for number in range(50)]
        await trial.client.decide(shown)
        await flow.send_rest()
        await trial.settle(with_decisions(homepage, widened, shown), linear)


@pytest.mark.faults
async def test_a_rolling_restart_with_a_new_release_of_a_schema(long_trial: Trial) -> None:
    trial = long_trial
    homepage, linear = trial.streams()
    checkout, schema = await asyncio.to_thread(next_release, trial.folder / "checkout")
    async with trial.flow(homepage, linear) as flow:
        old = [trial.worker(name) for name in "01"]
        for worker in old:
            worker.start()
        await flow.send(SHARE)
        # Workers first, producers when all of them know the schema.
        for number, worker in enumerate(old):
            await asyncio.to_thread(worker.stop)
            new = trial.worker(f"new-{number}", state_dir=worker.state_dir, checkout=checkout)
            new.start()
            trial.client.watch(new)
            trial.injected()
            await flow.allow(SHARE)
            await trial.work_goes_on()
            await trial.has_members(2)
        await flow.send(len(flow))
        shown = [of_new_arm(homepage, number) | {"arm": "a"} for number in range(50)]
        for decision in shown:
            partition = partition_of(decision["action_id"], trial.client.partitions)
            raw = single_object(schema, in_full(schema, decision))
            await trial.client.send(DECISIONS, partition, raw)
        await flow.send_rest()
        await trial.settle(with_decisions(homepage, homepage.policy, shown), linear)


async def restarted(trial: Trial, worker: Worker, all_of_them: list[Worker]) -> None:
    """Stop a worker in order and start it again, beside the others."""
    trial.client.watch(*(other for other in all_of_them if other is not worker))
    await asyncio.to_thread(worker.stop)
    worker.start()
    trial.client.watch(*all_of_them)
    trial.injected()
    await trial.has_members(len(all_of_them))


def of_new_arm(stream: Traffic, number: int) -> dict[str, Any]:
    """Make a decision of the time at which the stream ends."""
    return plain_decision(f"new-{number}", max(record["decided_at_ms"] for _, record in stream.decisions), arm="c")


def with_decisions(stream: Traffic, policy: dict[str, Any], shown: list[dict[str, Any]]) -> Traffic:
    """Add decisions to a stream, and say under which policy it ends."""
    decisions = [*stream.decisions, *((0, record) for record in shown)]
    naive = naive_fold(policy, [r for _, r in decisions], [r for _, r in stream.outcomes])
    return stream._replace(policy=policy, decisions=decisions, naive=naive)


def next_release(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Make a copy of the code whose decisions have one field more, the present schema being a released one there."""
    source = Path(pipeline.__file__).parent
    shutil.copytree(source, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(schemas_folder(), folder / "schemas")
    current = folder / "schemas" / "decision.avsc"
    schema = json.loads(current.read_text("utf-8"))
    released = folder / "schemas" / "released"
    released.mkdir(exist_ok=True)
    shutil.move(current, released / "decision.before.avsc")
    schema["fields"].append(NEW_FIELD)
    current.write_text(json.dumps(schema), "utf-8")
    return folder, schema


def in_full(schema: dict[str, Any], decision: dict[str, Any]) -> dict[str, Any]:
    """Give every field a value: Avro has no missing ones."""
    defaults = {field["name"]: field["default"] for field in schema["fields"] if "default" in field}
    # As JSON a default of bytes is a string.
    return {**defaults, "context_vector": b"", "generation": 1, "reason": "policy", "page": "home", **decision}

"""Scenario 4: a worker is killed, and its partitions move to one whose local state is missing, old, or damaged."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.trial import Trial
from tests.harness.worker import Worker

SHARE = 25
"""Chunks of the stream."""


def nothing(state: Path, copy: Path) -> int:
    """A worker without any state takes over."""
    del copy
    shutil.rmtree(state)
    return 1


def older(state: Path, copy: Path) -> int:
    """A backup is put back."""
    shutil.rmtree(state)
    shutil.copytree(copy, state)
    return 1


def truncated(state: Path, copy: Path) -> int:
    """Every table file has lost its second half."""
    del copy
    files = sorted(state.rglob("*.sst"))
    assert files, f"{state} holds no table file: nothing would be damaged"
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    return len(files)


# What the log says of it, as a regular expression: from where the changelog was read, and why from its beginning.
SAID = {
    nothing: r"restored topic=\S+ partition=\d from=0 to=\d+ records=[1-9]",
    older: r"restored topic=\S+ partition=\d from=[1-9]\d* to=\d+ records=[1-9]",
    truncated: r"state-rebuilt topic=\S+ partition=\d .* reason=.RocksDB.*Corruption",
}


@pytest.mark.parametrize("damage", SAID, ids=lambda damage: damage.__name__)
async def test_local_state_that_is(trial: Trial, damage: Callable[[Path, Path], int]) -> None:
    streams = trial.streams()
    copy = trial.folder / "copy"
    async with trial.flow(*streams) as flow:
        with trial.supervised(alone=True) as worker:
            trial.client.watch(worker)
            await flow.send(SHARE)
            await trial.client.quiet()
            await asyncio.to_thread(worker.stop_at_once)
        await asyncio.to_thread(shutil.copytree, worker.worker.state_dir, copy)
        await again(trial, worker.worker)
        await flow.send(SHARE)
        await trial.client.quiet()
        await flow.allow(SHARE)
        await trial.moment()
        await asyncio.to_thread(worker.worker.kill)
        trial.injected(await asyncio.to_thread(damage, worker.worker.state_dir, copy))
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.supervised("successor", alone=True, state_dir=worker.worker.state_dir) as successor:
            trial.client.watch(successor)
            await flow.send_rest()
            await trial.settle(*streams)
            log = successor.worker.log.read_text("utf-8")
            assert re.search(SAID[damage], log), successor.last_words(60)


async def again(trial: Trial, worker: Worker) -> None:
    """Start it again: opening them, RocksDB makes table files of what its logs held."""
    await asyncio.to_thread(trial.forget_the_dead)
    worker.start()
    trial.client.watch(worker)
    await trial.has_members(1)

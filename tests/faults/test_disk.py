"""Scenario 9: the disk of the state folder is full: the worker stops and says why, and goes on when there is room."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.trial import RECOVERED_WITHIN_S, Trial
from tests.harness.worker import Worker

DISK_BYTES = 192 << 20
LEFT_BYTES = 256 << 10
SHARE = 25
"""Chunks of the stream."""
EXIT_STOPPED = 70


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk in memory, which only root may mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test a full disk, but {mounted.stderr.strip()}", pytrace=False)
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.faults
async def test_a_full_disk(long_trial: Trial, small_disk: Path) -> None:
    trial = long_trial
    streams = trial.streams()
    ballast = small_disk / "ballast"
    async with trial.flow(*streams) as flow:
        worker = trial.worker(state_dir=small_disk / "state", flush_after="1")
        worker.start()
        trial.client.watch(worker)
        await flow.send(SHARE)
        await trial.client.quiet()
        fill(ballast)
        trial.injected()
        await flow.allow(2 * SHARE)
        await stops(worker)
        assert re.search(r"stage-crashed .*No space left on device", worker.log.read_text("utf-8"))
        # Started again without room, it stops again.
        await asyncio.to_thread(trial.forget_the_dead)
        worker.start()
        await stops(worker)
        ballast.unlink()
        await asyncio.to_thread(trial.forget_the_dead)
        worker.start()
        trial.is_over()
        await flow.send_rest()
        await trial.settle(*streams)
        worker.stop()


def fill(ballast: Path) -> None:
    """Leave almost no room on a disk."""
    disk = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        for _ in range((disk.f_bavail * disk.f_frsize - LEFT_BYTES) >> 16):
            file.write(bytes(1 << 16))


async def stops(worker: Worker) -> None:
    ended = await asyncio.to_thread(worker.wait, RECOVERED_WITHIN_S)
    assert ended == EXIT_STOPPED, f"ended with {ended}:\n{worker.last_words()}"

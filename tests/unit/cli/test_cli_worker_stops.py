"""A worker that is told to stop and can't, because a step of it never ends, ends all the same, and says so."""

from __future__ import annotations

import subprocess
import sys

STUCK = """
import signal
from types import SimpleNamespace
from pipeline.cli import worker
from pipeline.cli.logs import log_to_stderr

log_to_stderr("INFO")
worker.STOPPED_WITHIN_S = 0.2
asked = []
worker.PunctualWorker._stop_in_time(SimpleNamespace(_schedule_shutdown=asked.append), signal.SIGTERM)
assert asked == [signal.SIGTERM]
signal.pause()
"""


def test_a_worker_that_can_not_stop_in_order_ends_at_once_and_says_so() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, check=False, timeout=50)
    assert ended.returncode == 0, ended.stderr
    assert "stopped-at-once after_s=0.2" in ended.stderr

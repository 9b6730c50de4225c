from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.cli.worker import shared_out
from pipeline.settings import WorkerSettings

WITHIN_S = 150.0

# A worker that notes each of its starts; the first one of worker-0 ends as a fenced worker does.
PROGRAM = """
    import logging, os, signal, sys, time
    from pathlib import Path
    from pipeline.cli.processes import run_processes
    from pipeline.cli.worker import shared_out
    from pipeline.settings import WorkerSettings
    from pipeline.stream.security import KafkaSecurity, SecuredBroker

    def work(settings):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        starts = settings.state_dir / "starts"
        is_first = not starts.exists()
        with starts.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        if is_first and settings.state_dir.name == "worker-0":
            os._exit(70)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        while True:
            time.sleep(0.05)

    if __name__ == "__main__":
        logging.basicConfig(level="INFO")
        broker = SecuredBroker("127.0.0.1:1", KafkaSecurity())
        run_processes(shared_out(WorkerSettings(broker, Path(sys.argv[1])), 2), work)
"""


@pytest.fixture
def running(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    with subprocess.Popen([sys.executable, str(program), str(tmp_path / "state")], stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def starts(folder: Path, number: int) -> list[int]:
    path = folder / "state" / f"worker-{number}" / "starts"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(look) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_worker_that_ended_by_itself_is_started_again_and_a_signal_stops_all(running, tmp_path):
    until(lambda: len(starts(tmp_path, 0)) == 2 and len(starts(tmp_path, 1)) == 1)
    alive = [starts(tmp_path, 0)[1], starts(tmp_path, 1)[0]]
    running.send_signal(signal.SIGTERM)
    assert running.wait(WITHIN_S) == 0
    assert not any(map(is_alive, alive))
    assert b"exit_code=70 again_in_s=1" in running.stderr.read()


def test_workers_end_with_the_process_that_started_them_even_if_it_is_killed(running, tmp_path):
    until(lambda: len(starts(tmp_path, 0)) == 2 and len(starts(tmp_path, 1)) == 1)
    running.kill()
    alive = [starts(tmp_path, 0)[1], starts(tmp_path, 1)[0]]
    until(lambda: not any(map(is_alive, alive)))


def test_each_worker_has_a_folder_and_a_metrics_port_of_its_own(tmp_path):
    first, second = shared_out(WorkerSettings("h:1", tmp_path, metrics_port=9100), 2)
    assert (first.state_dir, second.state_dir) == (tmp_path / "worker-0", tmp_path / "worker-1")
    assert (first.metrics_port, second.metrics_port) == (9100, 9101)


REFUSING = """
    import logging, sys
    from pathlib import Path
    from pipeline.cli import processes
    from pipeline.cli.endings import plainly
    from pipeline.cli.worker import shared_out
    from pipeline.errors import ConfigError
    from pipeline.settings import WorkerSettings

    def refuse(settings):
        with plainly():
            raise ConfigError("topics", ["decisions: as somebody else made it"])

    def end(settings):
        print("the disk is full", file=sys.stderr)
        sys.exit(70)

    if __name__ == "__main__":
        logging.basicConfig(level="INFO")
        processes.FIRST_PAUSE_S = processes.LONGEST_PAUSE_S = 0.01
        settings = WorkerSettings("127.0.0.1:1", Path("state"))
        processes.run_processes(shared_out(settings, 2), {"refuse": refuse, "end": end}[sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("how", "exit_code", "reason"), [("refuse", 1, "as somebody else made it"), ("end", 70, "the disk is full")]
)
def test_workers_that_can_t_start_end_their_parent_with_their_reason_and_exit_code(tmp_path, how, exit_code, reason):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(REFUSING))
    ended = subprocess.run(
        [sys.executable, str(program), how], capture_output=True, text=True, check=False, timeout=WITHIN_S
    )
    assert ended.returncode == exit_code, ended.stderr
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr

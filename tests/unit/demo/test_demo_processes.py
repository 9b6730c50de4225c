from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pipeline.demo.failure import DemoError
from pipeline.demo.processes import Processes, beside, tail


async def until_cancelled() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise DemoError("the worker ended")


async def answer() -> int:
    return 42


async def test_the_main_task_ends_what_runs_beside_it() -> None:
    assert await beside(answer(), until_cancelled()) == 42


async def test_a_failure_beside_it_ends_the_main_task() -> None:
    with pytest.raises(DemoError, match="the worker ended"):
        await beside(until_cancelled(), failing())


async def test_a_process_that_ends_early_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("worker-1", ["no-such-command"])
        with pytest.raises(
            DemoError, match=r"(?s)worker-1 ended early with code 2.*No such command 'no-such-command'"
        ) as e:
            await asyncio.wait_for(processes.watch(), 30)
    assert str(tmp_path / "worker-1.log") in str(e.value)


def test_settings_of_the_readers_own_deployment_dont_reach_the_demos_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SUBJECT_SALT", "the reader's")
    seen: dict[str, str] = {}

    class NoProcess:
        pid = os.getpid()

        def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
            seen.update(env)

        def poll(self) -> int:
            return 0

        def wait(self, _: float) -> int:
            return 0

    class NoParentWatch:
        def __init__(self, _: int) -> None:
            pass

        def cut(self) -> None:
            pass

    monkeypatch.setattr("pipeline.demo.processes.subprocess.Popen", NoProcess)
    monkeypatch.setattr("pipeline.demo.processes.ParentWatch", NoParentWatch)
    with Processes(tmp_path) as processes:
        processes.start("worker-1", ["worker"], {"PIPELINE_PORT": "1"})
    assert "PIPELINE_SUBJECT_SALT" not in seen
    assert seen["PIPELINE_PORT"] == "1"
    assert seen["PATH"] == os.environ["PATH"]


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\nthree\n", "utf-8")
    assert tail(log, 2) == "two\nthree"


def test_a_log_that_is_empty_or_missing_says_so(tmp_path: Path) -> None:
    assert tail(tmp_path / "missing.log") == "(it is empty)"

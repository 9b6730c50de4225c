from __future__ import annotations

import asyncio
import time

import pytest

from pipeline.console import jobs as module
from pipeline.console.jobs import Job, Jobs, OnProgress
from pipeline.errors import ConfigError, UnavailableError

WITHIN_S = 10.0


def wait(job: Job) -> Job:
    deadline_s = time.monotonic() + WITHIN_S
    while not job.is_done:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    return job


async def answer(on_progress: OnProgress) -> int:
    on_progress(1, 2)
    return 42


async def refuse(_: OnProgress) -> int:
    raise ConfigError("it", ["can't be"])


async def fail(_: OnProgress) -> int:
    raise ZeroDivisionError("a secret")


def test_a_job_runs_once_for_all_who_ask_and_again_when_it_is_no_longer_fresh():
    jobs = Jobs()
    jobs.start()
    first = jobs.ask("a", answer, fresh_s=60.0)
    assert jobs.ask("a", answer, fresh_s=60.0) is first
    assert (wait(first).result, first.percent) == (42, 50)
    assert jobs.ask("a", answer, fresh_s=60.0) is first
    assert jobs.ask("a", answer, fresh_s=0.0) is not first
    jobs.stop()


def test_what_goes_wrong_is_said_and_stops_no_other_job():
    jobs = Jobs()
    jobs.start()
    assert wait(jobs.ask("refused", refuse, fresh_s=1.0)).error == "it: can't be"
    failed = wait(jobs.ask("failed", fail, fresh_s=1.0))
    assert "secret" not in failed.error
    assert wait(jobs.ask("good", answer, fresh_s=1.0)).result == 42
    jobs.stop()


def test_what_went_wrong_is_not_the_answer_for_as_long_as_what_went_well(monkeypatch: pytest.MonkeyPatch):
    jobs = Jobs()
    jobs.start()
    failed, good = (wait(jobs.ask(name, work, fresh_s=3_600.0)) for name, work in (("bad", refuse), ("good", answer)))
    assert jobs.ask("bad", refuse, fresh_s=3_600.0) is failed
    later_s = time.monotonic() + module.FAILED_FRESH_S
    monkeypatch.setattr("time.monotonic", lambda: later_s)
    assert (jobs.find("bad"), jobs.find("good")) == (None, good)
    jobs.stop()
    assert jobs.ask("bad", answer, fresh_s=3_600.0) is not failed
    assert jobs.ask("good", answer, fresh_s=3_600.0) is good


def test_what_waits_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    jobs = Jobs()  # not started: all wait
    for name in "abc":
        jobs.ask(name, answer, fresh_s=1.0)
    with pytest.raises(UnavailableError, match="wait for the ledger"):
        jobs.ask("d", answer, fresh_s=1.0)
    assert [jobs.find(name) is not None for name in "abcd"] == [False, True, True, False]


def test_the_end_does_not_wait_for_a_job():
    jobs = Jobs()
    jobs.start()

    async def long(on_progress: OnProgress) -> None:
        while True:
            on_progress(0, 1)
            await asyncio.sleep(0.001)

    job = jobs.ask("long", long, fresh_s=1.0)
    jobs.stop()
    assert wait(job).error == "the console ended"

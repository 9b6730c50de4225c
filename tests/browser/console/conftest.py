"""The demo that stays brings all of it up, as a user would: topics, worker, nodes, visitors, console and key."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.parent_watch import ParentWatch
from tests.browser.conftest import chromium_in
from tests.browser.console.looking import POLICY, WITHIN_S, Played, until


@pytest.fixture(scope="package")
def played(kafka_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("console")
    broker = LocalKafka.start(kafka_cache, fresh=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    options = ["--broker", broker.bootstrap_servers, "--visitors", "900", "--stay", "--picture", str(folder / "p.png")]
    said = folder / "said"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "demo", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    watch = ParentWatch(demo.pid)  # a demo that stays would stay when this process is killed

    def told(pattern: str) -> str | None:
        text = said.read_text("utf-8", "replace")
        assert demo.poll() is None, text[-3_000:]
        found = re.search(pattern, text)
        return found and found[1]

    try:
        console = until(lambda: told(r"console: (http://\S+)"), "the demo has not said its console's address")
        key = until(lambda: told(r"key: (pk_\S+)"), "the demo has not said its key")
        nodes = until(lambda: told(r"nodes: (.+)"), "the demo has not said its nodes").split()
        until(lambda: httpx.get(f"{console}/healthz").status_code == 200, "the console is not ready")
        # It examines what came of its visitors, and would not have others' bad records among theirs.
        until(lambda: told("(stays up until Ctrl-C)"), "the demo has not said what it came to")
        yield Played(broker.bootstrap_servers, console, key, nodes)
    finally:
        demo.send_signal(signal.SIGTERM)
        try:
            code = demo.wait(WITHIN_S)
        finally:
            demo.kill()
            watch.cut()
            broker.stop()
    # It was asked to stay until it is told to go: to be told is no fault.
    assert code == 0, said.read_text("utf-8", "replace")[-3_000:]


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory, played: Played) -> Iterator[webdriver.Chrome]:
    with chromium_in(tmp_path_factory.mktemp("profile")) as started:
        started.get(f"{played.console}/policies/{POLICY}")
        # Nobody looks without a key; who comes in is led to what they wanted.
        assert started.find_element(By.TAG_NAME, "h1").text == "Come in"
        started.find_element(By.NAME, "key").send_keys("pk_guessed", Keys.ENTER)
        until(lambda: "no key of this console" in started.find_element(By.CSS_SELECTOR, ".told.bad").text, "refused")
        started.find_element(By.NAME, "key").send_keys(played.key, Keys.ENTER)
        until(lambda: started.find_element(By.TAG_NAME, "h1").text == POLICY, "the policy's page")
        yield started

"""The example page in a real browser, against a real node and worker: it shows, it clicks, the shares move."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from pipeline.audit.record import Operator
from pipeline.brokers import EmbeddedBroker
from pipeline.cli.control import apply_policy
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.harness.worker import Worker
from tests.samples import define, plain_policy

WITHIN_S = 90.0
LIKED = "a"


def visit(browser: webdriver.Chrome, address: str) -> tuple[float, float]:
    """Like one arm whenever it is shown, until its share has moved; return the share before and after."""
    browser.get(address)
    deadline = time.monotonic() + WITHIN_S
    share = functools.partial(share_of, browser, LIKED)
    while (before := share()) is None:
        assert time.monotonic() < deadline, browser.find_element(By.ID, "error").text
        time.sleep(0.05)
    shown = 1
    while True:
        assert not browser.find_element(By.ID, "error").text
        arm = browser.find_element(By.ID, "arm").text
        browser.find_element(By.ID, "like" if arm == LIKED else "next").click()
        shown += 1
        while int(browser.find_element(By.ID, "shown").text) < shown:
            assert time.monotonic() < deadline, browser.find_element(By.ID, "error").text
            time.sleep(0.01)
        after = share()
        if after is not None and after > 0.9:
            return before, after
        assert time.monotonic() < deadline, f"the share went from {before} to {after}"


def share_of(browser: webdriver.Chrome, arm: str) -> float | None:
    script = (
        "const bar = document.querySelector(`[data-arm='${arguments[0]}']`); return bar && Number(bar.dataset.share)"
    )
    return browser.execute_script(script, arm)  # type: ignore[no-any-return]


async def test_the_page_shows_an_arm_sends_the_click_and_sees_the_share_of_arms_move(
    chromium: webdriver.Chrome, page: str, tmp_path: Path
) -> None:
    broker = EmbeddedBroker()
    try:
        definition = define(plain_policy(settle="optimistic"))
        await apply_policy(broker.bootstrap_servers, definition, Operator("tests", "policy apply"))
        settings = ServeSettings(broker.bootstrap_servers, origins=(page,))
        with Worker(broker.bootstrap_servers, tmp_path, idle_after="2"):
            async with asyncio.timeout(2 * WITHIN_S), ServingNode(settings) as node:
                await node.wait_ready(definition.name)
                async with listening(node, "127.0.0.1", 0) as url:
                    address = f"{page}/index.html?node={url}&policy={definition.name}"
                    before, after = await asyncio.to_thread(visit, chromium, address)
        # Two equal arms begin at one half each; what is liked every time ends near the floor's complement.
        assert before == pytest.approx(0.5, abs=0.01)
        assert after > 0.9
        assert node.outcomes_taken > 0
    finally:
        broker.stop()

"""Pages of strangers in a real browser, on the machine of a node without keys."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.browser.conftest import FOREIGN

pytestmark = pytest.mark.attack

SEND = """
const [url, options, done] = arguments;
fetch(url, options).then(async (answer) => done([answer.status, await answer.text()]), (error) => done(String(error)));
"""
OUTCOME = json.dumps({"action_id": "a", "kind": "click"})


def send(browser: webdriver.Chrome, url: str, **options: Any) -> Any:
    return browser.execute_async_script(SEND, url, {"method": "POST", "body": OUTCOME, **options})


def as_a_rebound_page(browser: webdriver.Chrome, port: str) -> list[Any]:
    """Do what a page can whose own name leads to the node: read, and write as to itself."""
    home = f"http://{FOREIGN}:{port}"
    browser.get(f"{home}/v1/policies")
    read = json.loads(browser.find_element(By.TAG_NAME, "body").text)
    written = send(browser, f"{home}/v1/outcomes", headers={"content-type": "application/json"})
    return [read, written]


def as_another_page(browser: webdriver.Chrome, page: str, url: str) -> list[Any]:
    """Do what any page can: send a text without asking, and JSON after asking."""
    browser.get(f"{page}/index.html")
    quiet = send(browser, f"{url}/v1/outcomes", mode="no-cors", headers={"content-type": "text/plain"})
    asked = send(browser, f"{url}/v1/outcomes", headers={"content-type": "application/json"})
    return [quiet, asked]


async def test_no_page_of_a_stranger_reads_or_writes_on_a_node_without_keys(
    chromium: webdriver.Chrome, page: str
) -> None:
    node = ServingNode(ServeSettings("127.0.0.1:1"))
    async with listening(node, "127.0.0.1", 0) as url:
        read, (status, told) = await asyncio.to_thread(as_a_rebound_page, chromium, url.rpartition(":")[2])
        assert read["error"] == "foreign-host"
        assert (status, json.loads(told)["error"]) == (403, "foreign-host")
        quiet, asked = await asyncio.to_thread(as_another_page, chromium, page, url)
        assert quiet == [0, ""]  # an opaque answer, whatever it was
        assert asked == "TypeError: Failed to fetch"
    assert node.outcomes_taken == 0


async def test_the_same_pages_write_where_nothing_holds_them(
    chromium: webdriver.Chrome, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what the test above sees is the node's doing, not the browser's."""
    monkeypatch.setattr("pipeline.serve.http.web_pages.WebPages.check", lambda *_: None)
    node = ServingNode(ServeSettings("127.0.0.1:1"))
    async with listening(node, "127.0.0.1", 0) as url:
        read, (status, _) = await asyncio.to_thread(as_a_rebound_page, chromium, url.rpartition(":")[2])
        assert (read, status) == ({"policies": []}, 200)
        await asyncio.to_thread(as_another_page, chromium, page, url)
    assert node.outcomes_taken == 2

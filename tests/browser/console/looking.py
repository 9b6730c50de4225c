"""What tests of the console look with: the pages in a browser, and the command line beside them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By

WITHIN_S = 150.0
POLICY = "homepage"
HOSTILE = "<img src=x onerror=document.title='owned'>"
SHOTS = os.environ.get("CONSOLE_SCREENSHOTS")
"""A folder: pictures of the pages for docs/console are written there."""

T = TypeVar("T")


class Played(NamedTuple):
    """What the demo brought up."""

    broker: str
    console: str
    key: str
    nodes: list[str]


def until(look: Callable[[], T | None], what: str) -> T:
    """Wait for something that is neither None nor False."""
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        try:
            if found := look():
                return found
        except (NoSuchElementException, StaleElementReferenceException, httpx.TransportError):
            pass
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def cli(played: Played, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**environment, "PIPELINE_BROKER": played.broker},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout if done.returncode == 0 or done.stdout else done.stderr


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, selector).text)


def figure(value: float | None) -> str:
    """Write a number as the pages do: four digits, written here again."""
    return "–" if value is None else f"{value:.4g}"


def decide(played: Played, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"{played.nodes[0]}/v1/policies/{POLICY}/decide", json=body).json()
    return answer


def faults_of(browser: webdriver.Chrome) -> list[str]:
    """Return what the browser itself complains of: a script that fails, something that the policy of contents holds."""
    told = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # A form that is refused is answered so, which the browser notes.
    return [entry["message"] for entry in told if "status of 4" not in entry["message"]]


def put(browser: webdriver.Chrome, text: str) -> None:
    """Type a text in place of another, at once."""
    script = """const [text] = arguments, area = document.querySelector("textarea");
    document.querySelector("#faults").replaceChildren(); area.value = text;
    area.dispatchEvent(new InputEvent("input", {bubbles: true}));"""
    browser.execute_script(script, text)


def look(browser: webdriver.Chrome, width: int, *, is_dark: bool) -> None:
    """Have a screen of a width, and a scheme of colours."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def shoot(browser: webdriver.Chrome, name: str) -> None:
    """Write a picture of the whole page, once its parts have come."""
    time.sleep(3.0)
    size = browser.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 1_300), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    Path(str(SHOTS), f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

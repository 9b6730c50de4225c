from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
WITHIN_S = 90.0
FOREIGN = "stranger.example"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    # A name of a stranger's that leads to this machine: what DNS rebinding comes to.
    f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1",
)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium_in(tmp_path) as started:
        yield started


@contextmanager
def chromium_in(folder: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a new profile; without one, this fails in CI and is skipped elsewhere."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "chromium and chromedriver are not on the path (Debian: chromium, chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(f"CI must test the page in a browser, but {missing}", pytrace=False)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        started.set_page_load_timeout(WITHIN_S)
        yield started


@pytest.fixture
def page() -> Iterator[str]:
    """The example's address: another origin than the node's, as a shop's page is."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(EXAMPLE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()

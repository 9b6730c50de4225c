"""A real Prometheus and its promtool: those on the path, or Debian's, fetched once and unpacked in the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.brokers.folder import taking_turns
from pipeline.brokers.ports import free_ports

FETCHED_WITHIN_S = 300.0
STARTED_WITHIN_S = 60.0


class Binaries(NamedTuple):
    """Where they lie."""

    prometheus: str
    promtool: str


def prometheus_binaries(cache_dir: Path) -> Binaries:
    """Return them; without, tests fail in CI and are skipped elsewhere."""
    on_path = [shutil.which(name) for name in Binaries._fields]
    if all(on_path):
        return Binaries(*map(str, on_path))
    folder = cache_dir / "prometheus"
    with taking_turns(folder):
        if not (folder / "usr" / "bin" / "promtool").is_file():
            _fetch(folder)
    return Binaries(*(str(folder / "usr" / "bin" / name) for name in Binaries._fields))


def _fetch(folder: Path) -> None:
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        subprocess.run(
            ["apt-get", "download", "--quiet", "prometheus"],
            cwd=part,
            check=True,
            timeout=FETCHED_WITHIN_S,
            capture_output=True,
        )
        (package,) = part.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=FETCHED_WITHIN_S, capture_output=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test against a real Prometheus, but {error}", pytrace=False)
        pytest.skip(f"no Prometheus on the path, and none from Debian: {error}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression, now."""
        told = self._ask("query", query=expression)
        assert told["resultType"] == "vector", expression
        found: list[dict[str, Any]] = told["result"]
        return found

    def _ask(self, path: str, **asked: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  of this machine
            return json.load(answer)["data"]


@contextmanager
def running_prometheus(binaries: Binaries, folder: Path, config: str) -> Iterator[Prometheus]:
    """Run one by a configuration, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(config, "utf-8")
    options = [
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen([binaries.prometheus, *options], stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + STARTED_WITHIN_S
        while not _is_ready(url):
            words = log.read_text("utf-8", "replace")[-2_000:]
            assert process.poll() is None, f"Prometheus ended: {words}"
            assert time.monotonic() < deadline_s, f"no Prometheus in {STARTED_WITHIN_S:.0f} s: {words}"
            time.sleep(0.1)  # between two looks
        yield Prometheus(url)
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:  # noqa: S310  of this machine
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

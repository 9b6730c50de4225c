"""Each container of the chart, run as it is rendered: starts, answers its probes as a kubelet asks them, and ends."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.brokers.ports import free_ports
from tests.harness.chart import containers, environment, pods, probes, rendered
from tests.integration.test_processes import POLICY

WITHIN_S = 90.0
POD = "10.1.2.3"
"""By its own address a pod is asked, and not by any name."""


class Pods:
    """The containers of a release as processes here: folders and ports are others, all else is as rendered."""

    def __init__(self, values: Mapping[str, Any], folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        objects = rendered(values)
        self._folder = folder
        self._containers = containers(objects)
        self._pods = pods(objects)
        self._ports: dict[str, int] = {}
        for component, pod in self._pods.items():
            for volume in pod["spec"]["volumes"]:
                place = self._place(component, f"/run/secrets/pipeline/{volume['name']}")
                for name, text in secrets.get(volume.get("secret", {}).get("secretName", ""), {}).items():
                    place.mkdir(parents=True, exist_ok=True)
                    (place / name).write_text(text, "utf-8")

    def _place(self, component: str, path: str) -> Path:
        return self._folder / component / path.removeprefix("/")

    def environment(self, component: str) -> dict[str, str]:
        told = environment(self._containers[component])
        for name, value in told.items():
            if name.endswith("_PORT") and name.startswith("PIPELINE_"):
                (self._ports[f"{component}:{value}"],) = free_ports(1)
                told[name] = str(self._ports[f"{component}:{value}"])
            elif value.startswith("/") and name.startswith("PIPELINE_"):
                told[name] = str(self._place(component, value))
        told.pop("NUMBA_CACHE_DIR")  # what this machine has compiled is not compiled again
        # The home and all else that a container has not been given is not there.
        (self._folder / component / "home").mkdir(parents=True, exist_ok=True)
        return {"PATH": os.environ["PATH"]} | told | {"HOME": str(self._folder / component / "home")}

    def command(self, component: str) -> list[str]:
        return [sys.executable, "-m", "pipeline", *self._containers[component]["args"]]

    @contextmanager
    def running(self, component: str) -> Iterator[None]:
        """Run a container until the end of the block; then it is told to stop, and must within its grace."""
        log = self._folder / f"{component}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(component), env=self.environment(component), stdout=out, stderr=subprocess.STDOUT
            )
        try:
            self._wait_for(component, "startupProbe", process, log)
            yield
            self._wait_for(component, "readinessProbe", process, log)
            self._wait_for(component, "livenessProbe", process, log)
            process.send_signal(signal.SIGTERM)
            grace_s = self._pods[component]["spec"]["terminationGracePeriodSeconds"]
            assert process.wait(grace_s) == 0, log.read_text("utf-8")[-3_000:]
        finally:
            process.kill()
            process.wait()

    def _wait_for(self, component: str, kind: str, process: subprocess.Popen[bytes], log: Path) -> None:
        probe = dict(probes(self._containers[component]))[kind]
        deadline_s = time.monotonic() + WITHIN_S
        while (answer := self._ask(component, probe)) is None or answer >= 400:
            words = log.read_text("utf-8", "replace")[-3_000:]
            assert process.poll() is None, f"{component} ended: {words}"
            assert time.monotonic() < deadline_s, f"{kind} of {component} said {answer}: {words}"
            time.sleep(0.1)  # between two looks

    def _ask(self, component: str, probe: Mapping[str, Any]) -> int | None:
        asked = probe.get("httpGet") or probe["tcpSocket"]
        (inside,) = [
            port["containerPort"] for port in self._containers[component]["ports"] if port["name"] == asked["port"]
        ]
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[f"{component}:{inside}"], timeout=5)
        headers = {"Host": f"{POD}:{inside}"} | {each["name"]: each["value"] for each in asked.get("httpHeaders", [])}
        try:
            connection.connect()
            if "path" not in asked:
                return 200
            connection.request("GET", asked["path"], headers=headers)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()


def key_file(name: str, *rights: str) -> str:
    """What `pipeline api-key` makes for a Secret."""
    wanted = [word for right in rights for word in ("--right", right)]
    made = subprocess.run(
        [sys.executable, "-m", "pipeline", "api-key", "--name", name, *wanted],
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_S,
    )
    return made.stdout


def test_each_container_starts_answers_its_probes_and_ends_within_its_grace(tmp_path: Path) -> None:
    secrets = {
        "node-keys": {"keys.toml": key_file("shop", "decide")},
        "console-keys": {"keys.toml": key_file("ada", "read", "operate")},
    }
    (tmp_path / "homepage.toml").write_text(POLICY, "utf-8")
    # The embedded broker makes its own topics; the job that does it elsewhere is `pipeline topics create`.
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker, ExitStack() as stack:
        values = {
            "kafka": {"bootstrapServers": broker.bootstrap_servers},
            "node": {"apiKeys": {"secret": "node-keys"}},
            "console": {"apiKeys": {"secret": "console-keys"}, "serverNames": ["console.example"]},
        }
        release = Pods(values, tmp_path, secrets)
        command = [sys.executable, "-m", "pipeline", "policy", "apply", str(tmp_path / "homepage.toml")]
        applied = subprocess.run(
            command,
            env={**os.environ, "PIPELINE_BROKER": broker.bootstrap_servers},
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        assert applied.returncode == 0, applied.stderr
        # Side by side, as they would: a node is ready when the worker has published.
        for component in ("worker", "serve", "console"):
            stack.enter_context(release.running(component))
    assert list((tmp_path / "worker" / "var/lib/pipeline/state").iterdir())

"""The chart of ops/helm as Helm renders it; `make helm` builds Helm from its published module."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.brokers import default_cache_dir

CHART = Path(__file__).parents[2] / "ops" / "helm"
RELEASE = "bandits"
NAMESPACE = "shop"
OLDEST, NEWEST = "1.32", "1.37"
"""Of Kubernetes: what Chart.yaml asks for, and the last whose schemas `kubernetes-validate` has."""
WITHIN_S = 120.0

LEAST: Mapping[str, Any] = {
    "kafka": {"bootstrapServers": "kafka:9092"},
    "node": {"open": True},
    "console": {"enabled": False},
}
"""What can't be left out."""
SECURED: Mapping[str, Any] = {
    "kafka": {
        "bootstrapServers": "kafka:9093",
        "securityProtocol": "SASL_SSL",
        "ca": {"secret": "kafka-ca"},
        "users": {role: {"username": role, "secret": f"kafka-{role}"} for role in ("worker", "node", "operator")},
    },
    "worker": {"signingKey": {"secret": "signing"}, "env": {"PIPELINE_IDLE_AFTER": "5"}},
    "node": {
        "apiKeys": {"secret": "node-keys"},
        "subjectSalt": {"secret": "salt"},
        "claimSecret": {"secret": "claims"},
        "snapshotKeys": {"secret": "snapshot-keys"},
        "tls": {"secret": "node-tls"},
    },
    "console": {
        "apiKeys": {"secret": "console-keys"},
        "serverNames": ["console.example", "console"],
        "nodeKey": {"secret": "node-key"},
        "tls": {"secret": "console-tls"},
    },
    "monitoring": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}},
}
"""With every secret that there may be."""
STRIMZI: Mapping[str, Any] = {
    "kafka": {"bootstrapServers": "kafka:9093", "securityProtocol": "SSL", "ca": {"secret": "kafka-cluster-ca-cert"}},
    "topics": {"job": False, "partitions": 24},
    "node": {"open": True, "autoscaling": {"enabled": False}, "scratch": {"enabled": False}},
    "worker": {
        "persistence": {"enabled": False},
        "keda": {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"},
    },
    "console": {"apiKeys": {"secret": "console-keys"}, "serverNames": ["console.example"]},
    "networkPolicy": {"browsers": [], "prometheus": [], "callers": [], "registry": {"ports": [8081]}},
    "strimzi": {"cluster": "kafka", "topics": True, "users": True, "authentication": "tls"},
}
"""With every option the other way round."""
ALL = {"least": LEAST, "secured": SECURED, "strimzi": STRIMZI}


def helm() -> str:
    """Return where it is; without, tests fail in CI and are skipped elsewhere."""
    found = shutil.which("helm") or shutil.which("helm", path=default_cache_dir() / "helm")
    if found is None:
        why = "there is no Helm to render the chart with: `make helm` builds it, with Go"
        if os.environ.get("CI"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return found


def ask_helm(command: str, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run `helm template` or `helm lint` on the chart."""
    arguments = {"template": ["template", RELEASE], "lint": ["lint", "--strict"]}[command]
    return subprocess.run(
        [helm(), *arguments, str(CHART), "--namespace", NAMESPACE, "--kube-version", OLDEST, "--values", "-"],
        input=yaml.safe_dump(dict(values)),
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a release."""
    ended = ask_helm("template", values)
    assert ended.returncode == 0, ended.stderr
    return [each for each in yaml.safe_load_all(ended.stdout) if each is not None]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod templates by their component."""
    templates = [each["spec"]["template"] for each in objects if "template" in each["spec"]]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in templates}


def containers(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the container of each pod by its component."""
    found = {}
    for component, pod in pods(objects).items():
        (found[component],) = pod["spec"]["containers"]
    return found


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Return a container's variables; all are written out, and each once."""
    found = {each["name"]: each["value"] for each in container["env"]}
    assert len(found) == len(container["env"])
    return found


def probes(container: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what a container is asked, by the kind of probe."""
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container:
            yield kind, container[kind]

"""The storage of a local Kafka, formatted once, and the cluster id that it was formatted with."""

from __future__ import annotations

import base64
import re
import subprocess
import uuid
from pathlib import Path

from pipeline.errors import StateError, UnavailableError

_META = Path("data", "meta.properties")


def format_storage(tool: list[str], folder: Path) -> None:
    """Format the storage that `server.properties` in `folder` names, unless it is; `tool` runs StorageTool."""
    if (folder / _META).exists():
        return
    arguments = ["format", "--ignore-formatted", "--config", "server.properties"]
    # S603: the path is java's, the arguments are ours.
    done = subprocess.run(  # noqa: S603
        [*tool, *arguments, "--cluster-id", new_cluster_id()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableError(f"Kafka's storage could not be formatted: {done.stdout}{done.stderr}")


def new_cluster_id() -> str:
    """Draw a cluster id: 16 random bytes in 22 characters, the first of which would not pass for an option."""
    while True:
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not name.startswith("-"):
            return name


def read_cluster_id(folder: Path) -> str:
    """Read the id that the storage in `folder` was formatted with."""
    meta_properties = folder / _META
    found = re.search(r"^cluster\.id=(\S+)$", meta_properties.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise StateError(f"{meta_properties} holds no cluster.id: remove its folder, and what was kept there")
    return found[1]

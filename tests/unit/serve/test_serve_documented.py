"""The commands that documents show, run by a shell against a node that was started with its defaults."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from pipeline.policy.parsing.parse import parse_policy
from pipeline.serve import load_snapshot
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.harness.taught import taught
from tests.samples import plain_policy

ROOT = Path(__file__).parents[3]


def node_of_defaults() -> ServingNode:
    node = ServingNode(ServeSettings("127.0.0.1:1"))
    arms = [{"name": "hybrid"}, {"name": "collab_filter"}]
    for name in ("homepage", "shop"):
        raw = plain_policy() | {"name": name, "arms": arms}
        if name == "shop":
            raw |= {
                "algorithm": {"name": "hybrid_thompson"},
                "context": [{"name": "visits", "kind": "numeric", "low": 0, "high": 10}],
                "arms": [{**arm, "features": {"price": 0.5}} for arm in arms],
                "candidates": {"features": ["price"]},
            }
        definition = parse_policy(raw, name)
        node.follower.snapshots[name] = load_snapshot(taught(definition, 1))
        node.follower._published_at_ms[name] = 0
    return node


def curls(document: str) -> str:
    """Return the lines that ask a node, without those that need what a default node has not."""
    text = (ROOT / document).read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    block = next(block for block in blocks if "curl -s" in block and "node.example" not in block)
    return block.replace("0199…", "a-1")


@pytest.mark.parametrize(("document", "commands"), [("docs/clients.md", 5), ("README.md", 2), ("docs/tutorial.md", 2)])
async def test_a_default_node_answers_every_curl_that_documents_show(document: str, commands: int) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on the path")
    node = node_of_defaults()
    async with listening(node, "127.0.0.1", 0) as url:
        await node.decide("homepage", {}, action_id="a-1")
        script = curls(document).replace("http://127.0.0.1:8080", url).replace("localhost:8080", url)
        assert script.count("curl -s") == commands
        # A failure is an answer of 400 and above; each answer stands on a line of its own.
        wrapped = f'set -eu\ncurl() {{ command curl --fail-with-body "$@"; echo; }}\n{script}'
        shell = await asyncio.create_subprocess_exec("bash", "-c", wrapped, stdout=asyncio.subprocess.PIPE)
        out, _ = await shell.communicate()
    assert shell.returncode == 0, out.decode()
    assert node.outcomes_taken == 1

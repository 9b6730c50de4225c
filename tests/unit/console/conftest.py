"""A console without a broker: what it would have followed is put there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipeline.codec import avro
from pipeline.console.app import build_app
from pipeline.console.desk import Desk
from pipeline.console.settings import ConsoleSettings
from pipeline.console.versions import Line
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.log.topics import SNAPSHOT_HISTORY

HOME = "http://127.0.0.1:8090"


class Console:
    """A desk whose topics are told by a test, and its pages."""

    def __init__(self, **settings: Any) -> None:
        self.desk = Desk(ConsoleSettings("127.0.0.1:1", **settings))
        self.desk.followed.caught_up |= {"policies", SNAPSHOT_HISTORY}
        self.web = httpx.AsyncClient(transport=httpx.ASGITransport(build_app(self.desk)), base_url=HOME)

    def tell(self, definition: PolicyDefinition, versions: int = 1) -> None:
        """Have a policy in force, and versions of it published."""
        followed = self.desk.followed
        followed.book.put(definition)
        for version in range(1, versions + 1):
            record = build_snapshot(definition, [], {}, version, "")
            line = followed.lines.setdefault(definition.name, Line())
            line.add(record, avro.decode_as("snapshot", record), 1_000 * version)
            followed._snapshots.snapshots[definition.name] = load_snapshot(record)

    async def page(self, path: str) -> str:
        """Return a page that must be there."""
        answer = await self.web.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def console() -> Console:
    return Console()

"""Topics that were just made are waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.stream.log import topics
from pipeline.stream.log.topics import TopicSpec

BROKER = "127.0.0.1:1"
SPECS = [TopicSpec("rewards", 1, {}), TopicSpec("audit", 1, {})]


class Admin:
    """A broker that hears of new topics late: so many questions after they were made."""

    def __init__(self, late: int) -> None:
        self.late = late
        self.made: list[str] = []
        self.asked_since = 0

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [object()]}

    async def create_topics(self, new: list[Any]) -> Any:
        self.made = [one.name for one in new]
        return SimpleNamespace(topic_errors=[(name, 0, None) for name in self.made])

    async def list_topics(self) -> list[str]:
        if not self.made:
            return ["rewards"]
        self.asked_since += 1
        return ["rewards", *self.made] if self.asked_since > self.late else ["rewards"]

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "error_code": 0, "partitions": [object()]} for name in names]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    one = Admin(late=2)
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", lambda **_: one)
    monkeypatch.setattr(topics, "SEEN_EVERY_S", 0.0)
    return one


async def test_whoever_makes_topics_goes_on_when_the_brokers_tell_of_all_of_them(admin: Admin):
    assert await topics.create_topics(BROKER, SPECS) == ["audit"]
    assert admin.asked_since == 3  # twice nobody knew


async def test_where_all_are_there_nobody_waits(admin: Admin):
    assert await topics.create_topics(BROKER, SPECS[:1]) == []
    assert admin.asked_since == 0


async def test_who_may_make_topics_and_not_see_them_goes_on_in_the_end(admin: Admin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(topics, "SEEN_WITHIN_S", 0.01)
    admin.late = 1_000_000_000
    assert await topics.create_topics(BROKER, SPECS) == ["audit"]

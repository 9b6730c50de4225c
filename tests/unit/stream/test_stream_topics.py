"""Topics that were just made are waited for."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.stream.log import topics


class Admin:
    """A broker that hears of new topics late."""

    def __init__(self, rounds: int) -> None:
        self.rounds_left = rounds
        self.asked = 0

    async def list_topics(self) -> list[str]:
        self.asked += 1
        self.rounds_left -= 1
        return ["rewards"] if self.rounds_left > 0 else ["rewards", "audit"]

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "error_code": 0, "partitions": [object()]} for name in names]


async def test_whoever_makes_topics_goes_on_when_the_brokers_tell_of_all_of_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(topics, "SEEN_EVERY_S", 0.0)
    admin = Admin(rounds=3)
    await topics.seen(admin, ["rewards", "audit"])  # type: ignore[arg-type]
    assert admin.asked == 3


async def test_who_may_make_topics_and_not_see_them_goes_on_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(topics, "SEEN_WITHIN_S", 0.01)
    admin = Admin(rounds=1_000_000)
    await topics.seen(admin, ["rewards", "audit"])  # type: ignore[arg-type]
    assert admin.asked >= 1

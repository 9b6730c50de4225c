"""A snapshot goes on from the one before: spans that are what they were are neither weighed nor hashed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.learn.memory import RowKey
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.aged_rows import AgedRows, Span
from pipeline.publish.fading import Basis, Fading

OLDEST, NEWEST = 479_400, 480_000
HALVES = Forgetting(half_life_ms=1_000_000)


def row(bucket: int) -> tuple[RowKey, Statistics]:
    return RowKey("homepage", 1, "all", "a", bucket), Statistics(0, np.array([1, 1, 1], np.int64))


class Publisher:
    """Sums and hash of the rows, gone on from; with counts of what was looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aged = AgedRows(row(bucket) for bucket in range(OLDEST, NEWEST + 1))
        self.fading = Fading()
        self.looked: Counter[str] = Counter()
        self._count(monkeypatch, Basis, "weight_of")
        self._count(monkeypatch, Span, "hashed")

    def _count(self, monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
        original: Callable[..., Any] = getattr(kind, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.looked[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(kind, name, counted)

    def publish(self) -> tuple[Any, bytes]:
        self.looked.clear()
        sums = self.fading.sum(Basis(HALVES, self.aged.newest, 1_000), self.aged.spans)
        return sums["all", "a"].sums.tolist(), self.aged.hashed(has_tallies=False)

    def anew(self) -> tuple[Any, bytes]:
        sums = Fading().sum(Basis(HALVES, self.aged.newest, 1_000), self.aged.spans)
        return sums["all", "a"].sums.tolist(), b",".join(span.hashed(has_tallies=False) for span in self.aged.spans)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    return Publisher(monkeypatch)


def test_where_the_newest_bucket_changes_only_its_span_is_looked_at(publisher):
    for _ in range(2):
        publisher.publish()
        publisher.aged.change([row(NEWEST)])
    found = publisher.publish()
    assert publisher.looked == {"weight_of": 1, "hashed": 1}
    assert found == publisher.anew()


def test_a_correction_of_what_is_old_is_gone_on_from_again_two_snapshots_later(publisher):
    publisher.publish()
    publisher.aged.change([row(OLDEST + 100)])
    for _ in range(2):
        assert publisher.publish() == publisher.anew()
        publisher.aged.change([row(NEWEST)])
    found = publisher.publish()
    assert publisher.looked == {"weight_of": 1, "hashed": 1}
    assert found == publisher.anew()


def test_with_a_new_bucket_every_weight_is_another(publisher):
    for _ in range(2):
        publisher.publish()
        publisher.aged.change([row(NEWEST)])
    publisher.aged.change([row(NEWEST + 1)])
    found = publisher.publish()
    assert publisher.looked["weight_of"] == len(publisher.aged.spans)
    assert found == publisher.anew()

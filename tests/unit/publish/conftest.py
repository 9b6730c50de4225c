from __future__ import annotations

import pytest

from tests.unit.publish.bench import Bench


@pytest.fixture
def bench(monkeypatch) -> Bench:
    return Bench(monkeypatch)

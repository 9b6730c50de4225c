from __future__ import annotations

import tomllib
from typing import Any

import pytest

FULL = """
name = "homepage"
generation = 3

[[arms]]
name = "collab_filter"
[[arms]]
name = "hybrid"
[[arms]]
name = "bestsellers"
retired = true

[segments]
default = "other"
[[segments.rules]]
name = "new"
when = { visits = { below = 2 } }
[[segments.rules]]
name = "premium"
when = { premium = { equals = true }, country = { in = ["DE", "FR"] }, age = { at_least = 18, at_most = 99 } }

[[context]]
name = "age"
kind = "numeric"
low = 0
high = 100
[[context]]
name = "device"
kind = "categorical"
values = ["mobile", "desktop"]
[[context]]
name = "hour"
kind = "cyclic"
period = 24

[algorithm]
name = "linear_thompson"
ridge = 2

[reward]
low = 0
high = 500
combine = "sum"
cap = 400
[[reward.outcomes]]
kind = "purchase"
worth = 1.0
window = "1d"
times_value = true
value_low = 0
value_high = 500
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "30m"

[attribution]
settle = "wait"
grace = "10m"

[exploration]
floor = 0.02

[publish]
interval = "250ms"

[statistics]
bucket = "12h"
"""

SMALLEST = """
name = "tiny"
[[arms]]
name = "only"
[algorithm]
name = "beta_thompson"
[reward]
low = 0
high = 1
[[reward.outcomes]]
kind = "click"
worth = 1
window = "30m"
"""


@pytest.fixture
def full() -> dict[str, Any]:
    """A policy that uses every key."""
    return tomllib.loads(FULL)


@pytest.fixture
def smallest() -> dict[str, Any]:
    """A policy that leaves out all that may be left out."""
    return tomllib.loads(SMALLEST)

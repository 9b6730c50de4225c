"""docs/policy-file.md: every key that the parser asks for, noted while it reads policies that have them all.

The parser declares a key by asking for it: what is accepted, and what stands in its place. So each getter of a
`Section` is listened to while policies are read that together use every key; what they say there is the example.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from unittest.mock import patch

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS
from pipeline.policy.parsing import section as sections
from pipeline.policy.parsing.parse import parse_policy
from pipeline.policy.parsing.section import Section

HEAD = """# The policy file

Every key, what is accepted, what stands in its place by default, and an example. This page is made of what the parser
asks for. `pipeline policy validate FILE` names every fault of a file at once. Names in capitals are your own; a bound
that depends on the rest of a file, as of `diversity` on the number of arms, is that of the example.
[Your first policy](tutorial.md) has a whole file; what the keys are for is told in
[algorithms](algorithms.md), [rewards](rewards.md), [features](context.md) and [guardrails](guardrails.md).
"""
POLICIES = (
    """
name = "homepage"
generation = 2
logged = ["page"]
interactions = [["visits", "device"]]
[[arms]]
name = "ARM"
features = { FEATURE = 0.3 }
prior = { mean = 0.08, weight = 50 }
[[arms]]
name = "plain"
retired = false
features = { FEATURE = -0.2 }
[segments]
default = "returning"
[[segments.rules]]
name = "SEGMENT"
when = { FIELD = { below = 2 } }
[[segments.rules]]
name = "SEGMENT"
when = { FIELD = { at_least = 1, at_most = 5, above = 0, below = 9 } }
[[segments.rules]]
name = "SEGMENT"
when = { FIELD = { equals = "mobile" } }
[[segments.rules]]
name = "SEGMENT"
when = { FIELD = { in = ["mobile", "desktop"] } }
[[context]]
name = "visits"
kind = "numeric"
low = 0
high = 10
beyond = "clip"
missing = "indicator"
[[context]]
name = "price"
kind = "logarithmic"
low = 0
high = 1000
unit = 1.0
[[context]]
name = "age"
kind = "quantile"
knots = [0, 18, 30, 50]
[[context]]
name = "spend"
kind = "standardised"
mean = 20
deviation = 5
[[context]]
name = "hour"
kind = "cyclic"
period = 24
clock = "hour"
time_zone = "Europe/Berlin"
[[context]]
name = "device"
kind = "categorical"
values = ["mobile", "desktop"]
other = true
[[context]]
name = "city"
kind = "hashed"
slots = 16
[encoder]
random = 24
[algorithm]
name = "hybrid_thompson"
[reward]
low = 0.0
high = 1.0
combine = "sum"
cap = 1.0
[[reward.outcomes]]
kind = "click"
worth = 0.2
window = "30m"
[[reward.outcomes]]
kind = "basket"
worth = 0.01
window = "1d"
times_value = true
value_low = 0
value_high = 100
[attribution]
settle = "optimistic"
grace = "1h"
[publish]
interval = "1s"
[statistics]
bucket = "1d"
[forgetting]
half_life = "14d"
window = "90d"
[exploration]
share = 0.01
arms = { ARM = 0.05 }
segments = { SEGMENT = 0.02 }
new_arms = { floor = 0.1, until = 500 }
[guardrails]
control = "plain"
diversity = 2.0
stale_after = "6h"
holdout = { share = 0.05, salt = "spring" }
frequency = { shows = 3, window = "1d" }
[[guardrails.eligibility]]
arms = ["ARM"]
only_when = { FIELD = { at_least = 18 } }
[[guardrails.eligibility]]
arms = ["ARM"]
never_when = { FIELD = { equals = true } }
[[guardrails.caps]]
arm = "ARM"
share = 0.2
window = "7d"
[guardrails.budget]
amount = 500
window = "1d"
soft = 0.2
costs = { ARM = 0.4 }
[analysis]
share = 0.05
salt = "spring"
[rollout]
of = "checkout"
share = 0.05
mode = "serve"
until = "settled >= 1000"
[killed]
policy = false
arms = ["ARM"]
[monitors.label_rate]
low = 0.2
high = 5.0
look = "10m"
hold = true
""",
    """
name = "homepage"
[[arms]]
name = "ARM"
features = { FEATURE = 0.3 }
[candidates]
features = ["FEATURE"]
[[context]]
name = "visits"
kind = "boolean"
[encoder]
[[encoder.layers]]
units = 1
weights = "AAAAAA=="
[algorithm]
name = "hybrid_thompson"
[reward]
low = 0
resolution = 0.01
[[reward.outcomes]]
kind = "click"
worth = 1
window = "1h"
[exploration]
floor = 0.01
""",
    """
name = "homepage"
[[arms]]
name = "ARM"
[[context]]
name = "visits"
kind = "boolean"
[assignment]
sticky = "subject"
epoch = "7d"
constant = ["visits"]
anonymous = "refuse"
salt = "spring"
[algorithm]
name = "logistic_ucb"
[statistics]
contexts = 100
[reward]
low = 0
high = 1
[[reward.outcomes]]
kind = "click"
worth = 1
window = "1h"
""",
)


class Key(NamedTuple):
    """One key, as the parser asks for it."""

    table: str
    """Its place, `reward.outcomes`."""
    key: str
    accepted: str
    default: str
    example: str


class _Listener:
    """Hears what is asked for."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], Key] = {}
        self._optional: set[tuple[str, str]] = set()

    def heard(self, section: Section, key: str, default: object, expected: str) -> None:
        place = (_table(section.path), key)
        given = section.raw.get(key)
        known = self.keys.get(place)
        example = known.example if known and known.example else _toml(given)
        if default is sections.REQUIRED:
            told = "none" if place in self._optional else "required"
        else:
            told = "" if default == {} else _toml(default)
        self.keys[place] = Key(*place, expected, told, example)

    def looked_for(self, section: Section, key: str) -> None:
        place = (_table(section.path), key)
        self._optional.add(place)
        self.keys.setdefault(place, Key(*place, "", "none", _toml(section.raw.get(key))))


def keys() -> list[Key]:
    """Return every key, in the order in which the parser asks."""
    listener = _Listener()
    take, has = Section._take, Section.has

    def listened(self: Section, key: str, default: object, expected: str) -> object:
        listener.heard(self, key, default, expected)
        return take(self, key, default, expected)

    def looked(self: Section, key: str) -> bool:
        listener.looked_for(self, key)
        return has(self, key)

    with patch.object(Section, "_take", listened), patch.object(Section, "has", looked):
        for text in POLICIES:
            # What does not suit something else is a fault of the whole, and asked for all the same.
            with suppress(ConfigError):
                parse_policy(tomllib.loads(text), "example")
    return list(listener.keys.values())


def page() -> str:
    """Return the whole page."""
    found: dict[str, list[Key]] = {}
    for key in keys():
        if key.table != "algorithm" or key.key == "name":
            found.setdefault(key.table, []).append(key)
    lines = [HEAD]
    for table, of_table in found.items():
        lines += [f"## {_title(table)}\n", "| key | accepted | default | example |", "|---|---|---|---|"]
        lines += [_row(key) for key in of_table]
        lines.append("")
    return "\n".join([*lines, *_algorithms()])


def _algorithms() -> Iterator[str]:
    yield "## Parameters of each algorithm\n"
    yield "In `[algorithm]`, beside `name`.\n"
    yield "| algorithm | parameter | default | from | to | what it is |"
    yield "|---|---|---|---|---|---|"
    for name, info in ALGORITHMS.items():
        if not info.parameters:
            yield f"| `{name}` | none | | | | |"
        for key, one in info.parameters.items():
            yield f"| `{name}` | `{key}` | {one.default:g} | {one.low:g} | {one.high:g} | {one.meaning} |"
    yield ""


def _title(table: str) -> str:
    return f"`[{table}]`" if table else "At the top"


def _table(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path)


def _code(text: str) -> str:
    return f"`{text}`" if text and text not in {"required", "none"} else text


def _row(key: Key) -> str:
    accepted = re.sub(r"(\[.*\])", r"`\1`", key.accepted) or "as in the example"
    return f"| `{key.key}` | {accepted} | {_code(key.default)} | {_code(key.example)} |"


def _toml(value: Any) -> str:
    """Return a value as a file has it; of a table of tables nothing, they have their own."""
    told = ""
    match value:
        case bool():
            told = str(value).lower()
        case str():
            told = f'"{value}"'
        case float() | int():
            told = f"{value:g}"
        case list() if not any(isinstance(one, Mapping) for one in value):
            told = f"[{', '.join(_toml(one) for one in value)}]"
        case Mapping() if not any(isinstance(one, Mapping | list) for one in value.values()):
            told = "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    return told

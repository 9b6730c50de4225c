from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.directive import Directive
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.policies import Policies
from tests.samples import define, plain_policy

HOMEPAGE = define(plain_policy())
CONTENT = build_snapshot(HOMEPAGE, [], {}, 7, "")
ROLLBACK = Directive("homepage", 2_000, "rollback", 7, CONTENT)


def taken(*values: bytes | None) -> Policies:
    policies = Policies("nowhere:9")
    policies._take([SimpleNamespace(offset=offset, key=b"key", value=value) for offset, value in enumerate(values)])
    return policies


def directive(**fields: object) -> bytes:
    return avro.encode("directive", ROLLBACK._asdict() | fields)


def policy() -> bytes:
    text = to_canonical_json(HOMEPAGE).decode()
    return avro.encode("policy", {"name": "homepage", "generation": 1, "definition": text})


def test_definitions_and_directives_are_told_apart():
    book = taken(policy(), directive(), policy()).book
    assert book.latest("homepage") == HOMEPAGE
    assert book.directive("homepage") == ROLLBACK


@pytest.mark.parametrize(
    "value",
    [
        directive(content=b"no snapshot"),
        directive(policy="other"),
        directive(action="freeze"),
        directive(number=0),
        avro.encode("tick", {"event_time_ms": 1}),
        b"no record",
        b"",
        None,
    ],
    ids=[
        "no snapshot",
        "another policy's",
        "unknown action",
        "no number",
        "another record",
        "bytes",
        "empty",
        "tombstone",
    ],
)
def test_what_can_not_be_acted_on_is_passed_over(value):
    book = taken(value, policy()).book
    assert book.latest("homepage") == HOMEPAGE
    assert book.directive("homepage") is None
    assert book.directive("other") is None

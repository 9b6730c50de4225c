"""A step begins with the first of the snapshots in a row that are by the definition in force."""

from __future__ import annotations

from pipeline.cli.snapshots import Published
from pipeline.cli.step_evidence import began_at_ms
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.operations import rolled_out
from tests.samples import define, plain_policy

AT_20 = define(plain_policy(rollout={"of": "other", "share": 0.2}))
AT_50 = rolled_out(AT_20, 0.5)


def published(version: int, definition: PolicyDefinition, at_ms: int, name: str = "homepage") -> Published:
    fields = {"policy": name, "version": version, "definition_hash": definition.definition_hash}
    return Published("", b"", fields, at_ms)


HISTORY = [
    published(1, AT_50, 100),
    published(2, AT_20, 200),
    published(4, AT_50, 400),
    published(3, AT_50, 300),
    published(9, AT_20, 900, "other"),
]


def test_it_is_the_first_of_those_that_stand_at_the_end():
    # version:    1      2      3      4
    # share:     50     20     50     50     in force: 50, since 300
    assert began_at_ms(HISTORY, AT_50) == 300


def test_it_has_not_begun_while_the_last_snapshot_is_by_another_definition():
    assert began_at_ms(HISTORY, AT_20) is None
    assert began_at_ms([], AT_50) is None

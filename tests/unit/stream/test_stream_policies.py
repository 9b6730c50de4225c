from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.codec import avro
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.directive import Directive
from pipeline.policy.switches import Switch
from pipeline.publish.parts import part_key
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


PARTS = {"ab" * 32: b"one part", "cd" * 32: b"another"}
LARGE = avro.encode(
    "snapshot",
    avro.decode_as("snapshot", CONTENT)
    | {"segments": [], "parts": [{"sha256": name, "size_bytes": 8, "rewards_counted": 0} for name in PARTS]},
)


def taken_with_parts(*records: tuple[bytes, bytes | None]) -> Policies:
    policies = Policies("nowhere:9")
    policies._take([SimpleNamespace(offset=n, key=key, value=value) for n, (key, value) in enumerate(records)])
    return policies


def test_a_rollback_s_parts_stand_before_it_and_are_dropped_when_they_are_deleted():
    keys = [part_key("homepage", name) for name in PARTS]
    parts = list(zip(keys, PARTS.values(), strict=True))
    book = taken_with_parts(*parts, (b"homepage/directive", directive(content=LARGE)), (keys[0], None)).book
    assert book.directive("homepage") == ROLLBACK._replace(content=LARGE)
    assert book.parts("homepage") == {"cd" * 32: b"another"}
    assert book.parts("other") == {}


def test_a_rollback_without_all_of_its_parts_is_passed_over(caplog):
    part = part_key("homepage", "ab" * 32), b"one part"
    book = taken_with_parts(part, (b"homepage/directive", directive(content=LARGE))).book
    assert book.directive("homepage") is None
    assert "1 parts of it do not stand before it" in caplog.text


def switched(arm: str, *, is_off: bool) -> bytes:
    return avro.encode("switch", Switch("homepage", arm, is_off, 1)._asdict())


def test_a_kill_holds_over_a_definition_that_was_applied_at_the_same_time():
    # The operator who applies has read `policies` before the kill, and writes behind it.
    for records in ([policy(), switched("a", is_off=True), policy()], [switched("a", is_off=True), policy()]):
        in_force = taken(*records).book.in_force("homepage")
        assert in_force.switches.arms == ("a",)
        assert in_force.definition_hash != HOMEPAGE.definition_hash  # so that it is published
    (listed,) = taken(policy(), switched("", is_off=True)).book
    assert listed.switches.is_killed
    assert taken(policy(), switched("", is_off=True), switched("", is_off=False)).book.in_force("homepage") == HOMEPAGE


def test_a_definition_that_may_not_follow_is_refused_here_too_told_and_counted(caplog):
    fewer = define(plain_policy(arms=[{"name": "a"}]))
    record = avro.encode(
        "policy", {"name": "homepage", "generation": 1, "definition": to_canonical_json(fewer).decode()}
    )
    policies = taken(policy(), record)
    assert policies.book.latest("homepage") == HOMEPAGE
    assert policies.refused_count == 1
    assert policies.refused["homepage"][0] == fewer.definition_hash
    assert "policy-record-refused offset=1" in caplog.text
    assert "keep it with retired = true" in caplog.text


def of_text(definition: str) -> bytes:
    return avro.encode("policy", {"name": "homepage", "generation": 1, "definition": definition})


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "7", '"homepage"', "{", "[" * 900 + "]" * 900, '{"name":' + "[" * 900 + "]" * 900 + "}"],
    ids=["null", "list", "number", "text", "cut", "deep", "deep inside"],
)
def test_a_definition_that_is_no_object_or_none_that_can_be_read_is_refused_and_told(text, caplog):
    policies = taken(of_text(text), policy())
    assert policies.book.latest("homepage") == HOMEPAGE
    assert policies.refused_count == 1
    assert "policy-record-refused offset=0" in caplog.text


def test_a_key_that_is_no_text_is_nobody_s_part():
    assert taken_with_parts((b"\xff/part/x", policy())).book.latest("homepage") == HOMEPAGE


def written(policy: dict, follows: dict | str | None) -> bytes:
    """Give the record of a definition that was made from another one."""
    definition, hash_ = define(policy), follows if not isinstance(follows, dict) else define(follows).definition_hash
    text = to_canonical_json(definition).decode()
    fields = {"name": "homepage", "generation": definition.generation, "definition": text, "follows": hash_}
    return avro.encode("policy", fields)


OLD, NEW, OTHER = (plain_policy(exploration={"floor": floor}) for floor in (0.01, 0.02, 0.03))


@pytest.mark.parametrize(
    ("records", "in_force", "refused"),
    [
        # Two read the same, and write one behind the other.
        ([written(OLD, ""), written(NEW, OLD), written(OTHER, OLD)], NEW, 1),
        ([written(OLD, ""), written(NEW, OLD), written(OTHER, NEW)], OTHER, 0),
        # Twice the same, from two machines.
        ([written(OLD, ""), written(NEW, OLD), written(NEW, OLD)], NEW, 0),
        # Two begin the policy.
        ([written(OLD, ""), written(NEW, "")], OLD, 1),
        # One that was promoted meanwhile, and one of an earlier release, which says nothing.
        ([written(OLD, ""), written(NEW | {"generation": 2}, OLD), written(OTHER, OLD)], NEW | {"generation": 2}, 1),
        ([written(OLD, ""), written(NEW, OLD), written(OTHER, None)], OTHER, 0),
        # Compaction has left but the last.
        ([written(OTHER, NEW)], OTHER, 0),
    ],
)
def test_of_two_definitions_made_from_the_same_one_the_first_in_the_log_holds(records, in_force, refused):
    policies = taken(*records)
    assert policies.book.latest("homepage") == define(in_force)
    assert policies.refused_count == refused


def test_an_earlier_generation_that_was_written_again_is_known_whatever_is_read_first():
    later = NEW | {"generation": 2}
    for records in (
        [written(OLD, ""), written(later, OLD), written(OLD, None)],
        [written(later, OLD), written(OLD, None)],
    ):
        policies = taken(*records)
        book = policies.book
        assert (book.latest("homepage"), book.find("homepage", 1)) == (define(later), define(OLD))
        assert (policies.refused, policies.refused_count) == ({}, 0)


def test_of_two_directives_given_at_once_the_first_in_the_log_holds():
    pin = {"action": "pin", "content": b""}
    first, second = directive(number=3_000, follows=2_000), directive(number=3_001, follows=2_000, **pin)
    for given, holds in (
        ((directive(), first, second), "rollback"),
        ((directive(), second, first), "pin"),
        # At the same millisecond too; and one that the loser has written again changes nothing.
        ((directive(), first, directive(number=3_000, follows=2_000, **pin), first), "rollback"),
        # A later one, and one of an earlier release.
        ((directive(), first, directive(number=4_000, follows=3_000, **pin)), "pin"),
        ((directive(), first, directive(number=4_000, **pin)), "pin"),
    ):
        found = taken(*given).book.directive("homepage")
        assert found.action == holds

"""Pages that are made of the code's declarations leave nothing out, and their examples are accepted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import orjson
import pytest

import pipeline.codec.unreadable
from pipeline.codec.wire import decode_event
from pipeline.events import UNDECODABLE_REASONS
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.parsing.parse import load_policy
from pipeline.producers.check import judge
from pipeline.reasons import REASONS
from pipeline.serve.http.routes import OPERATIONS
from tests.harness.pages import OTHERS
from tests.harness.reference.commands import commands
from tests.harness.reference.pages import PAGES
from tests.harness.reference.records import AT_MS, TOP, avro_of, examples

RAISED = {"RecordError", "DecodeError", "InvalidRecordError", "RefusedWriter"}
GETTERS = {"name", "choice", "flag", "integer", "number", "duration_ms", "items", "sections", "section", "has"}


def test_every_key_that_the_parser_names_is_on_the_page_of_the_policy_file() -> None:
    page = PAGES["docs/policy-file.md"]()
    named = {
        key for path in (TOP / "pipeline/policy/parsing").glob("*.py") for key in asked_for(path.read_text("utf-8"))
    }
    assert len(named) > 50
    assert {key for key in named if f"| `{key}` |" not in page} == set()


def asked_for(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GETTERS:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_every_command_is_on_its_page() -> None:
    page = PAGES["docs/commands.md"]()
    names = [name for name, *_ in commands()]
    assert len(names) >= 40
    assert [name for name in names if not re.search(rf"^## `{re.escape(name)}[ `]", page, re.MULTILINE)] == []


def test_every_route_is_on_its_page() -> None:
    page = PAGES["docs/http.md"]()
    assert [each.path for each in OPERATIONS if f"## {each.method} `{each.path}`" not in page] == []


def reasons_raised() -> set[str]:
    found = {pipeline.codec.unreadable.UNREADABLE}
    for path in (TOP / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first, called = node.args[0], ast.unparse(node.func).rpartition(".")[2]
            if called in RAISED and isinstance(first, ast.Constant):
                found.add(first.value)
            elif called in RAISED and isinstance(first, ast.IfExp):
                found |= {each.value for each in (first.body, first.orelse) if isinstance(each, ast.Constant)}
    return found


def test_every_reason_that_is_raised_is_declared_and_no_other() -> None:
    raised = reasons_raised()
    assert len(raised) > 30
    # What keeps a context from being learned from stands in the ledger, and is raised by nobody.
    assert (raised | UNDECODABLE_REASONS) - REASONS.keys() == set()
    assert REASONS.keys() - raised - UNDECODABLE_REASONS == set()


@pytest.mark.parametrize("kind", ["decision", "outcome"])
def test_the_examples_of_records_are_accepted_in_both_encodings(kind: str) -> None:
    """Those that stand on the page, as they stand there."""
    section = PAGES["docs/records.md"]().partition(f"## {kind.capitalize()}\n")[2]
    blocks = re.findall(r"```(?:json)?\n(.*?)```", section, re.DOTALL)[:2]
    in_json, in_avro = blocks[0].encode(), bytes.fromhex(blocks[1])
    assert decode_event(in_json, kind) == decode_event(in_avro, kind)
    book = PolicyBook()
    book.put(load_policy((TOP / "docs/example/homepage.toml").read_text("utf-8"), "homepage.toml"))
    pair = {name: orjson.dumps(fields) for name, fields in examples().items()}
    for raw in (in_json, in_avro):
        verdicts = judge(list({**pair, kind: raw}.values()), book, AT_MS + 5_000, Limits())
        assert [verdict.fate for verdict in verdicts] == ["open", "credited"]
    assert avro_of(kind, examples()[kind]) == in_avro


def test_json_is_a_kind_of_block_that_is_not_typed() -> None:
    assert "json" in OTHERS

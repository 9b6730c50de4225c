"""Rows say what the ledger does, in units, and another reader of Parquet reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from pipeline.export.columns import LEDGER
from pipeline.export.latest import Held
from pipeline.export.ledger import LedgerRows, Row
from pipeline.export.parquet import write
from tests.samples import define, linear_policy, plain_decision, plain_policy

PLAIN = linear_policy(combine="weighted")

WEIGHTED = define(PLAIN)
COLUMNS = [column.name for column in LEDGER]
DECIDED_MS = 1_790_000_000_000


def fields(**others: Any) -> dict[str, Any]:
    decision = plain_decision("x", DECIDED_MS, eligible=["a", "b"], probabilities=[0.5, 0.5], context={"visits": 1})
    return {
        "action_id": "x",
        "policy": "homepage",
        "generation": 1,
        "segment": "new",
        "arm": "a",
        "decided_at_ms": DECIDED_MS,
        "revision": 4,
        "is_settled": True,
        "reward": 0,
        "reward_exponent": WEIGHTED.reward.exponent,
        "attribution": WEIGHTED.statistics_hash,
        "outcomes": [credit("click"), credit("like")],
        "decision": orjson.dumps(decision),
        "is_analysis": False,
        "undecodable": "",
        "expires_at_ms": DECIDED_MS + 15_000,
        **others,
    }


def credit(kind: str) -> dict[str, Any]:
    return {"outcome_id": f"x-{kind}", "kind": kind, "value": 1.0, "occurred_at_ms": DECIDED_MS + 1_000}


def row(rows: LedgerRows, **others: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, rows.row(3, Held(17, fields(**others))), strict=True))


def test_kinds_that_are_counted_apart_are_worth_what_their_policy_says() -> None:
    # A click is worth 1, a like 0.25; the ledger's own reward is 0 there.
    assert row(LedgerRows([WEIGHTED]))["reward"] == 1.25


def test_a_reward_on_the_grid_is_told_in_units() -> None:
    definition = define(plain_policy())
    steps = 3 << (definition.reward.exponent - 2)
    rules = {"attribution": definition.statistics_hash, "reward_exponent": definition.reward.exponent}
    told = row(LedgerRows([definition]), reward=steps, **rules)
    assert told["reward"] == 0.75


def test_where_the_rules_are_not_known_there_is_no_reward_and_it_is_counted() -> None:
    rows = LedgerRows([])
    assert row(rows)["reward"] is None
    assert rows.untold == 1


def test_a_decision_that_can_not_be_read_is_a_row_all_the_same() -> None:
    told = row(LedgerRows([WEIGHTED]), decision=b"nonsense")
    assert (told["reward"], told["arm"], told["propensity"], told["context"]) == (1.25, "a", None, None)


@pytest.fixture
def rows() -> list[Row]:
    known = LedgerRows([WEIGHTED])
    return [known.row(3, Held(17, fields())), known.row(3, Held(18, fields(decision=b"", outcomes=[])))]


def test_another_reader_reads_every_column_by_its_type(tmp_path: Path, rows: list[Row]) -> None:
    path = tmp_path / "rows.parquet"
    write(path, LEDGER, rows, {"pipeline.table": "ledger"})
    table = duckdb.read_parquet(str(path))
    assert table.columns == COLUMNS
    asked = (
        "action_id, epoch_ms(decided_at), reward, propensity, probabilities, context::json->>'visits', "
        "outcomes[2].kind, epoch_ms(outcomes[1].occurred_at), is_settled, ledger_offset"
    )
    assert table.order("ledger_offset").project(asked).fetchall() == [
        ("x", DECIDED_MS, 1.25, 0.5, [0.5, 0.5], "1", "like", DECIDED_MS + 1_000, True, 17),
        ("x", DECIDED_MS, 0.0, None, None, None, None, None, True, 18),
    ]
    footer = duckdb.sql("select key, value from parquet_kv_metadata(?)", params=[str(path)]).fetchall()
    assert (b"pipeline.table", b"ledger") in footer


def test_the_same_rows_are_the_same_bytes_and_no_file_is_written_over(tmp_path: Path, rows: list[Row]) -> None:
    digests = {write(tmp_path / name, LEDGER, rows, {}) for name in ("one", "two")}
    assert len(digests) == 1
    with pytest.raises(FileExistsError):
        write(tmp_path / "one", LEDGER, rows, {})

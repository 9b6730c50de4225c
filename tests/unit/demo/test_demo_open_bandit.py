from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from pipeline.demo.logged import read_log
from pipeline.demo.open_bandit import expected_totals, log_records, policy_for, read_impressions
from pipeline.demo.recount import Total
from pipeline.errors import ConfigError
from pipeline.events import decision_from, outcome_from

HEADER = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0"
# The third row is earlier than the second, and clicked half a second before it.
ROWS = """\
0,2019-11-24 00:00:10.000000+00:00,7,2,0,0.25,aa,0.0
1,2019-11-24 00:00:12.500999+00:00,30,1,0,0.5,bb,1.0
2,2019-11-24 00:00:11.000000+00:00,7,2,1,0.25,cc,0.0"""
T0_MS = 1_574_553_600_000  # 2019-11-24 00:00 UTC: 18,224 days of 86,400,000 ms


def impressions(rows: str = ROWS, header: str = HEADER) -> list:
    return read_impressions([header, *rows.splitlines()], "test.csv")


def test_records_come_in_the_order_of_event_time_with_a_click_a_second_after_its_impression() -> None:
    found = [(record.at_ms - T0_MS, record.topic, record.action_id) for record in log_records(impressions())]
    # What is below a millisecond is cut off: 12.500999 s is 12,500 ms.
    assert found == [
        (10_000, "decisions", "ob-0"),
        (11_000, "decisions", "ob-2"),
        (12_000, "outcomes", "ob-2"),
        (12_500, "decisions", "ob-1"),
    ]


def test_a_decision_carries_the_row() -> None:
    first = next(iter(log_records(impressions())))
    decision = decision_from(orjson.loads(first.value))
    assert (decision.policy, decision.segment, decision.arm, decision.propensity) == ("open-bandit", "2", "7", 0.25)
    assert decision.context == {"position": 2, "user_feature_0": "aa"}
    assert decision.decided_at_ms == T0_MS + 10_000


def test_an_outcome_is_a_click_on_its_decision() -> None:
    raw = next(record.value for record in log_records(impressions()) if record.topic == "outcomes")
    outcome = outcome_from(orjson.loads(raw))
    assert (outcome.outcome_id, outcome.action_id, outcome.kind) == ("ob-2-click", "ob-2", "click")


def test_the_policy_has_an_arm_an_item_and_a_segment_a_position() -> None:
    definition = policy_for(impressions())
    assert definition.arm_names == ("7", "30")
    assert definition.segments.segment_for({"position": 1}) == "1"
    assert definition.segments.segment_for({"position": 2}) == "2"
    assert definition.reward.worth("click", 1.0) == 1.0


def test_no_outcome_of_a_week_long_log_comes_too_late() -> None:
    assert policy_for(impressions()).grace_ms > timedelta(days=7) / timedelta(milliseconds=1)


def test_the_expected_totals_are_rows_and_clicks_by_position_and_item() -> None:
    # A click is worth 1, which is 2^15 on the grid.
    assert expected_totals(impressions(), 15) == {("2", "7"): Total(2, 2**15), ("1", "30"): Total(1, 0)}


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ConfigError, match="column click is missing"):
        impressions(header=HEADER.replace("click", "clicked"))


@pytest.mark.parametrize(
    ("cell", "instead"), [("0.25,cc", "much,cc"), ("+00:00,7,2,1", ",7,2,1"), (",1,0.25,cc,0.0", "")]
)
def test_a_row_that_cant_be_read_is_named(cell: str, instead: str) -> None:
    assert cell in ROWS
    # The third below the header, which is row 1, as a spreadsheet shows it.
    with pytest.raises(ConfigError, match=r"test\.csv: row 4"):
        impressions(ROWS.replace(cell, instead))


@pytest.mark.parametrize("propensity", ["1e-300", "0", "-0.5", "1.5", "nan", "25%"])
def test_a_propensity_that_no_decision_can_have_had_is_named(propensity: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.csv: row 4"):
        impressions(ROWS.replace("0.25,cc", f"{propensity},cc"))


def test_a_campaign_s_byte_order_mark_is_read_and_other_encodings_are_refused_in_words(tmp_path: Path) -> None:
    table = tmp_path / "women.csv"
    table.write_text(f"{HEADER}\n{ROWS}", encoding="utf-8-sig")
    assert [one.item for one in read_log(tmp_path)] == [one.item for one in impressions()]
    for encoding, line in (("utf-16", 1), ("cp1252", 4)):
        table.write_text(f"{HEADER}\n{ROWS}".replace("cc", "\u00e4"), encoding=encoding)
        with pytest.raises(ConfigError, match=rf"women\.csv: line {line}: is no UTF-8"):
            read_log(tmp_path)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds no rows"):
        impressions(rows="")

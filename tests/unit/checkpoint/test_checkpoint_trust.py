"""A proof begins at checkpoints that it came to itself, and at those that it is told to trust."""

from __future__ import annotations

import pytest

from pipeline.checkpoint.trust import MOST_REMEMBERED, Trust
from pipeline.errors import ConfigError
from tests.unit.checkpoint.test_checkpoint_head import heads

FIRST, SECOND, THIRD = HEADS = heads(10, 20, 30)


def test_nothing_is_trusted_that_nobody_came_to_or_vouches_for(tmp_path):
    assert Trust(tmp_path / "none.json", "fold").among(HEADS) == set()


def test_what_was_come_to_is_remembered_for_that_code_alone(tmp_path):
    file = tmp_path / "var" / "trusted.json"
    Trust(file, "fold").add([FIRST.id, SECOND.id])
    Trust(file, "independent").add([FIRST.id])
    assert Trust(file, "fold").among(HEADS) == {FIRST.id, SECOND.id}
    assert Trust(file, "independent").among(HEADS) == {FIRST.id}


def test_an_operator_vouches_by_id_its_beginning_or_for_the_newest(tmp_path):
    file = tmp_path / "trusted.json"
    assert Trust(file, "fold", [SECOND.id]).among(HEADS) == {SECOND.id}
    assert Trust(file, "fold", [SECOND.id[:12]]).among(HEADS) == {SECOND.id}
    assert Trust(file, "fold", ["newest"]).among(HEADS) == {THIRD.id}
    assert not file.exists()


@pytest.mark.parametrize("told", ["", "abc", SECOND.id[:11], "oldest", "xyz" * 8])
def test_what_is_no_id_is_refused(tmp_path, told):
    with pytest.raises(ConfigError, match="--trust"):
        Trust(tmp_path / "trusted.json", "fold", [told])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fold": 1}'])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    file = tmp_path / "trusted.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="remove it"):
        Trust(file, "fold")


def test_what_is_remembered_is_bounded_by_the_last(tmp_path):
    file = tmp_path / "trusted.json"
    Trust(file, "fold").add(f"{number:064x}" for number in range(MOST_REMEMBERED))
    Trust(file, "fold").add([THIRD.id])
    Trust(file, "fold").add([THIRD.id])
    trust = Trust(file, "fold")
    assert trust.among(HEADS) == {THIRD.id}
    assert len(trust.known) == MOST_REMEMBERED

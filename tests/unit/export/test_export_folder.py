"""A whole export, or the one before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.export.folder import MANIFEST, replacing


def put(folder: Path, text: str) -> None:
    with replacing(folder) as place:
        (place / "rows").write_text(text)
        (place / MANIFEST).write_text("{}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_takes_the_place_of_the_one_before_it_whole(tmp_path: Path) -> None:
    put(tmp_path / "out", "first")
    (tmp_path / "out" / "more").write_text("of the first")
    put(tmp_path / "out", "second")
    assert (tmp_path / "out" / "rows").read_text() == "second"
    assert names(tmp_path / "out") == [MANIFEST, "rows"]
    assert names(tmp_path) == ["out"]


def test_an_export_that_fails_leaves_the_one_before_it_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "out", "first")

    def fail() -> None:
        with replacing(tmp_path / "out") as place:
            (place / "rows").write_text("second, in part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "out" / "rows").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_put_right(tmp_path: Path) -> None:
    put(tmp_path / "out", "first")
    # Killed while it wrote; and between the two renames.
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "rows").write_text("second, in part")
    (tmp_path / ".out.new" / "torn").mkdir()
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with replacing(tmp_path / "out") as place:
        assert (tmp_path / "out" / "rows").read_text() == "first"
        assert names(place) == []
        (place / MANIFEST).write_text("{}")
    assert names(tmp_path) == ["out"]


def test_a_folder_that_is_no_export_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is there, and no export"):
        put(tmp_path, "rows")
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    put(tmp_path / "out", "first")
    assert names(tmp_path / "out") == [MANIFEST, "rows"]


def test_two_do_not_write_one_folder_at_once(tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as place:
        with pytest.raises(ConfigError, match="another export is writing"):
            put(tmp_path / "out", "mine")
        (place / MANIFEST).write_text("{}")
    assert names(tmp_path) == ["out"]

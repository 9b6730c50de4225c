"""A table of numbers and words as a spreadsheet writes it: any encoding, any delimiter, points or commas. Pure.

What is certain is read; what is a guess is a doubt, in words and with a count; what can't be read is a fault that names
row and column. Rows are numbered as a spreadsheet shows them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan

import numpy as np

from pipeline.errors import ConfigError
from pipeline.models.model import Floats

DELIMITERS = (",", ";", "\t", "|")
FAULTS_SHOWN = 10
MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
"""Byte order marks."""
LOST = "\ufffd"
"""Stands for what can't be read."""
WORKBOOK = b"PK\x03\x04"
_MAYBE_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")
"""1,234: a number of thousands, or one with three decimals."""
_GROUPED = {mark: re.compile(rf"[-+]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+(?:[.,]\d+)?") for mark in ".,"}
_SPACES = str.maketrans("", "", " \u00a0\u202f'\u2019")
"""What groups digits and is never a decimal mark."""


@dataclass
class Sheet:
    """A table's cells, its columns by name."""

    source: str
    """Names it in errors."""
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    """(number, cells)."""
    doubts: Counter[str] = field(default_factory=Counter)
    """What was guessed, and how often."""
    faults: list[str] = field(default_factory=list)
    is_comma_free: bool = False
    """Whether a comma does not delimit, so that in a number it is more likely a decimal one."""

    def words(self, column: str) -> list[str]:
        """Return a column's cells; an empty one is a fault."""
        cells = list(self._cells(column))
        self.faults += [f"row {number}, column {column}: is empty" for number, cell in cells if not cell]
        return [cell for _, cell in cells]

    def numbers(self, column: str, expected: str = "a number", accepts: Callable[[float], bool] = isfinite) -> Floats:
        """Return a column's numbers; what is none, or is not accepted, is a fault."""
        cells = [(number, cell, cell.translate(_SPACES)) for number, cell in self._cells(column)]
        if spaced := sum(text != cell for _, cell, text in cells):
            self.doubts[f"column {column}: spaces or apostrophes within numbers were taken out"] = spaced
        decimal = self._decimal_mark(column, [text for _, _, text in cells if "," in text or "." in text])
        numbers = []
        for number, cell, text in cells:
            value = self._number(column, text, decimal)
            if not (isfinite(value) and accepts(value)):
                self.faults.append(f"row {number}, column {column}: {cell!r}, expected {expected}")
            numbers.append(value)
        return np.array(numbers, np.float64)

    def texts(self, column: str) -> list[str]:
        """Return a column's cells as they are, empty ones too."""
        return [cell for _, cell in self._cells(column)]

    def values(self, column: str) -> list[float | str | None]:
        """Return a column's numbers where all are some, or else its words; None for empty cells."""
        cells = self.texts(column)
        tried = replace(self.filled(column)[1], doubts=Counter(), faults=[])
        numbers = iter(tried.numbers(column).tolist())
        if tried.faults or not tried.rows:
            return [cell or None for cell in cells]
        self.doubts.update(tried.doubts)
        return [next(numbers) if cell else None for cell in cells]

    def filled(self, column: str) -> tuple[Sequence[int], Sheet]:
        """Return the places of rows whose cell is not empty, and a sheet of them that notes in this one's name."""
        places = [place for place, cell in enumerate(self.texts(column)) if cell]
        return places, replace(self, rows=[self.rows[place] for place in places])

    def fault(self, row: int, column: str, words: str) -> None:
        """Note a fault of the row at a place."""
        self.faults.append(f"row {self.rows[row][0]}, column {column}: {words}")

    def check(self) -> None:
        """Raise ConfigError where there are faults, with the first few and how many there are."""
        if self.faults:
            more = len(self.faults) - FAULTS_SHOWN
            rest = [f"and {more:,} more"] if more > 0 else []
            raise ConfigError(self.source, [*self.faults[:FAULTS_SHOWN], *rest])

    def doubts_told(self) -> list[str]:
        """Return what was guessed, in words."""
        return [f"{self.source}: {words} ({count:,} times)" for words, count in self.doubts.items()]

    def _cells(self, column: str) -> Iterator[tuple[int, str]]:
        place = self.columns.index(column)
        return ((number, cells[place].strip()) for number, cells in self.rows)

    def _decimal_mark(self, column: str, texts: Sequence[str]) -> str:
        """Say what a column's numbers have before their decimals: what those tell that can be read in one way only."""
        told = Counter(mark for mark in map(_decimal_of, texts) if mark)
        if told["."] and told[","]:
            words = f"column {column}: some numbers have decimal points, others commas; 1,234 was read by the more"
            self.doubts[words] = min(told.values())
        if told:
            return max(".,", key=lambda mark: told[mark])
        unsure = sum("," in text for text in texts)
        if unsure and self.is_comma_free:
            self.doubts[f"column {column}: ',' was taken for a decimal comma where it might group thousands"] = unsure
            return ","
        return "."

    def _number(self, column: str, text: str, decimal: str) -> float:
        own = _decimal_of(text) or decimal
        grouping = "," if own == "." else "."
        if grouping in text:
            if not _GROUPED[grouping].fullmatch(text):
                return nan
            self.doubts[f"column {column}: {grouping!r} was taken to group thousands, as in 1{grouping}234"] += 1
            text = text.replace(grouping, "")
        if own == "," and "," in text:
            self.doubts[f"column {column}: ',' was taken for a decimal comma"] += 1
            text = text.replace(",", ".")
        try:
            return float(text) if text.isascii() and "_" not in text else nan
        except ValueError:
            return nan


def _decimal_of(text: str) -> str:
    """Return the decimal mark of a number that can be read in one way only; empty where it has none, or may have.

    >>> [_decimal_of(text) for text in ("0,5", "1.234,5", "1,234,567", "1,234", "7")]
    [',', ',', '.', '', '']
    """
    commas, points = text.count(","), text.count(".")
    if commas and points:
        return max(".,", key=text.rfind)
    if commas > 1 or points > 1:
        return "." if commas else ","
    if not (commas or points) or _MAYBE_GROUPED.fullmatch(text):
        return ""
    return "," if commas else "."


def read_sheet(raw: bytes, source: str, needed: Sequence[str], welcome: Sequence[str] = ()) -> Sheet:
    """Read a table that has the needed columns, and may have those that are welcome; others are kept.

    Raises:
        ConfigError: it has no such header, or rows of other lengths.
    """
    doubts: Counter[str] = Counter()
    known = [*needed, *welcome]
    lines = _decoded(raw, source, doubts).splitlines(keepends=True)
    if lines and (said := re.fullmatch(r"sep=(.)\s*", lines[0])):  # a line that Excel writes for itself
        skipped, delimiter = 1, said[1]
    else:
        skipped, delimiter = 0, _delimiter(lines[0] if lines else "", known)
    rows = _split("".join(lines[skipped:]), delimiter, source, skipped)
    header = rows[0] if rows else []
    columns = tuple(name.strip().casefold() for name in header)
    if altered := sum(name != column for name, column in zip(header, columns, strict=True)):
        doubts["names of columns were read in small letters and without spaces around them"] = altered
    faults = [f"column {name} is missing: seen {', '.join(header)[:200]!r}" for name in needed if name not in columns]
    faults += [f"column {name} is there {n} times" for name, n in Counter(columns).items() if n > 1 and name in known]
    if faults:
        raise ConfigError(source, faults)
    sheet = Sheet(source, columns, [], doubts, [], delimiter != ",")
    for number, cells in enumerate(rows[1:], 2 + skipped):
        if not any(cell.strip() for cell in cells):
            doubts["empty rows were passed over"] += 1
        elif len(cells) != len(columns):
            sheet.faults.append(f"row {number}: has {len(cells)} cells, the header has {len(columns)}")
        else:
            sheet.rows.append((number, cells))
    sheet.check()
    if not sheet.rows:
        raise ConfigError(source, ["holds no row below its header"])
    return sheet


def _split(text: str, delimiter: str, source: str, skipped: int) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(cells)
            if any("\0" in cell for cell in cells):
                fault = f"row {len(rows) + skipped}: holds a byte 0, which no text has"
                raise ConfigError(source, [f"{fault}: export the table again"])
    except csv.Error as error:  # a cell of more than 131,072 letters, as where a quote never ends
        fault = f"row {len(rows) + 1 + skipped}: can't be cut into cells ({error})"
        raise ConfigError(source, [f"{fault}; does a quote begin there and not end?"]) from error
    return rows


def _decoded(raw: bytes, source: str, doubts: Counter[str]) -> str:
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return _read_as(encoding, raw[len(mark) :], doubts)
    if raw.startswith(WORKBOOK):
        raise ConfigError(source, ["is a workbook, no table of text: save it as CSV"])
    head = raw[:200]
    if head.count(0) > len(head) // 4:  # every second byte of what is mostly ASCII, without a mark
        encoding = "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
        doubts[f"no byte order mark: read as {encoding}"] = 1
        return _read_as(encoding, raw, doubts)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        doubts["letters are no UTF-8 and were read as Windows-1252"] = sum(byte > 127 for byte in raw)
        return _read_as("cp1252", raw, doubts)


def _read_as(encoding: str, raw: bytes, doubts: Counter[str]) -> str:
    """Return a text in which what is no letter of the encoding is \ufffd, and count those."""
    text = raw.decode(encoding, errors="replace")
    strict = raw.decode(encoding, errors="ignore")
    if lost := text.count(LOST) - strict.count(LOST):
        doubts[f"bytes are no letters in {encoding} and were read as {LOST}"] = lost
    return text


def _delimiter(header: str, known: Sequence[str]) -> str:
    """Return what cuts the header into the most of the known columns; then, into the most columns."""

    def worth(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip().casefold() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        return sum(name in cells for name in known), len(cells)

    return max(DELIMITERS, key=worth)

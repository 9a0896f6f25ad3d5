"""CSV files: read once, strictly, with the line and column of whatever is wrong."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from dlcli.datasets.files import reading, required
from dlcli.datasets.table import GREATEST_CELLS, GREATEST_COLUMNS, Table, load, roles, unusable
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Source
from dlcli.registry import register

GREATEST_LINE = 4 << 20  # bytes
CHUNK = 4096  # rows turned into numbers at a time, so that texts of numbers never pile up
DELIMITERS = ",;\t|"
MISSING = {"", "na", "n/a", "nan", "null", "?"}
DELIMITER_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


@register("dataset", "csv")
def csv_table(
    *,
    path: str | None,
    target: str | int,
    features: list[str] | None,
    kind: Literal["auto", "classification", "regression"],
    delimiter: Literal["auto", "comma", "semicolon", "tab", "bar"],
    split: str | None,
    validation_path: str | None,
    test_path: str | None,
) -> Source:
    """Your own table of text: a header line, then one example a line; text columns become one-hot inputs."""
    file = required(path, "csv")
    chosen = DELIMITER_NAMES.get(delimiter)
    columns = roles(file, header(file, chosen), target, split, features)
    reader = partial(read, delimiter=chosen)
    return load(reader, columns, file, validation_path, test_path, kind, f"file {quote(path, 100)}")


def header(path: Path, delimiter: str | None) -> list[str]:
    """The names of the columns."""
    with reading(path) as handle:
        return _open(path, handle, delimiter)[0]


def read(path: Path, names: list[str], texts: dict[str, bool], delimiter: str | None = None) -> Table:
    """The columns `names`. `texts` tells which are texts (True) or must be numbers (False); others are found out."""
    try:
        return _read(path, names, texts, delimiter)
    except _TextAfterAll as found:  # numbers at first, texts later: again, keeping the texts as they were written
        return read(path, names, {**texts, found.column: True}, delimiter)


def _read(path: Path, names: list[str], texts: dict[str, bool], delimiter: str | None) -> Table:
    with reading(path) as handle:
        present, rows = _open(path, handle, delimiter, fewest=min(2, len(names)))
        places_of = {name: i for i, name in enumerate(present)}
        absent = [name for name in names if name not in places_of]
        if absent:
            raise DataError(f"{quote(path, 80)} has no column {quote(absent[0])}", "every file needs the same columns")
        columns = {name: _Column(path, name, texts.get(name)) for name in names}
        picked = [(columns[name], places_of[name]) for name in names]
        places: list[int] = []
        while chunk := list(islice(rows, CHUNK)):
            lines = [line for line, _ in chunk]
            places += lines
            if len(places) * len(names) > GREATEST_CELLS:
                raise DataError(f"{quote(path, 80)} has too many rows for memory", "use parquet or npz, or fewer rows")
            for column, index in picked:
                column.add([row[index] for _, row in chunk], lines)
    if not places:
        raise DataError(f"{quote(path, 80)} has a header and no rows", "add one example a line below it")
    return Table(path, {name: column.values() for name, column in columns.items()}, "line", np.array(places))


def _open(
    path: Path, handle: BinaryIO, delimiter: str | None, fewest: int = 2
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of `fewest` columns or more, and the rows with their line numbers."""
    lines = _lines(path, handle)
    first = list(_until_text(lines))
    if delimiter is None:
        unquoted = re.sub(r'"[^"]*"', "", first[-1])
        delimiter = max(DELIMITERS, key=unquoted.count)
    rows = _rows(path, csv.reader(chain(first, lines), delimiter=delimiter, strict=True))
    line, names = next(rows, (1, []))
    names = [name.strip() for name in names]
    if len(names) < fewest:
        raise DataError(
            f"{quote(path, 80)}, line {line}: one column only, with delimiter {quote(delimiter)}",
            "the first line must name the columns; set dataset.delimiter to comma, semicolon, tab or bar",
        )
    if not _are_names(names):
        raise DataError(
            f"{quote(path, 80)}, line {line}: numbers where the names of the columns should be",
            "add a first line that names the columns",
        )
    return names, rows


def _until_text(lines: Iterator[str]) -> Iterator[str]:
    """Empty lines, and the first that is not."""
    for line in lines:
        yield line
        if line.strip():
            return


def _are_names(names: list[str]) -> bool:
    """Whether a first line is a header. Numbers among the names must count up from 0 or 1, as those of pixels do."""
    numbers = [float(name) for name in names if _is_number(name)]
    counting = [numbers[0] + i for i in range(len(numbers))] if numbers else []
    return not numbers or (len(numbers) < len(names) and numbers[0] in (0, 1) and numbers == counting)


def _lines(path: Path, handle: BinaryIO) -> Iterator[str]:
    """The lines of the file as text, none longer than the limit in memory."""
    number = 0
    while line := handle.readline(GREATEST_LINE + 1):
        number += 1
        if len(line) > GREATEST_LINE:
            raise DataError(f"{quote(path, 80)}, line {number}: longer than {GREATEST_LINE} bytes", "is it a CSV file?")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if b"\0" in line:
            raise DataError(f"{quote(path, 80)}, line {number}: a NUL byte", "is it a CSV file, saved as UTF-8?")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise DataError(
                f"{quote(path, 80)}, line {number}: byte 0x{line[fault.start]:02x} is no UTF-8",
                "save the file as UTF-8, for example: iconv -f CP1252 -t UTF-8",
            ) from fault


def _rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row, all of one length; empty lines are passed over."""
    width = None
    line = 1
    try:
        for row in reader:
            if row:
                width = width or len(row)
                if len(row) != width:
                    raise DataError(
                        f"{quote(path, 80)}, line {line}: {len(row)} cells, {width} columns",
                        'put a cell that holds the delimiter into "quotes"',
                    )
                if width > GREATEST_COLUMNS:
                    raise DataError(f"{quote(path, 80)} has {width} columns; at most {GREATEST_COLUMNS} are read")
                yield line, row
            line = reader.line_num + 1
    except csv.Error as fault:
        message = f"{quote(path, 80)}, line {line}: {quote(fault, 70)[1:-1]}"
        raise DataError(message, 'check the "quotes" from this line on') from fault


class _TextAfterAll(Exception):
    """A column that began with numbers turned out to hold texts."""

    def __init__(self, column: str):
        self.column = column


class _Column:
    """One column while it is read: chunks of numbers, or of texts."""

    def __init__(self, path: Path, name: str, text: bool | None):
        self.path, self.name, self.text = path, name, text
        self.chunks: list[np.ndarray] = []
        self.numbers = 0  # cells that are numbers
        self.strange: tuple[int, str] | None = None  # the first cell that is none
        self.known: dict[str, str] = {}  # one object per different text

    def add(self, cells: list[str], lines: list[int]) -> None:
        numbers = None if self.text else _numbers(cells)
        if numbers is not None:
            self._check_finite(numbers, cells, lines)
            self.numbers += len(cells)
            self.chunks.append(numbers)
            return
        texts = np.empty(len(cells), object)
        for i, (cell, line) in enumerate(zip(cells, lines, strict=True)):
            text = cell.strip()
            if text.lower() in MISSING:
                raise self._fault(line, "missing", "fill in or drop such rows, or leave the column out")
            if not self.text:
                number = _is_number(text)
                self.numbers += number
                if not number and self.strange is None:
                    if _is_number(text.replace(",", ".", 1)):
                        raise self._fault(line, f"{quote(text, 30)} has a comma", "write numbers with a decimal point")
                    self.strange = line, text
            texts[i] = self.known.setdefault(text, text)
        if self.text is False:
            self._refuse_text()
        self.chunks.append(texts)

    def values(self) -> np.ndarray:
        """-> (rows,) float64, or objects of str."""
        total = sum(map(len, self.chunks))
        if self.strange is not None and 2 * self.numbers >= total:
            self._refuse_text()
        if self.strange is not None and any(chunk.dtype != object for chunk in self.chunks):
            raise _TextAfterAll(self.name)
        return np.concatenate(self.chunks)

    def _refuse_text(self) -> None:
        assert self.strange is not None
        line, text = self.strange
        raise self._fault(line, f"{quote(text, 30)} is no number", "the column holds numbers; correct this cell")

    def _check_finite(self, numbers: np.ndarray, cells: list[str], lines: list[int]) -> None:
        bad = unusable(numbers)
        if len(bad):
            i = int(bad[0])
            missing = cells[i].strip().lower() in MISSING
            reason = "missing" if missing else f"{quote(cells[i], 30)} is not finite, or beyond float32"
            raise self._fault(lines[i], reason, "fill in or drop such rows, or leave the column out")

    def _fault(self, line: int, reason: str, hint: str) -> DataError:
        return DataError(f"{quote(self.path, 60)}, line {line}, column {quote(self.name, 30)}: {reason}", hint)


def _numbers(cells: list[str]) -> np.ndarray | None:
    try:
        numbers = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    return None if "_" in "".join(cells) else numbers  # Python reads 1_000 as a number, nobody else does


def _is_number(text: str) -> bool:
    return _numbers([text]) is not None

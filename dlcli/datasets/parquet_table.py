"""Parquet files, by the same rules as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dlcli.datasets.archives import GREATEST_RATIO
from dlcli.datasets.files import reading, required
from dlcli.datasets.on_disk import streams
from dlcli.datasets.table import GREATEST_CELLS, Table, load, roles, unusable
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Source
from dlcli.registry import register

GREATEST_UNPACKED = 8 << 30  # bytes of the chosen columns
BATCH = 1 << 16  # rows at a time
INDEX = "__index_level_"  # pandas keeps the numbers of the rows in such columns; they are no features


@register("dataset", "parquet")
def parquet_table(
    *,
    path: str | None,
    target: str | int,
    features: list[str] | None,
    kind: Literal["auto", "classification", "regression"],
    split: str | None,
    validation_path: str | None,
    test_path: str | None,
    streaming: Literal["auto", True, False],
) -> Source:
    """Your own parquet table: one example a row; text columns become one-hot inputs."""
    file = required(path, "parquet")
    columns = roles(file, header(file), target, split, features)
    origin, files = f"file {quote(path, 100)}", (file, validation_path, test_path)
    needed = 8 * unpacked(file, columns.names, streaming)
    if not streams(streaming, needed, 8 * GREATEST_CELLS):
        return load(read, columns, *files, kind, origin)
    return load(read, columns, *files, kind, origin, chunks, numeric(file, columns.features))


def unpacked(path: Path, names: list[str], streaming: bool | str) -> int:
    """Cells of the columns. Where a file claims to hold more than its size can honestly say, it is not put on disk."""
    with _opened(path, []) as file:
        cells = file.metadata.num_rows * len(names)
    if cells > GREATEST_CELLS and 8 * cells > GREATEST_RATIO * path.stat().st_size:
        if streaming is True:
            raise DataError(f"{quote(path, 80)} unpacks to more than {GREATEST_RATIO} times its size", "is it damaged?")
        return 0  # refused by whoever reads it
    return cells


def numeric(path: Path, names: list[str]) -> list[str]:
    """Those of the columns that hold numbers."""
    with _opened(path, []) as file:
        return [name for name in names if not _is_text(path, file.schema_arrow, name)]


def header(path: Path) -> list[str]:
    """The names of the columns."""
    with _opened(path, []) as file:
        return [name for name in file.schema_arrow.names if not name.startswith(INDEX)]


def read(path: Path, names: list[str], texts: dict[str, bool]) -> Table:
    """The columns `names`. DataError for damage, missing or infinite cells, types that are no inputs."""
    with _opened(path, []) as file:
        _refuse_rows(path, file, names)
    size, parts = 0, []
    for part in chunks(path, names, texts):
        size += sum(column.nbytes for column in part.columns.values())
        if size > GREATEST_UNPACKED:
            raise DataError(f"{quote(path, 80)} unpacks to too much for memory", "choose dataset.features")
        parts.append(part)
    values = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    return Table(path, values, "row", np.arange(1, parts[-1].rows + 1), parts[-1].rows)


def chunks(path: Path, names: list[str], texts: dict[str, bool]) -> Iterator[Table]:
    """The same, some rows at a time."""
    with _opened(path, []) as file:
        declared = file.metadata.num_rows
        are_texts = {name: _is_text(path, file.schema_arrow, name) for name in names}
    for name, is_text in are_texts.items():
        if texts.get(name, is_text) != is_text:
            kinds = ("text", "numbers") if is_text else ("numbers", "text")
            raise DataError(
                f"{quote(path, 60)}, column {quote(name, 30)}: {kinds[0]}, where training has {kinds[1]}",
                "every file needs the same types",
            )
    known: dict[str, str] = {}  # one object per different text
    # As dictionaries, so that a text that fills a billion rows is kept once.
    with _opened(path, [name for name, is_text in are_texts.items() if is_text]) as file:
        rows = 0
        for batch in file.iter_batches(BATCH, columns=names):
            batch.validate(full=True)  # places in dictionaries, texts as UTF-8
            values = {}
            for name, is_text in are_texts.items():
                cells = Cells(path, name, rows, batch.column(name))
                values[name] = _texts(cells, known) if is_text else _numbers(cells)
            start, rows = rows, rows + batch.num_rows
            yield Table(path, values, "row", np.arange(start + 1, rows + 1), declared)
        if rows != declared:
            raise ValueError(f"{rows} rows, {declared} declared")


@contextmanager
def _opened(path: Path, dictionaries: list[str]) -> Iterator[Any]:
    """A pyarrow ParquetFile; whatever pyarrow finds wrong with it becomes a DataError."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with reading(path) as handle:
        try:
            yield ParquetFile(handle, read_dictionary=dictionaries, page_checksum_verification=True)
        except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError) as fault:
            raise DataError(
                f"{quote(path, 80)} is no readable parquet file: {quote(fault, 80)[1:-1]}",
                "write the file again, for example with pyarrow.parquet.write_table",
            ) from fault


def _is_text(path: Path, schema: Any, name: str) -> bool:
    """Whether a column holds texts or numbers. DataError where it is absent or neither."""
    from pyarrow import types

    if name not in schema.names:
        raise DataError(f"{quote(path, 80)} has no column {quote(name)}", "every file needs the same columns")
    kind = schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return True
    if not any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        raise DataError(
            f"{quote(path, 60)}, column {quote(name, 30)}: type {quote(kind, 40)[1:-1]} is no input",
            "choose dataset.features; numbers, booleans and texts are read",
        )
    return False


def _refuse_rows(path: Path, file: Any, names: list[str]) -> None:
    """Judged before anything is read: a few kilobytes can declare a billion rows.

    Nothing else of the metadata is looked at: pyarrow 26 ends the process where row groups of a damaged file are.
    """
    rows = file.metadata.num_rows
    if rows < 1:
        raise DataError(f"{quote(path, 80)} has no rows", "write the file again, with its examples")
    if rows * len(names) > GREATEST_CELLS:
        raise DataError(
            f"{quote(path, 80)} declares {rows} rows of {len(names)} columns, too many for memory",
            "choose dataset.features, or write fewer rows",
        )


class Cells(NamedTuple):
    """One column of a batch of rows."""

    path: Path
    name: str
    start: int  # rows before the batch
    values: Any  # an array of pyarrow

    def fault(self, bad: np.ndarray, reason: str) -> DataError:
        """bad: (rows,) where a cell is not usable; the first of them is named."""
        row = self.start + int(bad.argmax()) + 1
        return DataError(
            f"{quote(self.path, 60)}, row {row}, column {quote(self.name, 30)}: {reason}",
            "fill in or drop such rows, or leave the column out",
        )


def _texts(cells: Cells, known: dict[str, str]) -> np.ndarray:
    """-> (rows,) objects of str"""
    from pyarrow import types

    column = _without_nulls(cells)
    encoded = column if types.is_dictionary(column.type) else column.dictionary_encode()
    texts = [text.strip() for text in encoded.dictionary.to_pylist()]
    values = np.array([known.setdefault(text, text) for text in texts], object)[encoded.indices.to_numpy()]
    if (empty := values == "").any():
        raise cells.fault(empty, "missing")
    return values


def _numbers(cells: Cells) -> np.ndarray:
    """-> (rows,) float64"""
    from pyarrow import float64, types

    column = _without_nulls(cells)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_decimal(column.type):
        column = column.cast(float64(), safe=False)
    numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
    if len(bad := unusable(numbers)):
        place = np.arange(len(numbers)) == bad[0]
        raise cells.fault(place, f"{numbers[bad[0]]:g} is not finite, or beyond float32")
    return numbers


def _without_nulls(cells: Cells) -> Any:
    if cells.values.null_count:
        raise cells.fault(cells.values.is_null().to_numpy(zero_copy_only=False), "missing")
    return cells.values

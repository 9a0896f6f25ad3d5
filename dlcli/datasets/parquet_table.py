"""Parquet files, by the same rules as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcli.datasets.archives import GREATEST_RATIO
from dlcli.datasets.arrow_cells import Cells, is_text, numbers_of, texts_of
from dlcli.datasets.files import reading, required
from dlcli.datasets.on_disk import streams
from dlcli.datasets.table import GREATEST_CELLS, Table, load, roles
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
    for name, text in are_texts.items():
        if texts.get(name, text) != text:
            kinds = ("text", "numbers") if text else ("numbers", "text")
            raise DataError(
                f"{quote(path, 60)}, column {quote(name, 30)}: {kinds[0]}, where training has {kinds[1]}",
                "every file needs the same types",
            )
    known: dict[str, str] = {}  # one object per different text
    # As dictionaries, so that a text that fills a billion rows is kept once.
    with _opened(path, [name for name, text in are_texts.items() if text]) as file:
        rows = 0
        for batch in file.iter_batches(BATCH, columns=names):
            batch.validate(full=True)  # places in dictionaries, texts as UTF-8
            values, places = {}, np.arange(rows + 1, rows + batch.num_rows + 1)
            for name, text in are_texts.items():
                cells = Cells(path, name, places, batch.column(name))
                values[name] = texts_of(cells, known) if text else numbers_of(cells)
            rows += batch.num_rows
            yield Table(path, values, "row", places, declared)
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
    if name not in schema.names:
        raise DataError(f"{quote(path, 80)} has no column {quote(name)}", "every file needs the same columns")
    return is_text(path, name, schema.field(name).type)


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

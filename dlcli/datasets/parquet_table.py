"""Parquet files, by the same rules as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcli.datasets.files import reading, required
from dlcli.datasets.table import GREATEST_CELLS, Roles, Table, load, roles, unusable
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Source
from dlcli.registry import register

GREATEST_UNPACKED = 8 << 30  # bytes of the chosen columns, as the file declares them
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
) -> Source:
    """Your own parquet table: one example a row; text columns become one-hot inputs."""
    file = required(path, "parquet")
    columns = roles(file, header(file), target, split, features)
    return load(read, columns, file, validation_path, test_path, kind, f"file {quote(path, 100)}")


def header(path: Path) -> list[str]:
    """The names of the columns."""
    with _opened(path, []) as file:
        return [name for name in file.schema_arrow.names if not name.startswith(INDEX)]


def read(path: Path, columns: Roles, texts: dict[str, bool]) -> Table:
    """The columns that have a role. DataError for damage, missing or infinite cells, types that are no inputs."""
    with _opened(path, []) as file:
        are_texts = {name: _is_text(path, file.schema_arrow, name) for name in columns.names}
    for name, is_text in are_texts.items():
        if texts.get(name, is_text) != is_text:
            kinds = ("text", "numbers") if is_text else ("numbers", "text")
            raise DataError(
                f"{quote(path, 60)}, column {quote(name, 30)}: {kinds[0]}, where training has {kinds[1]}",
                "every file needs the same types",
            )
    # As dictionaries, so that a text that fills a billion rows is kept once.
    with _opened(path, [name for name, is_text in are_texts.items() if is_text]) as file:
        _check_size(path, file, columns.names)
        table = file.read(columns=columns.names)
        if table.num_rows != file.metadata.num_rows:
            raise ValueError(f"{table.num_rows} rows, {file.metadata.num_rows} declared")
        convert = {True: _texts, False: _numbers}
        found = {name: convert[is_text](path, name, table.column(name)) for name, is_text in are_texts.items()}
    return Table(path, found, "row", np.arange(1, table.num_rows + 1))


@contextmanager
def _opened(path: Path, dictionaries: list[str]) -> Iterator[Any]:
    """A pyarrow ParquetFile; whatever pyarrow finds wrong with it becomes a DataError."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with reading(path) as handle:
        try:
            yield ParquetFile(handle, read_dictionary=dictionaries, page_checksum_verification=True)
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as fault:
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


def _check_size(path: Path, file: Any, names: list[str]) -> None:
    """Before anything is read: a few kilobytes can declare a billion rows."""
    metadata = file.metadata
    if metadata.num_rows < 1:
        raise DataError(f"{quote(path, 80)} has no rows", "write the file again, with its examples")
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in names)
    if metadata.num_rows * len(names) > GREATEST_CELLS or unpacked > GREATEST_UNPACKED:
        raise DataError(
            f"{quote(path, 80)} declares {metadata.num_rows} rows of {len(names)} columns, too many for memory",
            "choose dataset.features, or write fewer rows",
        )


def _texts(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of pyarrow -> (rows,) objects of str."""
    from pyarrow import types

    _refuse_nulls(path, name, column)
    encoded = column if types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries().combine_chunks()
    known = np.array([text.strip() for text in encoded.dictionary.to_pylist()], object)
    values = known[encoded.indices.to_numpy()]
    empty = np.flatnonzero(values == "")
    if len(empty):
        raise _cell(path, int(empty[0]), name, "missing")
    return values


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of pyarrow -> (rows,) float64."""
    from pyarrow import float64, types

    _refuse_nulls(path, name, column)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_decimal(column.type):
        column = column.cast(float64(), safe=False)
    numbers = column.to_numpy().astype(np.float64)
    bad = unusable(numbers)
    if len(bad):
        raise _cell(path, int(bad[0]), name, f"{numbers[bad[0]]:g} is not finite, or beyond float32")
    return numbers


def _refuse_nulls(path: Path, name: str, column: Any) -> None:
    if column.null_count:
        raise _cell(path, int(np.flatnonzero(column.is_null().to_numpy())[0]), name, "missing")


def _cell(path: Path, row: int, name: str, reason: str) -> DataError:
    return DataError(
        f"{quote(path, 60)}, row {row + 1}, column {quote(name, 30)}: {reason}",
        "fill in or drop such rows, or leave the column out",
    )

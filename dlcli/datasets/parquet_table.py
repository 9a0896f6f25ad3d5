"""Parquet files, by the same rules as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from dlcli.datasets.files import reading, required
from dlcli.datasets.table import GREATEST_CELLS, Roles, Table, load, roles
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Source
from dlcli.registry import register

AGAIN = "write the file again, for example with pyarrow.parquet.write_table"


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
    return load(read, columns, file, validation_path, test_path, kind, f"file {path}")


def header(path: Path) -> list[str]:
    """The names of the columns."""
    import pyarrow
    import pyarrow.parquet

    with reading(path) as handle:
        try:
            return list(pyarrow.parquet.ParquetFile(handle).schema_arrow.names)
        except (pyarrow.ArrowException, OSError, ValueError) as fault:
            raise _damaged(path, fault) from fault


def read(path: Path, columns: Roles, texts: dict[str, bool]) -> Table:
    """The columns that have a role. DataError for damage, missing or infinite cells, types that are no inputs."""
    import pyarrow
    import pyarrow.parquet

    names = columns.names
    with reading(path) as handle:
        try:
            file = pyarrow.parquet.ParquetFile(handle)
            rows = file.metadata.num_rows
            present = file.schema_arrow.names
            for name in names:
                if name not in present:
                    raise DataError(
                        f"{quote(path, 80)} has no column {quote(name)}", "every file needs the same columns"
                    )
                _check_type(path, name, file.schema_arrow.field(name).type)
            if rows == 0:
                raise DataError(f"{quote(path, 80)} has no rows")
            if rows * len(names) > GREATEST_CELLS:
                raise DataError(
                    f"{quote(path, 80)} declares {rows} rows of {len(names)} columns, too many for memory",
                    "choose dataset.features, or write fewer rows",
                )
            table = file.read(columns=names)
        except (pyarrow.ArrowException, OSError, ValueError) as fault:
            raise _damaged(path, fault) from fault
    found = {name: _values(path, name, table.column(name), texts.get(name)) for name in names}
    return Table(path, found, "row", np.arange(1, rows + 1))


def _check_type(path: Path, name: str, kind: object) -> None:
    import pyarrow.types as types

    value = kind.value_type if types.is_dictionary(kind) else kind
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    if not any(test(value) for test in tests):
        raise DataError(
            f"{quote(path, 60)}, column {quote(name, 30)}: type {quote(value, 40)[1:-1]} is no input",
            "choose dataset.features; numbers, booleans and texts are read",
        )


def _values(path: Path, name: str, column: object, text: bool | None) -> np.ndarray:
    """One column as float64 or as objects of str."""
    import pyarrow.types as types

    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise _cell(path, row, name, "missing")
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if text is not None and text != is_text:
        raise DataError(
            f"{quote(path, 60)}, column {quote(name, 30)}: {quote(kind, 30)[1:-1]}, in training {'text' if text else 'a number'}",
            "every file needs the same types",
        )
    if is_text:
        values = np.empty(len(column), object)
        values[:] = [str(value).strip() for value in column.to_pylist()]
        empty = np.flatnonzero(values == "")
        if len(empty):
            raise _cell(path, int(empty[0]), name, "missing")
        return values
    numbers = column.to_numpy().astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise _cell(path, int(bad[0]), name, f"{numbers[bad[0]]} is not finite")
    return numbers


def _cell(path: Path, row: int, name: str, reason: str) -> DataError:
    return DataError(
        f"{quote(path, 60)}, row {row + 1}, column {quote(name, 30)}: {reason}",
        "fill in or drop such rows, or leave the column out",
    )


def _damaged(path: Path, fault: Exception) -> DataError:
    return DataError(f"{quote(path, 80)} is no readable parquet file: {quote(fault, 80)[1:-1]}", AGAIN)

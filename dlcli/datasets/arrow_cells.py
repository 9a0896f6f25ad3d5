"""Columns of Arrow, as parquet files and Hugging Face data sets hold them: cells into numbers and texts, strictly."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcli.datasets.table import unusable
from dlcli.datasets.wording import quote
from dlcli.errors import DataError


def is_text(path: Path, name: str, kind: Any) -> bool:
    """Whether a column of the Arrow type `kind` holds texts or numbers. DataError where it is neither."""
    if not is_cell(kind):
        raise DataError(
            f"{quote(path, 60)}, column {quote(name, 30)}: type {quote(kind, 40)[1:-1]} is no input",
            "choose dataset.features; numbers, booleans and texts are read",
        )
    return not is_number(kind)


def is_cell(kind: Any) -> bool:
    """Whether an Arrow type is one of numbers or texts."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return is_number(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_number(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))


class Cells(NamedTuple):
    """One column of a batch of rows."""

    path: Path
    name: str
    places: np.ndarray  # (rows,) where each stands in the file, from 1
    values: Any  # an array of pyarrow

    def fault(self, bad: np.ndarray, reason: str) -> DataError:
        """bad: (rows,) where a cell is not usable; the first of them is named."""
        return DataError(
            f"{quote(self.path, 60)}, row {self.places[bad.argmax()]}, column {quote(self.name, 30)}: {reason}",
            "fill in or drop such rows, or leave the column out",
        )


def texts_of(cells: Cells, known: dict[str, str]) -> np.ndarray:
    """-> (rows,) objects of str"""
    from pyarrow import types

    column = _without_nulls(cells)
    encoded = column if types.is_dictionary(column.type) else column.dictionary_encode()
    texts = [text.strip() for text in encoded.dictionary.to_pylist()]
    values = np.array([known.setdefault(text, text) for text in texts], object)[encoded.indices.to_numpy()]
    if (empty := values == "").any():
        raise cells.fault(empty, "missing")
    return values


def numbers_of(cells: Cells) -> np.ndarray:
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


def arrays_of(cells: Cells) -> np.ndarray:
    """Nested lists of one form in every row -> (rows, *item): bytes as they are, other numbers as floats."""
    from pyarrow import types

    column, shape = _without_nulls(cells), [len(cells.values)]
    while nested(column.type):
        column = getattr(column, "storage", column)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)  # an empty cell of an inner list is a nan
        if (other := lengths != lengths[0]).any():
            row = np.arange(shape[0]) == int(other.argmax()) // prod(shape[1:])
            raise cells.fault(row, f"{lengths[other.argmax()]:g} numbers, where the first row has {lengths[0]:g}")
        column = column.flatten()
        shape.append(int(lengths[0]))
    size = prod(shape[1:])
    if column.null_count:
        raise cells.fault(column.is_null().to_numpy(zero_copy_only=False).reshape(shape[0], size).any(1), "missing")
    numbers = column.to_numpy(zero_copy_only=False)
    if types.is_uint8(column.type):
        return numbers.reshape(shape)
    numbers = numbers.astype(np.float32 if types.is_float32(column.type) else np.float64, copy=False)
    if len(bad := unusable(numbers)):
        place = np.arange(shape[0]) == bad[0] // size
        raise cells.fault(place, f"{numbers[bad[0]]:g} is not finite, or beyond float32")
    return numbers.reshape(shape)


def nested(kind: Any) -> bool:
    """Whether an Arrow type is a list, or one of the arrays that Hugging Face keeps as lists."""
    from pyarrow import types

    kind = getattr(kind, "storage_type", kind)
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def leaf(kind: Any) -> Any:
    """The Arrow type of what lists of lists hold in the end."""
    while nested(kind):
        kind = getattr(kind, "storage_type", kind).value_type
    return kind


def _without_nulls(cells: Cells) -> Any:
    if cells.values.null_count:
        raise cells.fault(cells.values.is_null().to_numpy(zero_copy_only=False), "missing")
    return cells.values

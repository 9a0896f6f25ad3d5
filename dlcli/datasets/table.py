"""Tables with named columns into examples: which column is what, categories, classes. Shared by CSV and parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcli.datasets import targets
from dlcli.datasets.on_disk import OnDisk
from dlcli.datasets.row_file import identity_of, kept
from dlcli.datasets.split_names import SPLITS
from dlcli.datasets.targets import Kind
from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError
from dlcli.protocols import Column, Examples, Form, Source

GREATEST_COLUMNS = 20_000
GREATEST_CELLS = 1 << 28  # 2 GiB as float64
GREATEST_NUMBER = float(np.finfo(np.float32).max)
GREATEST_CATEGORIES = 1000  # of one column; more is an identifier or free text
IDENTIFYING = 0.5  # a text column with more different values than this share of its rows gets a note


class Table(NamedTuple):
    """The columns that were asked for: numbers as float64, texts as objects; never a missing or infinite cell."""

    path: Path
    columns: dict[str, np.ndarray]  # name -> (rows,)
    unit: str  # what `places` counts: "line" or "row"
    places: np.ndarray  # (rows,) where each row stands in the file
    rows: int = 0  # of the whole file, where that is known

    def where(self, row: int, column: str) -> str:
        return f"{quote(self.path, 60)}, {self.unit} {self.places[row]}, column {quote(column, 30)}"

    def only(self, rows: np.ndarray) -> Table:
        columns = {name: values[rows] for name, values in self.columns.items()}
        return self._replace(columns=columns, places=self.places[rows])


class Roles(NamedTuple):
    """What the columns of a table are for."""

    target: str
    split: str | None
    features: list[str]

    @property
    def names(self) -> list[str]:
        return [*self.features, self.target, *([self.split] if self.split is not None else [])]


def unusable(numbers: np.ndarray) -> np.ndarray:
    """Rows of numbers that are missing, infinite or too large for the float32 that models compute in."""
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(~(np.abs(numbers) <= GREATEST_NUMBER))


Read = Callable[[Path, list[str], dict[str, bool]], Table]  # (file, columns, column -> is it a text) -> table
Chunks = Callable[[Path, list[str], dict[str, bool]], Iterator[Table]]  # likewise, some rows at a time


def roles(path: Path, names: list[str], target: str | int, split: str | None, features: list[str] | None) -> Roles:
    """Find the columns. DataError, with the nearest name, where one is not in the table."""
    if len(names) > GREATEST_COLUMNS:
        raise DataError(f"{quote(path, 80)} has {len(names)} columns; at most {GREATEST_COLUMNS} are read")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{quote(path, 80)}: column {quote(twice)} occurs twice", "does the first line name the columns? rename one"
        )
    if isinstance(target, int):
        if not -len(names) <= target < len(names):
            raise DataError(f"{quote(path, 80)} has {len(names)} columns; there is no target {target}", listed(names))
        target = names[target]
    if target == split:
        raise DataError(f"column {quote(target)} is both target and split", "set dataset.target to another column")
    if features is None:
        chosen = [name for name in names if name not in (target, split)]
    else:
        chosen = list(dict.fromkeys(features))
    present = set(names)
    for name in [target, *chosen, *([split] if split is not None else [])]:
        if name not in present:
            raise DataError(f"{quote(path, 80)} has no column {quote(name)}", suggestion(name, names))
    for name, role in ((target, "target"), (split, "split")):
        if name in chosen:
            raise DataError(f"column {quote(name)} is both {role} and feature", "take it out of dataset.features")
    if not chosen:
        raise DataError(f"{quote(path, 80)} has no feature column beside {quote(target)}", listed(names))
    if "" in chosen:
        raise DataError(
            f"{quote(path, 80)}: column {names.index('') + 1} has no name",
            "name it, or choose dataset.features; an index column is best left out",
        )
    return Roles(target, split, chosen)


def suggestion(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"did you mean {quote(near[0])}?" if near else listed(names)


def listed(names: list[str]) -> str:
    shown = ", ".join(quote(name, 20) for name in names[:6])
    return f"{count(len(names), 'column')}: {shown}{', ...' if len(names) > 6 else ''}"


def load(
    read: Read,
    roles: Roles,
    train: Path,
    validation: str | None,
    test: str | None,
    kind: Kind,
    origin: str,
    on_disk: Chunks | None = None,
    numbers: Sequence[str] = (),
) -> Source:
    """All splits of a table, from several files or from one with a split column.

    Categories and classes are those of the training rows. DataError where another split's target has a new class.
    on_disk: the inputs stay there, and are read by this; of the features only those not in `numbers` come to memory.
    """
    read_here = roles._replace(features=[name for name in roles.features if name not in numbers])
    fitted = read(train, read_here.names, {})
    parts: dict[str, Table] = {"train": fitted}
    if roles.split is not None:
        parts = _divide(fitted, roles.split)
    texts = {name: values.dtype == object for name, values in fitted.columns.items()}
    without_split = read_here._replace(split=None).names
    for name, path in (("validation", validation), ("test", test)):
        if path is not None:
            if name in parts:
                raise DataError(f"the {name} split is given twice", f"drop dataset.{name}_path or dataset.split")
            parts[name] = read(Path(path).expanduser(), without_split, texts)
    found = {name: part.columns[roles.target] for name, part in parts.items()}
    encoded = targets.encode(found, kind, lambda name, row: parts[name].where(row, roles.target))
    columns, notes = fit_columns(parts["train"], roles.features)
    examples = {}
    for name, part in parts.items():
        if on_disk is None:
            inputs, unseen = encode(part, columns, name)
        else:
            inputs, unseen = rows_on_disk(part, columns, on_disk), unseen_categories(part, columns, name)
        examples[name], notes = Examples(inputs, encoded.parts[name]), notes + unseen
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        classes=encoded.classes,
        form=Form(columns=columns),
        origin=origin,
        notes=(*encoded.notes, *notes),
    )


def _divide(table: Table, column: str) -> dict[str, Table]:
    values = np.array([SPLITS.get(str(value).lower(), "") for value in table.columns[column]])
    unknown = np.flatnonzero(values == "")
    if len(unknown):
        row = int(unknown[0])
        value = quote(table.columns[column][row], 30)
        raise DataError(f"{table.where(row, column)}: {value} is no split", "use train, validation or test")
    parts = {name: table.only(np.flatnonzero(values == name)) for name in dict.fromkeys(values.tolist())}
    if "train" not in parts:
        raise DataError(f"{quote(table.path, 60)}: no row of column {quote(column, 30)} says train")
    return parts


def fit_columns(train: Table, features: list[str]) -> tuple[tuple[Column, ...], list[str]]:
    """The columns of the inputs, texts with the categories of the training rows; and what is odd about them."""
    columns, notes = [], []
    for name in features:
        values = train.columns.get(name)
        if values is None or values.dtype != object:
            columns.append(Column(name, None))
            continue
        categories = np.unique(values)
        if len(categories) > GREATEST_CATEGORIES:
            raise DataError(
                f"{quote(train.path, 60)}: text column {quote(name)} has {len(categories)} different values",
                "leave identifiers and free text out of dataset.features; decimal commas must become points",
            )
        if len(categories) > max(2, IDENTIFYING * len(values)):
            notes.append(
                f"text column {quote(name, 30)} has {len(categories)} different values in {len(values)} rows; "
                f"is it an identifier? dataset.features can leave it out"
            )
        columns.append(Column(name, tuple(categories.tolist())))
    return tuple(columns), notes


def encode(table: Table, columns: tuple[Column, ...], split: str) -> tuple[np.ndarray, list[str]]:
    """-> (rows, width): numbers as they are, texts one-hot over their categories; and notes.

    In float64: times and identifiers lose digits as float32 before they are standardized. A category that training
    never saw becomes zeros, and a note.
    """
    rows, width = len(table.places), sum(1 if texts is None else len(texts) for _, texts in columns)
    if rows * width > GREATEST_CELLS:
        raise DataError(f"{quote(table.path, 60)}: {rows} rows of {width} inputs are too many for memory")
    matrix, start = np.zeros((rows, width)), 0
    for name, texts in columns:
        values = table.columns[name]
        if texts is None:
            matrix[:, start] = values
            start += 1
            continue
        categories = np.array(texts, object)
        places = np.minimum(np.searchsorted(categories, values), len(categories) - 1)
        known = np.flatnonzero(categories[places] == values)
        matrix[known, start + places[known]] = 1
        start += len(categories)
    return matrix, unseen_categories(table, columns, split)


def unseen_categories(table: Table, columns: tuple[Column, ...], split: str) -> list[str]:
    notes = []
    for name, texts in columns:
        unseen = 0 if texts is None else int(np.count_nonzero(~np.isin(table.columns[name], np.array(texts, object))))
        if unseen:
            rows = f"{count(unseen, 'row')} of {split} have a category of {quote(name, 30)}"
            notes.append(f"{rows} that training never saw; it is encoded as zeros")
    return notes


def rows_on_disk(table: Table, columns: tuple[Column, ...], chunks: Chunks) -> OnDisk:
    """The inputs of the rows of `table`, as `encode` has them."""
    names = [name for name, _ in columns]
    width = sum(1 if texts is None else len(texts) for _, texts in columns)
    texts = {name: categories is not None for name, categories in columns}
    encoded = (encode(chunk, columns, "")[0] for chunk in chunks(table.path, names, texts))
    identity, numbers = f"{identity_of(table.path)} {columns}", np.dtype(np.float64)
    file = kept(table.path, identity, table.rows, (width,), numbers, encoded)
    return OnDisk(file.read, table.places - 1, (width,), numbers)

"""Tables with named columns into examples: which column is what, categories, classes. Shared by CSV and parquet."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source

Kind = Literal["auto", "classification", "regression"]
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
GREATEST_COLUMNS = 20_000
GREATEST_CELLS = 1 << 29  # 2 GiB as float32
GREATEST_CATEGORIES = 1000  # of one column; more is an identifier or free text
MOST_INTEGER_CLASSES = 50  # whole-number targets with more distinct values are read as a regression


class Table(NamedTuple):
    """The columns that were asked for: numbers as float64, texts as objects; never a missing or infinite cell."""

    path: Path
    columns: dict[str, np.ndarray]  # name -> (rows,)
    unit: str  # what `places` counts: "line" or "row"
    places: np.ndarray  # (rows,) where each row stands in the file

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


Read = Callable[[Path, Roles, dict[str, bool]], Table]  # (file, roles, column -> is it a text) -> table


def roles(path: Path, names: list[str], target: str | int, split: str | None, features: list[str] | None) -> Roles:
    """Find the columns. DataError, with the nearest name, where one is not in the table."""
    if len(names) > GREATEST_COLUMNS:
        raise DataError(f"{quote(path, 80)} has {len(names)} columns; at most {GREATEST_COLUMNS} are read")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(f"{quote(path, 80)}: column {quote(name)} occurs twice", "rename one of them")
    if isinstance(target, int):
        if not -len(names) <= target < len(names):
            raise DataError(f"{quote(path, 80)} has {len(names)} columns; there is no target {target}", _listed(names))
        target = names[target]
    chosen = [name for name in names if name not in (target, split)] if features is None else features
    for name in [target, *chosen, *([split] if split is not None else [])]:
        if name not in names:
            raise DataError(f"{quote(path, 80)} has no column {quote(name)}", _suggestion(name, names))
    if target in chosen:
        raise DataError(f"column {quote(target)} is both target and feature", "take it out of dataset.features")
    if not chosen:
        raise DataError(f"{quote(path, 80)} has no feature column beside {quote(target)}", _listed(names))
    if "" in chosen:
        raise DataError(
            f"{quote(path, 80)}: column {names.index('') + 1} has no name",
            "name it, or choose dataset.features; an index column is best left out",
        )
    return Roles(target, split, chosen)


def _suggestion(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"did you mean {quote(near[0])}?" if near else _listed(names)


def _listed(names: list[str]) -> str:
    shown = ", ".join(quote(name, 20) for name in names[:6])
    return f"{count(len(names), 'column')}: {shown}{', ...' if len(names) > 6 else ''}"


def load(
    read: Read, roles: Roles, train: Path, validation: str | None, test: str | None, kind: Kind, origin: str
) -> Source:
    """All splits of a table, from several files or from one with a split column.

    Categories and classes are those of the training rows. DataError where another split's target has a new class.
    """
    fitted = read(train, roles, {})
    parts: dict[str, Table] = {"train": fitted}
    if roles.split is not None:
        parts = _divide(fitted, roles.split)
    texts = {name: values.dtype == object for name, values in fitted.columns.items()}
    without_split = roles._replace(split=None)
    for name, path in (("validation", validation), ("test", test)):
        if path is not None:
            if name in parts:
                raise DataError(f"the {name} split is given twice", f"drop dataset.{name}_path or dataset.split")
            parts[name] = read(Path(path).expanduser(), without_split, texts)
    targets, classes, notes = encode_targets({name: part for name, part in parts.items()}, roles.target, kind)
    features = Encoder(parts["train"], roles.features)
    examples = {name: Examples(features.encode(part, name), targets[name]) for name, part in parts.items()}
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        classes=classes,
        origin=origin,
        notes=(*notes, *features.notes),
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


def encode_targets(
    parts: dict[str, Table], column: str, kind: Kind
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Targets per split, names of the classes (none for a regression), notes. Classes are sorted."""
    train = parts["train"].columns[column]
    chosen, notes = _kind(train, kind)
    if chosen == "regression":
        if train.dtype == object:
            table = parts["train"]
            raise DataError(
                f"{table.where(0, column)}: {quote(train[0], 30)} is no number, as a regression needs",
                "set dataset.kind=classification, or clean the column",
            )
        return {name: part.columns[column][:, None] for name, part in parts.items()}, (), notes
    values = np.unique(train)
    targets = {}
    for name, part in parts.items():
        found = part.columns[column]
        places = np.minimum(np.searchsorted(values, found), len(values) - 1)
        strange = np.flatnonzero(values[places] != found)
        if len(strange):
            row = int(strange[0])
            raise DataError(
                f"{part.where(row, column)}: class {quote(_name(found[row]), 30)} is not in the training split",
                f"{count(len(values), 'class').replace('classs', 'classes')}, from {quote(_name(values[0]), 30)} "
                f"to {quote(_name(values[-1]), 30)}",
            )
        targets[name] = places
    return targets, tuple(_name(value) for value in values), notes


def _kind(values: np.ndarray, kind: Kind) -> tuple[str, tuple[str, ...]]:
    if kind != "auto":
        return kind, ()
    if values.dtype == object:
        return "classification", ()
    distinct = len(np.unique(values))
    whole = bool(np.all(values == np.floor(values)))
    if whole and distinct <= MOST_INTEGER_CLASSES and 2 * distinct <= len(values):
        return "classification", (f"the {distinct} whole-number targets are read as classes (dataset.kind=auto)",)
    return "regression", ("the numeric target is read as a regression (dataset.kind=auto)",)


def _name(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


class Encoder:
    """Feature columns as one float32 matrix: numbers as they are, texts one-hot over the training categories."""

    def __init__(self, train: Table, features: list[str]):
        self.features = features
        self.categories: dict[str, np.ndarray] = {}
        self.notes: list[str] = []
        for name in features:
            values = train.columns[name]
            if values.dtype == object:
                categories = np.unique(values)
                if len(categories) > GREATEST_CATEGORIES:
                    raise DataError(
                        f"{quote(train.path, 60)}: text column {quote(name, 30)} has {len(categories)} different values",
                        "leave identifiers and free text out of dataset.features; decimal commas must become points",
                    )
                self.categories[name] = categories
        self.width = sum(len(self.categories.get(name, "1")) for name in features)

    def encode(self, table: Table, split: str) -> np.ndarray:
        """-> (rows, width) float32. A category that training never saw becomes zeros, and a note."""
        rows = len(table.places)
        if rows * self.width > GREATEST_CELLS:
            raise DataError(f"{quote(table.path, 60)}: {rows} rows of {self.width} inputs are too many for memory")
        matrix, start = np.zeros((rows, self.width), np.float32), 0
        for name in self.features:
            values = table.columns[name]
            if name not in self.categories:
                matrix[:, start] = values
                start += 1
                continue
            categories = self.categories[name]
            places = np.minimum(np.searchsorted(categories, values), len(categories) - 1)
            known = np.flatnonzero(categories[places] == values)
            matrix[known, start + places[known]] = 1
            start += len(categories)
            if len(known) < rows:
                unseen = f"{count(rows - len(known), 'row')} of {split} have a category of {quote(name, 30)}"
                self.notes.append(f"{unseen} that training never saw; it is encoded as zeros")
        return matrix

"""Targets of every split as classes or as numbers to predict: one rule for tables and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from dlcli.datasets.wording import quote
from dlcli.errors import DataError

Kind = Literal["auto", "classification", "regression"]
MOST_INTEGER_CLASSES = 50  # whole-number targets with more distinct values are read as a regression
MOST_CLASSES = 10_000


class Targets(NamedTuple):
    parts: dict[str, np.ndarray]  # split -> (n,) int64 classes, or (n, targets) float64
    classes: tuple[str, ...]  # sorted names; empty for a regression
    notes: tuple[str, ...]


def encode(parts: dict[str, np.ndarray], kind: Kind, where: Callable[[str, int], str]) -> Targets:
    """Targets (n,) as numbers or objects of str, per split. Classes are those that the training split has.

    `where` names the place of a target (split, row) for a DataError: a class that training never saw, a text where
    a regression needs a number.
    """
    train = parts["train"]
    chosen, notes = choose(train, kind)
    if chosen == "regression":
        if train.dtype == object:
            raise DataError(
                f"{where('train', 0)}: {quote(train[0], 30)} is no number, as a regression needs",
                "set dataset.kind=classification, or clean the column",
            )
        return Targets({name: part.astype(np.float64)[:, None] for name, part in parts.items()}, (), notes)
    values = np.unique(train)
    if len(values) > MOST_CLASSES:
        raise DataError(
            f"{where('train', 0)}: {len(values)} different targets; at most {MOST_CLASSES} classes are read",
            "is this the column to predict? set dataset.kind=regression for numbers",
        )
    numbered = {name: _number(part, values, name, where) for name, part in parts.items()}
    return Targets(numbered, tuple(_name(value) for value in values), notes)


def choose(train: np.ndarray, kind: Kind) -> tuple[str, tuple[str, ...]]:
    """What targets are read as, and a note where that was a guess."""
    if kind != "auto":
        return kind, ()
    if train.dtype == object:
        return "classification", ()
    distinct = len(np.unique(train))
    whole = bool(np.all(train == np.floor(train)))
    if whole and distinct <= MOST_INTEGER_CLASSES and 2 * distinct <= len(train):
        return "classification", (f"the {distinct} whole-number targets are read as classes (dataset.kind=auto)",)
    return "regression", ("the numeric target is read as a regression (dataset.kind=auto)",)


def _number(found: np.ndarray, values: np.ndarray, split: str, where: Callable[[str, int], str]) -> np.ndarray:
    """(n,) targets -> (n,) places in the sorted `values`."""
    places = np.minimum(np.searchsorted(values, found), len(values) - 1)
    strange = np.flatnonzero(values[places] != found)
    if len(strange):
        row = int(strange[0])
        raise DataError(
            f"{where(split, row)}: class {quote(_name(found[row]), 30)} is not in the training split",
            f"training has {len(values)}, from {quote(_name(values[0]), 30)} to {quote(_name(values[-1]), 30)}",
        )
    return places.astype(np.int64)


def _name(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)

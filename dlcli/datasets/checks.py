"""Whether the arrays of a source can be trained on, before anything is computed from them."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from dlcli.datasets.on_disk import OnDisk
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source

GREATEST = float(np.finfo(np.float32).max)


def check(source: Source, name: str) -> Source:
    """The same source with int64 classes of shape (n,), or float targets of shape (n, targets).

    DataError, with the row and the value, for whatever no training could use.
    """
    if len(source.classes) == 1:
        raise DataError(f"dataset={name} has one class, '{source.classes[0][:40]}'", "classification needs two or more")
    splits = {"train": source.train, "validation": source.validation, "test": source.test}
    checked = {
        split: _examples(part, f"dataset={name}, {split}", len(source.classes)) for split, part in splits.items()
    }
    for split, part in checked.items():
        if part is not None:
            _same_form(part, checked["train"], f"dataset={name}, {split}")
    return source._replace(**checked)


def _examples(examples: Examples | None, where: str, classes: int) -> Examples | None:
    if examples is None:
        return None
    inputs, targets = examples
    if len(inputs) != len(targets):
        raise DataError(f"{where}: {len(inputs)} inputs and {len(targets)} targets", "each example needs one of both")
    if not len(inputs):
        raise DataError(f"{where}: no examples", "check the file, and the setting that selects its rows")
    if inputs.ndim < 2 or 0 in inputs.shape[1:]:
        raise DataError(f"{where}: inputs of shape {inputs.shape} have no features", "the first axis counts examples")
    if not isinstance(inputs, OnDisk):  # whose rows are judged as they are read
        _finite(inputs, f"{where}: input")
    if classes:
        return Examples(inputs, _labels(targets, where, classes))
    targets = targets.reshape(len(targets), -1)
    if targets.shape[1] == 0:
        raise DataError(f"{where}: no targets", "a regression needs at least one number per example")
    _finite(targets, f"{where}: target")
    return Examples(inputs, targets.astype(np.float64))


def _finite(values: np.ndarray, where: str) -> None:
    """Least and greatest value show at once whether all are numbers that float32 can hold."""
    assert values.dtype.kind in "buif", f"{where}: {values.dtype} is no number"
    if values.dtype.kind in "bu":
        return
    with np.errstate(invalid="ignore"):
        low, high = values.min(), values.max()
    if low >= -GREATEST and high <= GREATEST:  # false for NaN too
        return
    rows = values.reshape(len(values), -1)
    for row, numbers in enumerate(rows):
        bad = np.flatnonzero(~(np.abs(numbers) <= GREATEST))
        if len(bad):
            column, value = int(bad[0]), numbers[bad[0]]
            reason = "no finite number" if not np.isfinite(value) else "beyond the range of float32"
            _refuse(f"{where} in row {row}, column {column} (from 0) is {value:g}, {reason}")


def _labels(targets: np.ndarray, where: str, classes: int) -> np.ndarray:
    assert targets.dtype.kind in "buif", f"{where}: {targets.dtype} is no class"
    if targets.size != len(targets):
        raise DataError(f"{where}: labels of shape {targets.shape}; one class per example is needed")
    targets = targets.reshape(-1)
    fits = (targets >= 0) & (targets < classes)  # false for NaN
    fits &= targets == np.floor(targets)
    bad = np.flatnonzero(~fits)
    if len(bad):
        _refuse(
            f"{where}: label in row {bad[0]} (from 0) is {targets[bad[0]]:g}, not a whole number 0 to {classes - 1}"
        )
    return targets.astype(np.int64)


def _same_form(part: Examples, train: Examples, where: str) -> None:
    for what, ours, theirs in (("inputs", part.inputs, train.inputs), ("targets", part.targets, train.targets)):
        if ours.shape[1:] != theirs.shape[1:]:
            raise DataError(
                f"{where}: {what} of shape {ours.shape[1:]}, where those of train have {theirs.shape[1:]}",
                "every split needs the same shape",
            )
    if (part.inputs.dtype == np.uint8) != (train.inputs.dtype == np.uint8):
        raise DataError(
            f"{where}: inputs are {part.inputs.dtype}, those of train {train.inputs.dtype}",
            "uint8 is read as pixels from 0 to 255; store every split alike",
        )


def _refuse(message: str) -> NoReturn:
    raise DataError(message, "correct or drop such rows")

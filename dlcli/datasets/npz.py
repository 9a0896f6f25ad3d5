"""Arrays saved by numpy: headers are judged before memory is taken, and nothing is ever unpickled."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcli.datasets import targets
from dlcli.datasets.archives import DAMAGED, FREE_BYTES, GREATEST_RATIO, unzipped
from dlcli.datasets.files import reading, required
from dlcli.datasets.layout import arrange
from dlcli.datasets.split_names import SPLITS
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Form, Source
from dlcli.registry import register

GREATEST_ARRAY = 8 << 30  # bytes
GREATEST_LIST = 1 << 20  # bytes of the names of all arrays
GREATEST_HEADER = 10_000  # characters; numpy's own limit
CHUNK = 1 << 20
INPUTS = ("x", "inputs", "input", "images", "image", "features", "data")
TARGETS = ("y", "targets", "target", "labels", "label")
FAULTS = (*DAMAGED, tokenize.TokenError, struct.error, SyntaxError, LookupError, NotImplementedError)
OTHER_FAULTS = (ValueError, TypeError, ArithmeticError, RuntimeError)  # RuntimeError: encrypted; RecursionError
AGAIN = "save it again with numpy.savez(file, x=inputs, y=targets)"


@register("dataset", "npz")
def npz(
    *,
    path: str | None,
    x: str,
    y: str,
    x_validation: str | None,
    y_validation: str | None,
    x_test: str | None,
    y_test: str | None,
    kind: Literal["auto", "classification", "regression"],
    layout: Literal["auto", "flat", "signals", "channels_first", "channels_last"],
) -> Source:
    """Your own arrays in one file of numpy.savez: inputs and targets, by split if you like."""
    file = required(path, "npz")
    asked = {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}
    names = choose(file, list(members(file)), asked)
    arrays = read(file, [name for pair in names.values() for name in pair])
    inputs = {split: as_numbers(file, pair[0], arrays[pair[0]]) for split, pair in names.items()}
    shaped, chosen, notes = arrange(inputs, layout)
    for split, (inputs_name, targets_name) in names.items():
        if len(arrays[inputs_name]) != len(arrays[targets_name]):
            raise DataError(
                f"{quote(file, 60)}, {split}: {len(arrays[inputs_name])} rows of {quote(inputs_name, 30)}, "
                f"{len(arrays[targets_name])} of {quote(targets_name, 30)}",
                "each example needs one of both",
            )
    found = {split: arrays[pair[1]] for split, pair in names.items()}
    encoded = encode_targets(file, {split: pair[1] for split, pair in names.items()}, found, kind)
    parts = {split: Examples(shaped[split], encoded.parts[split]) for split in names}
    return Source(
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts.get("test"),
        classes=encoded.classes,
        form=Form(layout=chosen),
        origin=f"file {quote(path, 100)}, arrays {', '.join(quote(name, 30) for name in arrays)}",
        notes=(*notes, *encoded.notes),
    )


def choose(
    path: Path, present: list[str], asked: dict[str, tuple[str | None, str | None]]
) -> dict[str, tuple[str, str]]:
    """The names of the inputs and targets of each split that there is; `auto` looks for the usual names."""
    chosen: dict[str, tuple[str, str]] = {}
    for split, (inputs, goals) in asked.items():
        pair = _find(path, present, inputs, INPUTS, split), _find(path, present, goals, TARGETS, split)
        if None not in pair:
            chosen[split] = pair
        elif split == "train" or pair != (None, None):
            missing = "inputs" if pair[0] is None else "targets"
            key = ("x" if pair[0] is None else "y") + ("" if split == "train" else f"_{split}")
            listed = ", ".join(quote(name, 20) for name in present[:6]) or "none"
            raise DataError(
                f"{quote(path, 80)}: no array found for the {missing} of {split}",
                f"name it: dataset.{key}=; has {listed}",
            )
    return chosen


def _find(path: Path, present: list[str], asked: str | None, words: tuple[str, ...], split: str) -> str | None:
    if asked is None:
        return None
    if asked != "auto":
        if asked not in present:
            listed = ", ".join(quote(name, 20) for name in present[:6])
            raise DataError(f"{quote(path, 80)} has no array {quote(asked)}", f"it has {listed}")
        return asked
    parts = [part for part, meaning in SPLITS.items() if meaning == split]
    usual = {f"{word}_{part}" for word in words for part in parts}
    usual |= {f"{part}_{word}" for word in words for part in parts}
    usual |= set(words) if split == "train" else set()
    found = [name for name in present if name.lower() in usual]
    if len(found) > 1:
        key = words[0] + ("" if split == "train" else f"_{split}")
        listed = ", ".join(quote(name, 20) for name in found[:4])
        raise DataError(f"{quote(path, 80)}: {listed} could all be meant for {split}", f"choose one: dataset.{key}=")
    return found[0] if found else None


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of the file, by name."""
    with reading(path) as handle:
        try:
            with unzipped(path, handle, GREATEST_LIST) as archive:
                return _arrays(archive)
        except (*FAULTS, *OTHER_FAULTS) as fault:
            raise _damaged(path, fault) from fault


def _arrays(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
    found = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if len(found) < len(entries):
        raise ValueError("two arrays have one name")
    return found


def read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The arrays `names`. DataError for damage, objects, and sizes that the file cannot honestly hold."""
    with reading(path) as handle:
        try:
            with unzipped(path, handle, GREATEST_LIST) as archive:
                entries = _arrays(archive)
                return {name: _read(path, name, archive, entries[name]) for name in dict.fromkeys(names)}
        except (*FAULTS, *OTHER_FAULTS) as fault:
            raise _damaged(path, fault) from fault


def _read(path: Path, name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    where = f"{quote(path, 60)}, array {quote(name, 30)}"
    with archive.open(entry) as stream:
        shape, fortran, dtype = _header(stream)
        if dtype.hasobject:
            raise DataError(f"{where}: Python objects, which could run code when read", "save numbers or texts instead")
        if dtype.kind not in "buifUS" or dtype.itemsize == 0:
            raise DataError(f"{where}: type {quote(dtype, 30)[1:-1]} is neither numbers nor texts", AGAIN)
        if not shape or 0 in shape:
            raise DataError(f"{where}: shape {quote(shape, 30)[1:-1]} holds no examples", "the first axis counts them")
        size = math.prod(shape) * dtype.itemsize
        if size != entry.file_size - stream.tell():
            raise DataError(
                f"{where}: shape {quote(shape, 40)[1:-1]} needs {quote(size, 20)[1:-1]} bytes, "
                f"{entry.file_size - stream.tell()} are there",
                AGAIN,
            )
        if size > min(GREATEST_ARRAY, max(FREE_BYTES, GREATEST_RATIO * entry.compress_size)):
            raise DataError(
                f"{where}: {size} bytes out of {entry.compress_size}, too many",
                f"{GREATEST_ARRAY} bytes at most; numpy.savez instead of savez_compressed if that is honest",
            )
        content = np.empty(size, np.uint8)
        for start in range(0, size, CHUNK):
            piece = stream.read(min(CHUNK, size - start))  # the last one compares the checksum
            content[start : start + CHUNK] = np.frombuffer(piece, np.uint8)  # ValueError where it is short
    array = content.view(dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind in "US":
        return np.array([_text(value) for value in array.ravel().tolist()], object).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of a .npy stream, which then stands at the first number."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # later ones exist for structured arrays, and let a header be four gigabytes long
        raise ValueError(f"header version {version[0]}.{version[1]}, of structured arrays")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged header may look like a deprecated one
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=GREATEST_HEADER)
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype


def as_numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Pixels stay uint8, other numbers become floats. DataError with the row where one is not usable."""
    where = f"{quote(path, 60)}, array {quote(name, 30)}"
    if array.dtype == object:
        raise DataError(f"{where}: texts are no inputs", "encode them as numbers, or save a CSV or parquet table")
    if array.ndim < 2:
        raise DataError(
            f"{where}: one number per example, shape {array.shape}", "inputs need two axes or more: x[:, None]"
        )
    if array.dtype == np.uint8:
        return array
    numbers = array if array.dtype == np.float32 else _floats(array)
    _check_finite(where, numbers)
    return numbers


def _floats(array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # what does not fit becomes infinite, and is refused by its place
        return array.astype(np.float64)


def _check_finite(where: str, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers.min()) or not np.isfinite(numbers.max()):
        place = np.argwhere(~np.isfinite(numbers))[0]
        column = f", column {quote(place[1:].tolist(), 30)[2:-2]}" if len(place) > 1 else ""
        raise DataError(
            f"{where}, row {place[0]}{column} (from 0): {numbers[tuple(place)]} is not finite",
            "fill in or drop such rows",
        )


def encode_targets(
    path: Path, names: dict[str, str], found: dict[str, np.ndarray], kind: targets.Kind
) -> targets.Targets:
    """(n,) or (n, 1) classes or numbers, one-hot rows as classes, (n, targets) numbers."""
    columns = {}
    for split, array in found.items():
        where = f"{quote(path, 60)}, array {quote(names[split], 30)}"
        if array.dtype != object:
            array = _floats(array)
            _check_finite(where, array)
        columns[split] = array.reshape(len(array), -1)
    width = columns["train"].shape[1]
    if any(column.shape[1] != width for column in columns.values()):
        raise DataError(
            f"{quote(path, 80)}: the splits have different numbers of targets", "every split needs the same"
        )
    if width > 1:
        return _several(path, names, columns, kind)

    def where_row(split: str, row: int) -> str:
        return f"{quote(path, 60)}, array {quote(names[split], 30)}, row {row} (from 0)"

    return targets.encode({split: column[:, 0] for split, column in columns.items()}, kind, where_row)


def _several(path: Path, names: dict[str, str], columns: dict[str, np.ndarray], kind: targets.Kind) -> targets.Targets:
    """Several numbers per example: one-hot classes, or a regression."""
    numeric = all(column.dtype != object for column in columns.values())
    one_hot = numeric and all(
        bool(np.all((column == 0) | (column == 1)) and np.all(column.sum(1) == 1)) for column in columns.values()
    )
    if one_hot and kind != "regression":
        classes = tuple(map(str, range(columns["train"].shape[1])))
        parts = {split: column.argmax(1) for split, column in columns.items()}
        return targets.Targets(parts, classes, ("one-hot targets are read as classes",))
    if not numeric or kind == "classification":
        raise DataError(
            f"{quote(path, 60)}, array {quote(names['train'], 30)}: several targets per example that are not one-hot",
            "classification needs one class per example",
        )
    return targets.Targets(columns, (), ())


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _damaged(path: Path, fault: Exception) -> DataError:
    reason = quote(str(fault) or type(fault).__name__, 70)[1:-1]
    return DataError(f"{quote(path, 80)} is no readable npz file: {reason}", AGAIN)

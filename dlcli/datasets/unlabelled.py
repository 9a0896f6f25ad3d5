"""New examples from a file, read and prepared as the training set was: no target is needed, and nothing is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcli.datasets import csv_table, npz, parquet_table
from dlcli.datasets.archives import is_archive
from dlcli.datasets.cuts import binarize
from dlcli.datasets.image_folder import contents, only_images
from dlcli.datasets.layout import order
from dlcli.datasets.pictures import decode, is_image, read_image
from dlcli.datasets.resident import Resident, Statistics, resident
from dlcli.datasets.table import encode
from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError
from dlcli.protocols import DataSpec, Examples, Form

TABLES = {".csv": csv_table.read, ".tsv": csv_table.read, ".parquet": parquet_table.read, ".pq": parquet_table.read}


class Unlabelled(NamedTuple):
    """Inputs, and where each stands in its file."""

    inputs: np.ndarray  # (n, *spec.shape) uint8 or floats, in the numbers of the source
    unit: str  # what `places` are: "line", "row" or "file"
    places: Sequence[int | str]
    notes: list[str]


def read(path: Path, spec: DataSpec, form: Form) -> Unlabelled:
    """A table, an array file, or pictures, whichever a data set of this spec and form can take.

    DataError where the file is not readable, of another kind or of another shape.
    """
    suffix = path.suffix.lower()
    if form.columns and suffix in TABLES:
        table = TABLES[suffix](
            path, [name for name, _ in form.columns], {name: texts is not None for name, texts in form.columns}
        )
        inputs, notes = encode(table, form.columns, path.name)
        return Unlabelled(inputs, table.unit, table.places.tolist(), notes)
    if not form.columns and suffix == ".npz":
        return of_array(path, spec, form)
    if len(spec.shape) == 3 and (path.is_dir() or is_archive(path) or is_image(path.name)):
        return of_pictures(path, spec, form)
    takes = ".csv or .parquet" if form.columns else ".npz"
    takes += ", an image, or a folder or an archive of images" if len(spec.shape) == 3 else ""
    raise DataError(f"{quote(path, 80)} is no input for a model of data set {spec.name}", f"it reads {takes}")


def prepared(found: Unlabelled, spec: DataSpec, form: Form) -> Resident:
    """The inputs as a model reads them, by the means and scales of the training split; the targets are zeros."""
    inputs = found.inputs if form.binary is None else binarize(found.inputs, form.binary, "unlabelled")
    statistics = Statistics(np.array(spec.mean), np.array(spec.scale))
    return resident(Examples(inputs, np.zeros(len(inputs), np.int64)), statistics)


def of_array(path: Path, spec: DataSpec, form: Form) -> Unlabelled:
    """The array of the inputs: the only one, or the one with a usual name such as x, inputs or x_test."""
    names = list(npz.members(path))
    usual = [name for name in names if name.lower() in {*npz.INPUTS, *(f"{word}_test" for word in npz.INPUTS)}]
    if len(names) != 1 and len(usual) != 1:
        listed = ", ".join(quote(name, 20) for name in names[:6]) or "none"
        raise DataError(
            f"{quote(path, 80)}: no single array of inputs, has {listed}", "save it as numpy.savez(file, x=x)"
        )
    (name,) = names if len(names) == 1 else usual
    array = npz.as_numbers(path, name, npz.read(path, [name])[name])
    if array.shape[1:] != spec.shape and form.layout != "auto":
        array = order(array, form.layout)
    if array.shape[1:] != spec.shape and [n for n in array.shape[1:] if n > 1] == [n for n in spec.shape if n > 1]:
        array = array.reshape(len(array), *spec.shape)  # an axis of one channel more or less
    if array.shape[1:] != spec.shape:
        raise DataError(
            f"{quote(path, 60)}, array {quote(name, 30)}: inputs of shape {array.shape[1:]}, training had {spec.shape}",
            "the first axis counts the examples, the others are those of the training set",
        )
    refuse_other_numbers(f"{quote(path, 60)}, array {quote(name, 30)}", array, spec)
    return Unlabelled(array, "row", range(len(array)), [])


def refuse_other_numbers(where: str, array: np.ndarray, spec: DataSpec) -> None:
    """Pixels from 0 to 255 and from 0 to 1 look alike to a model that was trained on the others."""
    if array.dtype == np.uint8 and not spec.levels:
        raise DataError(f"{where}: uint8 is read as pixels, and {spec.name} is made of numbers", "save them as floats")
    if array.dtype != np.uint8 and spec.levels and (array.min() < 0 or array.max() > 1):
        raise DataError(
            f"{where}: numbers from {array.min():g} to {array.max():g} where pixels are needed",
            "save them as uint8 from 0 to 255, or as floats from 0 to 1",
        )


def of_pictures(path: Path, spec: DataSpec, form: Form) -> Unlabelled:
    """Every picture below a folder or in an archive, in the order of their names; or one alone."""
    if not spec.levels:
        raise DataError(f"{quote(path, 80)}: pictures, and {spec.name} is made of numbers", "give its numbers as .npz")
    others: list[str] = []
    files = iter([(path.name, read_image(path))]) if is_image(path.name) else only_images(contents(path)[0], others)
    found = sorted(decode(path, files, form.size, "L" if spec.shape[0] == 1 else "RGB"), key=lambda each: each.parts)
    if not found:
        raise DataError(f"{quote(path, 80)} holds no images", "give an image, or a folder or an archive of some")
    inputs = np.empty((len(found), *spec.shape), np.uint8)
    for i, (parts, pixels) in enumerate(found):
        channels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        if channels.shape != spec.shape:
            (height, width), (_, high, wide) = pixels.shape[:2], spec.shape
            raise DataError(
                f"{quote(path, 50)}: image {quote('/'.join(parts), 60)} has {width} x {height} pixels, training had "
                f"{wide} x {high}",
                "resize it; a run with dataset=image_folder dataset.size=N resizes by itself",
            )
        inputs[i] = channels
    notes = [f"{count(len(others), 'file')} with other suffixes not read, such as {quote(others[0])}"] if others else []
    return Unlabelled(inputs, "file", ["/".join(parts) for parts, _ in found], notes)

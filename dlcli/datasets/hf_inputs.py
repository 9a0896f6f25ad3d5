"""Columns of a Hugging Face data set as inputs: a table, arrays or images, in memory or read when they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcli.datasets.arrow_cells import Cells, arrays_of
from dlcli.datasets.files import GREATEST_BYTES
from dlcli.datasets.hub import Part, caches, read
from dlcli.datasets.layout import Layout, order, settle
from dlcli.datasets.on_disk import OnDisk, streams
from dlcli.datasets.pictures import decode, is_coloured, picture_of, read_image, stacked
from dlcli.datasets.row_file import SMALL, kept
from dlcli.datasets.table import GREATEST_CELLS, Table, encode, fit_columns, unseen_categories
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Form


class Inputs(NamedTuple):
    """By split, and what their reader settled."""

    parts: dict[str, Any]  # (n, *shape), as `Examples` have them
    form: Form
    notes: list[str]


def table(splits: dict[str, Part], features: list[str], streaming: bool | str) -> Inputs:
    """Columns of numbers and texts, by the rules of CSV and parquet."""
    texts = [name for name in features if splits["train"].is_text(name)]
    needed = 8 * len(features) * sum(map(len, splits.values()))
    on_disk = streams(streaming, needed, 8 * GREATEST_CELLS)
    held = texts if on_disk else features  # in memory

    def rows(part: Part, names: list[str], places: np.ndarray) -> Table:
        return Table(part.path, read(part, names, places, classes="names"), "row", places + 1, len(part))

    tables = {split: rows(part, held, part.rows) for split, part in splits.items()}
    columns, notes = fit_columns(tables["train"], features)
    width = sum(1 if categories is None else len(categories) for _, categories in columns)

    def encoded(part: Part, places: np.ndarray) -> np.ndarray:
        return encode(rows(part, features, places), columns, "")[0]

    inputs = {}
    for split, part in splits.items():
        if on_disk:
            inputs[split] = OnDisk(partial(encoded, part), part.rows, (width,), np.dtype(np.float64))
            notes += unseen_categories(tables[split], columns, split)
        else:
            inputs[split], unseen = encode(tables[split], columns, split)
            notes += unseen
    return Inputs(inputs, Form(columns=columns), notes)


def arrays(splits: dict[str, Part], name: str, layout: Layout, streaming: bool | str) -> Inputs:
    """One column of lists of numbers, all of one form."""

    def numbers(part: Part, places: np.ndarray) -> np.ndarray:
        pieces = [arrays_of(Cells(part.path, name, rows, found[name])) for rows, found in part.batches([name], places)]
        for piece in pieces:
            if piece.shape[1:] != first.shape[1:]:
                raise DataError(
                    f"{quote(part.path, 60)}, column {quote(name, 30)}: shape {piece.shape[1:]}, "
                    f"where train begins with {first.shape[1:]}",
                    "every row needs the same shape",
                )
        return order(np.concatenate(pieces), settled)

    places, found = next(splits["train"].batches([name], np.arange(1)))
    first = arrays_of(Cells(splits["train"].path, name, places, found[name]))
    settled, notes = settle(first, layout)
    item = order(first, settled).shape[1:]
    needed = first.nbytes * sum(map(len, splits.values()))
    inputs = {}
    for split, part in splits.items():
        on_disk = OnDisk(partial(numbers, part), part.rows, item, first.dtype)
        inputs[split] = on_disk if streams(streaming, needed, GREATEST_BYTES) else np.asarray(on_disk)
    return Inputs(inputs, Form(layout=settled), list(notes))


def images(splits: dict[str, Part], name: str, size: int | None, mode: str | None, streaming: bool | str) -> Inputs:
    """One column of images, decoded at once or when they are asked for; small ones once, into the cache."""
    train = splits["train"]
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata; a thread has no filters of its own
    first = picture_of(train.path, *next(files(train, name, np.arange(1))), size, mode).pixels
    if streams(streaming, first.nbytes * sum(map(len, splits.values())), GREATEST_BYTES):
        every = (file for part in splits.values() for file in files(part, name, part.rows))
        coloured = mode == "RGB" if mode else any(is_coloured(BytesIO(content)) for _, content in every)
        shape = (3 if coloured else 1, *first.shape[:2])

        def pixels(part: Part, places: np.ndarray) -> np.ndarray:
            found = (picture_of(part.path, *file, size, mode) for file in files(part, name, places))
            return stacked(part.path, found, len(places), shape)

        inputs = {}
        for split, part in splits.items():
            found = OnDisk(partial(pixels, part), part.rows, shape, np.dtype(np.uint8))
            if prod(shape) <= SMALL and part.identity:
                identity = f"{part.identity} {name} {shape} {size} {mode}"
                chunks = (np.asarray(found[start : start + SMALL]) for start in range(0, len(part), SMALL))
                found = replace(found, read=kept(part.path, identity, len(part), shape, found.dtype, chunks).read)
            inputs[split] = found
        return Inputs(inputs, Form(size=size), [])
    decoded = {s: list(decode(part.path, files(part, name, part.rows), size, mode)) for s, part in splits.items()}
    coloured = any(picture.pixels.ndim == 3 for part in decoded.values() for picture in part)
    shape = (3 if coloured else 1, *first.shape[:2])
    inputs = {split: stacked(splits[split].path, part, len(part), shape) for split, part in decoded.items()}
    return Inputs(inputs, Form(size=size), [])


def files(part: Part, name: str, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """`row 7` and the content of its image file, for each of the rows."""
    for places, columns in part.batches([name], rows):
        for place, cell in zip(places.tolist(), columns[name].to_pylist(), strict=True):
            if cell is None or (cell["bytes"] is None and cell["path"] is None):
                raise DataError(
                    f"{quote(part.path, 60)}, row {place}, column {quote(name, 30)}: missing", "drop such rows"
                )
            yield f"row {place}", cell["bytes"] if cell["bytes"] is not None else outside(part, place, cell["path"])


def outside(part: Part, place: int, name: str) -> bytes:
    """An image that only its path stands for. No row may name a file beyond the data set and the caches of the hub."""
    file = Path(name).resolve()
    if not any(file.is_relative_to(folder) for folder in (part.path.parent.resolve(), *caches())):
        raise DataError(
            f"{quote(part.path, 60)}, row {place}: the image is a file elsewhere, {quote(name, 60)}",
            "save the data set with its images inside: dataset.save_to_disk(FOLDER)",
        )
    return read_image(file)

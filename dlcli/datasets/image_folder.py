"""Your own images, one folder a class, from disk or straight out of an archive of such a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from dlcli.datasets.archives import is_archive, members
from dlcli.datasets.files import GREATEST_BYTES, is_file, required, unreadable
from dlcli.datasets.on_disk import OnDisk, streams
from dlcli.datasets.pictures import (
    SUFFIXES,
    Files,
    Picture,
    decode,
    decoded,
    is_coloured,
    is_image,
    other_size,
    parts_of,
    read_image,
    stacked,
    weight,
)
from dlcli.datasets.row_file import SMALL, RowFile, kept
from dlcli.datasets.split_names import SPLITS
from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError, UsageError
from dlcli.protocols import Examples, Form, Source
from dlcli.registry import register
from dlcli.schema import Count


@register("dataset", "image_folder")
def image_folder(
    *,
    path: str | None,
    size: Count | None,
    channels: Literal["auto", 1, 3],
    streaming: Literal["auto", True, False],
) -> Source:
    """Your own images: path/train/CLASS/*.jpg beside validation and test, or path/CLASS/*.jpg; an archive too."""
    root = required(path, "image_folder")
    others: list[str] = []
    mode = {"auto": None, 1: "L", 3: "RGB"}[channels]
    archive = is_archive(root) and is_file(root)
    if archive and streaming is True:
        raise UsageError(
            f"dataset.streaming reads single files, and {quote(root, 80)} is an archive",
            "unpack it and name the folder",
        )
    if not archive and streaming is not False:
        names, empty = listed(root)
        images = [name for name, _ in only_images(((name, b"") for name in names), others)]
        if images and streams(streaming, len(images) * weight(root, images[0], size, mode), GREATEST_BYTES):
            return from_disk(root, images, others, empty, size, mode)
        others.clear()
    files, empty = contents(root)
    pictures = sorted(decode(root, only_images(files, others), size, mode), key=lambda picture: picture.parts)
    if not pictures:
        raise DataError(f"{quote(root, 100)} holds no images", f"looked for {', '.join(SUFFIXES)}")
    parts = by_split(root, pictures)
    classes = sorted({picture.parts[0] for picture in parts["train"]})
    _refuse_empty(root, empty, classes)
    colour = any(picture.pixels.ndim == 3 for picture in pictures)
    _refuse_sizes(root, pictures)
    shape = (3 if colour else 1, *pictures[0].pixels.shape[:2])
    del pictures
    examples = {
        name: Examples(stacked(root, part, len(part), shape), numbered(root, name, part, classes))
        for name, part in parts.items()
    }
    return source_of(root, examples, classes, size, others)


def source_of(
    root: Path, examples: dict[str, Examples], classes: list[str], size: int | None, others: list[str]
) -> Source:
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        classes=tuple(classes),
        form=Form(size=size),
        origin=f"images of {quote(root, 100)}",
        notes=(f"{count(len(others), 'file')} with other suffixes not read, such as {quote(others[0])}",)
        if others
        else (),
    )


def contents(root: Path) -> tuple[Iterator[tuple[str, bytes]], list[str]]:
    """Relative name and content of each file of a folder or an archive; and the folders that hold nothing."""
    return (members(root), []) if is_archive(root) and is_file(root) else listing(root)


def from_disk(
    root: Path, images: list[str], others: list[str], empty: list[str], size: int | None, mode: str | None
) -> Source:
    """The same, of images that are decoded whenever they are asked for; small ones once, into the cache."""
    pictures = sorted((Picture(parts_of(name), name) for name in images), key=lambda picture: picture.parts)
    parts = by_split(root, pictures)
    classes = sorted({picture.parts[0] for picture in parts["train"]})
    _refuse_empty(root, empty, classes)
    first = decoded(root, pictures[0].pixels, size, mode).pixels
    colour = mode == "RGB" if mode else any(is_coloured(root / picture.pixels) for picture in pictures)
    shape = (3 if colour else 1, *first.shape[:2])
    names, pixel = [picture.pixels for picture in pictures], np.dtype(np.uint8)
    files: Files | RowFile = Files(root, names, shape, size, mode)
    place = {name: number for number, name in enumerate(names)}
    if prod(shape) <= SMALL:
        chunks = (files.read(np.arange(start, min(start + SMALL, len(names)))) for start in range(0, len(names), SMALL))
        files = kept(root, files.identity(), len(names), shape, pixel, chunks)
    examples = {}
    for name, part in parts.items():
        places = np.array([place[picture.pixels] for picture in part])
        examples[name] = Examples(OnDisk(files.read, places, shape, pixel), numbered(root, name, part, classes))
    return source_of(root, examples, classes, size, others)


def listing(root: Path) -> tuple[Iterator[tuple[str, bytes]], list[str]]:
    """Relative name and content of each image below a folder, in order of name; and the folders that hold nothing."""
    names, empty = listed(root)
    return ((name, read_image(root / name) if is_image(name) else b"") for name in names), empty


def listed(root: Path) -> tuple[list[str], list[str]]:
    """Relative names of the files below a folder, sorted; and the folders that hold nothing."""
    names: list[str] = []
    empty: list[str] = []
    visited: set[tuple[int, int]] = set()

    def refuse(fault: OSError) -> None:
        raise unreadable(Path(fault.filename), fault) from fault

    if is_file(root):
        raise DataError(
            f"{quote(root, 100)} is a file", "name a folder of images, or an archive .tar.gz, .tgz, .tar or .zip"
        )
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()  # a link to a folder above or beside it
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(folder, root)
        names += [os.path.normpath(f"{inner}/{name}") for name in files]
        if not folders and not any(name.lower().endswith(SUFFIXES) for name in files):
            empty.append(inner)
    return sorted(names), empty


def only_images(files: Iterator[tuple[str, bytes]], others: list[str]) -> Iterator[tuple[str, bytes]]:
    """The images among the files; the names of other files go to `others`, hidden ones nowhere."""
    for name, content in files:
        if any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in name.split("/")):
            continue
        if is_image(name):
            yield name, content
        else:
            others.append(name)


def by_split(root: Path, pictures: list[Picture]) -> dict[str, list[Picture]]:
    """Pictures per split, `parts` starting at the class. Folders around all of them are passed over."""
    while all(len(p.parts) > 2 for p in pictures) and len({p.parts[0] for p in pictures}) == 1:
        if pictures[0].parts[0].lower() in SPLITS:
            break
        pictures = [Picture(p.parts[1:], p.pixels) for p in pictures]
    tops = {picture.parts[0] for picture in pictures}
    parts: dict[str, list[Picture]] = {"train": []}
    named = {SPLITS.get(top.lower()) for top in tops}
    if "train" not in named:
        if None not in named:
            raise DataError(
                f"{quote(root, 80)} has a folder for {sorted(named)[0]} and none for train", "name it train"
            )
        parts["train"] = pictures
    else:
        for picture in pictures:
            name = SPLITS.get(picture.parts[0].lower())
            if name is None:
                raise DataError(
                    f"{quote(root, 80)}: {quote(picture.parts[0])} stands beside the folder train",
                    "beside train only validation (valid, val) and test are read",
                )
            parts.setdefault(name, []).append(Picture(picture.parts[1:], picture.pixels))
    for part in parts.values():
        for picture in part:
            if len(picture.parts) < 2:
                raise DataError(
                    f"{quote(root, 60)}: image {quote(picture.parts[-1], 60)} stands in no folder of a class",
                    "the folders are train/CLASS/*.jpg, or CLASS/*.jpg",
                )
    return parts


def _refuse_empty(root: Path, empty: list[str], classes: list[str]) -> None:
    """A class of whose folder nothing can be read was hardly meant to be left out."""
    for folder in empty:
        name = folder.split("/")[-1]
        if name not in classes and name.lower() not in SPLITS:
            raise DataError(f"{quote(root, 60)}: folder {quote(folder, 60)} holds no images", "remove it, or fill it")


def _refuse_sizes(root: Path, pictures: list[Picture]) -> None:
    """Judged before a split takes the first folder off their names."""
    height, width = pictures[0].pixels.shape[:2]
    for picture in pictures:
        if picture.pixels.shape[:2] != (height, width):
            raise other_size(root, "/".join(picture.parts), picture.pixels.shape, (height, width))


def numbered(root: Path, split: str, pictures: list[Picture], classes: list[str]) -> np.ndarray:
    """-> (n,) int64, the place of each class"""
    numbers = {name: number for number, name in enumerate(classes)}
    for parts, _ in pictures:
        if parts[0] not in numbers:
            raise DataError(
                f"{quote(root, 60)}: class {quote(parts[0], 40)} of {split} is not in train",
                f"train has {count(len(classes), 'folder')}",
            )
    return np.array([numbers[parts[0]] for parts, _ in pictures], np.int64)

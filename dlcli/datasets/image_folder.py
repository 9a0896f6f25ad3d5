"""Your own images, one folder a class, from disk or straight out of an archive of such a folder."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from dlcli.datasets.archives import is_archive, members
from dlcli.datasets.files import GREATEST_BYTES, is_file, reading, required, unreadable
from dlcli.datasets.split_names import SPLITS
from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Form, Source
from dlcli.registry import register
from dlcli.schema import Count

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
GREATEST_PIXELS = 1 << 26  # of one image before it is resized
GREATEST_FILE = 256 << 20  # bytes
GREY = {"1", "L", "LA"}
DEEP = {"I", "F", "I;16", "I;16B", "I;16L"}  # more than eight bits a pixel
CHUNK = 64  # images decoded at a time
LARGE = 1 << 14  # bytes of an image from which threads pay; below, Python's own work is most of it


class Picture(NamedTuple):
    parts: tuple[str, ...]  # folders and file name
    pixels: np.ndarray  # (height, width) or (height, width, 3) uint8


@register("dataset", "image_folder")
def image_folder(*, path: str | None, size: Count | None, channels: Literal["auto", 1, 3]) -> Source:
    """Your own images: path/train/CLASS/*.jpg beside validation and test, or path/CLASS/*.jpg; an archive too."""
    root = required(path, "image_folder")
    files, empty = contents(root)
    others: list[str] = []
    mode = {"auto": None, 1: "L", 3: "RGB"}[channels]
    pictures = sorted(decode(root, only_images(files, others), size, mode), key=lambda picture: picture.parts)
    if not pictures:
        raise DataError(f"{quote(root, 100)} holds no images", f"looked for {', '.join(SUFFIXES)}")
    parts = by_split(root, pictures)
    classes = sorted({picture.parts[0] for picture in parts["train"]})
    _refuse_empty(root, empty, classes)
    colour = any(picture.pixels.ndim == 3 for picture in pictures)
    _refuse_sizes(root, pictures)
    del pictures
    examples = {name: _examples(root, name, part, classes, colour) for name, part in parts.items()}
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        classes=tuple(classes),
        form=Form(size=size),
        origin=f"images of {quote(path, 100)}",
        notes=(f"{count(len(others), 'file')} with other suffixes not read, such as {quote(others[0])}",)
        if others
        else (),
    )


def contents(root: Path) -> tuple[Iterator[tuple[str, bytes]], list[str]]:
    """Relative name and content of each file of a folder or an archive; and the folders that hold nothing."""
    return (members(root), []) if is_archive(root) and is_file(root) else listing(root)


def listing(root: Path) -> tuple[Iterator[tuple[str, bytes]], list[str]]:
    """Relative name and content of each image below a folder, in order of name; and the folders that hold nothing."""
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
    return ((name, read_image(root / name) if is_image(name) else b"") for name in sorted(names)), empty


def only_images(files: Iterator[tuple[str, bytes]], others: list[str]) -> Iterator[tuple[str, bytes]]:
    """The images among the files; the names of other files go to `others`, hidden ones nowhere."""
    for name, content in files:
        if any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in name.split("/")):
            continue
        if is_image(name):
            yield name, content
        else:
            others.append(name)


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def read_image(path: Path) -> bytes:
    with reading(path) as handle:
        content = handle.read(GREATEST_FILE + 1)
    if len(content) > GREATEST_FILE:
        raise DataError(f"{quote(path, 100)} is larger than {GREATEST_FILE} bytes", "is it an image?")
    return content


def decode(root: Path, files: Iterator[tuple[str, bytes]], size: int | None, mode: str | None) -> Iterator[Picture]:
    """Pictures in the order of the files, read and decoded a few at a time."""
    total = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        while chunk := list(islice(files, CHUNK)):
            large = sum(len(content) for _, content in chunk) >= LARGE * len(chunk)
            run: Callable = pool.map if large else map
            for picture in run(lambda file: _decode(root, *file, size, mode), chunk):
                total += picture.pixels.nbytes
                if total > GREATEST_BYTES:
                    raise DataError(
                        f"{quote(root, 80)}: the images take more than {GREATEST_BYTES >> 30} GiB",
                        "set dataset.size to the side that the model should see",
                    )
                yield picture


def _decode(root: Path, name: str, content: bytes, size: int | None, mode: str | None) -> Picture:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    where = f"{quote(root, 60)}: image {quote(name, 70)}"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height <= GREATEST_PIXELS and image.mode not in DEEP:
                return Picture(parts, _pixels(image, size, mode))
            found = image.mode
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise DataError(f"{where} has more than {GREATEST_PIXELS} pixels", "resize it") from fault
    except MemoryError:
        raise
    except Exception as fault:  # decoders meet damaged bytes with whatever error comes first
        reason = "no readable image" if isinstance(fault, Image.UnidentifiedImageError) else f"damaged: {fault}"
        raise DataError(f"{where} is {quote(reason, 50)[1:-1]}", "copy the file again, or leave it out") from fault
    if found in DEEP:
        raise DataError(f"{where} has more than 8 bits per pixel (mode {found})", "convert it to 8 bits")
    raise DataError(f"{where} has {width} x {height} pixels; at most {GREATEST_PIXELS} are read", "resize it")


def _pixels(image: Image.Image, size: int | None, mode: str | None) -> np.ndarray:
    """(height, width) or (height, width, 3) uint8, upright as the camera held it."""
    if size is not None:
        image.draft(None, (2 * size, 2 * size))  # JPEG: decodes at a fraction of the resolution where that suffices
    turned = ImageOps.exif_transpose(image) if "exif" in image.info or image.format == "TIFF" else image
    wanted = mode or ("L" if turned.mode in GREY else "RGB")
    plain = turned if turned.mode == wanted else turned.convert(wanted)
    if size is not None and plain.size != (size, size):
        plain = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)  # shorter side, then the centre
    shape = (plain.height, plain.width) if wanted == "L" else (plain.height, plain.width, 3)
    return np.frombuffer(plain.tobytes(), np.uint8).reshape(shape)


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
    height, width = pictures[0].pixels.shape[:2]
    for picture in pictures:
        if picture.pixels.shape[:2] != (height, width):
            other = picture.pixels.shape
            raise DataError(
                f"{quote(root, 50)}: image {quote('/'.join(picture.parts), 60)} has {other[1]} x {other[0]} pixels, "
                f"the first one {width} x {height}",
                "set dataset.size: resizes the shorter side and crops the centre",
            )


def _examples(root: Path, split: str, pictures: list[Picture], classes: list[str], colour: bool) -> Examples:
    """-> (n, channels, height, width) uint8 and (n,) int64"""
    numbers = {name: number for number, name in enumerate(classes)}
    first = pictures[0].pixels
    inputs = np.empty((len(pictures), 3 if colour else 1, *first.shape[:2]), np.uint8)
    labels = np.empty(len(pictures), np.int64)
    for i, (parts, pixels) in enumerate(pictures):
        if parts[0] not in numbers:
            raise DataError(
                f"{quote(root, 60)}: class {quote(parts[0], 40)} of {split} is not in train",
                f"train has {count(len(classes), 'folder')}",
            )
        labels[i] = numbers[parts[0]]
        inputs[i] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    return Examples(inputs, labels)

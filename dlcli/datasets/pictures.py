"""An image file into pixels: one, many at a time, or whenever it is asked for."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from dlcli.datasets.files import GREATEST_BYTES, reading, unreadable
from dlcli.datasets.wording import quote
from dlcli.errors import DataError

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
    pixels: Any  # (height, width) or (height, width, 3) uint8; or the name of the file that they are read from later


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def read_image(path: Path) -> bytes:
    return read_stamped(path)[0]


def read_stamped(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The content of an image file, and what `stamp` says of it."""
    with reading(path) as handle:
        status = os.fstat(handle.fileno())
        if status.st_size > GREATEST_FILE:
            raise DataError(f"{quote(path, 100)} is larger than {GREATEST_FILE} bytes", "is it an image?")
        # To ask for as many bytes as are allowed would take, and give back, that much memory each time.
        return handle.read(status.st_size), (status.st_size, status.st_mtime_ns)


def decode(root: Path, files: Iterator[tuple[str, bytes]], size: int | None, mode: str | None) -> Iterator[Picture]:
    """Pictures in the order of the files, read and decoded a few at a time."""
    total = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        while chunk := list(islice(files, CHUNK)):
            large = sum(len(content) for _, content in chunk) >= LARGE * len(chunk)
            run: Callable = pool.map if large else map
            for picture in run(lambda file: picture_of(root, *file, size, mode), chunk):
                total += picture.pixels.nbytes
                if total > GREATEST_BYTES:
                    raise DataError(
                        f"{quote(root, 80)}: the images take more than {GREATEST_BYTES >> 30} GiB",
                        "set dataset.size to the side that the model should see",
                    )
                yield picture


def picture_of(root: Path, name: str, content: bytes, size: int | None, mode: str | None) -> Picture:
    parts = parts_of(name)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height <= GREATEST_PIXELS and image.mode not in DEEP:
                return Picture(parts, _pixels(image, size, mode))
            found = image.mode
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise DataError(f"{which(root, name)} has more than {GREATEST_PIXELS} pixels", "resize it") from fault
    except MemoryError:
        raise
    except Exception as fault:  # decoders meet damaged bytes with whatever error comes first
        reason = "no readable image" if isinstance(fault, Image.UnidentifiedImageError) else f"damaged: {fault}"
        raise DataError(
            f"{which(root, name)} is {quote(reason, 50)[1:-1]}", "copy the file again, or leave it out"
        ) from fault
    if found in DEEP:
        raise DataError(f"{which(root, name)} has more than 8 bits per pixel (mode {found})", "convert it to 8 bits")
    raise DataError(
        f"{which(root, name)} has {width} x {height} pixels; at most {GREATEST_PIXELS} are read", "resize it"
    )


def which(root: Path, name: str) -> str:
    return f"{quote(root, 60)}: image {quote(name, 70)}"


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


class Files:
    """Images of one size, decoded by their number."""

    def __init__(self, root: Path, names: list[str], shape: tuple[int, ...], size: int | None, mode: str | None):
        self.root, self.names, self.shape, self.size, self.mode = root, names, shape, size, mode
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata; a thread has no filters of its own
        self.stamps = [stamp(root / name) for name in names]  # the data of a run are those that it began with

    def identity(self) -> str:
        """All that the pixels depend on."""
        files = sha256(repr([self.names, self.stamps]).encode(errors="surrogateescape")).hexdigest()
        return f"{self.root.resolve()} {files} {self.shape} {self.size} {self.mode}"

    def read(self, places: np.ndarray) -> np.ndarray:
        """(k, channels, height, width) uint8"""
        return stacked(self.root, map(self.picture, places.tolist()), len(places), self.shape)

    def picture(self, place: int) -> Picture:
        name = self.names[place]
        content, found = read_stamped(self.root / name)
        if found != self.stamps[place]:
            raise DataError(f"{which(self.root, name)} was changed while it was in use", "start anew")
        return picture_of(self.root, name, content, self.size, self.mode)


def stacked(root: Path, pictures: Iterable[Picture], n: int, shape: tuple[int, ...]) -> np.ndarray:
    """n pictures -> (n, *shape) uint8; a grey one goes with any number of channels. DataError for one of another size.

    shape: (channels, height, width)
    """
    pixels = np.empty((n, *shape), np.uint8)
    for row, (parts, picture) in enumerate(pictures):
        if picture.shape[:2] != shape[1:]:
            raise other_size(root, "/".join(parts), picture.shape, shape[1:])
        pixels[row] = channels_first(picture)
    return pixels


def stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as fault:
        raise unreadable(path, fault) from fault
    return status.st_size, status.st_mtime_ns


def parts_of(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def decoded(root: Path, name: str, size: int | None, mode: str | None) -> Picture:
    return picture_of(root, name, read_image(root / name), size, mode)


def weight(root: Path, name: str, size: int | None, mode: str | None) -> int:
    """Bytes of one image in memory, as the first one tells."""
    return decoded(root, name, size, mode).pixels.nbytes


def is_coloured(file: Path | BinaryIO) -> bool:
    """As its header says; one that cannot be read is met when it is decoded."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.mode not in GREY
    except Exception:
        return False


def other_size(root: Path, name: str, other: tuple[int, ...], first: tuple[int, ...]) -> DataError:
    return DataError(
        f"{quote(root, 50)}: image {quote(name, 60)} has {other[1]} x {other[0]} pixels, "
        f"the first one {first[1]} x {first[0]}",
        "set dataset.size: resizes the shorter side and crops the centre",
    )


def channels_first(pixels: np.ndarray) -> np.ndarray:
    """A grey image has no axis of channels, and goes with any number of them."""
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels

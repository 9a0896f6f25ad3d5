"""MNIST and Fashion-MNIST from their official IDX files, compressed or not, checked byte for byte."""

from __future__ import annotations

import math
import struct
import zlib
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcli.datasets.files import is_file, reading
from dlcli.datasets.official import Official, locate
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source
from dlcli.registry import register

GZIP = 16  # added to the size of the window: a gzip header and its checksum, which zlib then checks
HEADERS = 2**16  # bytes that gzip may add to what it cannot compress
UNSIGNED_BYTES = 0x08  # the element type in the magic number, the only one that these sets use
AGAIN = "download the file again, or delete it so that dlcli does"


class Content(NamedTuple):
    """What is inside an official file, however it was compressed (distributions compress anew)."""

    size: int
    sha256: str


FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZES = (47_040_016, 60_008, 7_840_016, 10_008)
FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_DOWNLOADS = (
    (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
MNIST_DOWNLOADS = (
    (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
FASHION_CONTENTS = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
MNIST_CONTENTS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
GARMENTS = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"


@register("dataset", "fashion_mnist")
def fashion_mnist(*, root: str | None) -> Source:
    """Ten kinds of garment, 28x28 grey pixels, 60000 to train and 10000 to test (Xiao et al. 2017, 1708.07747)."""
    return _read("fashion_mnist", FASHION_URL, FASHION_DOWNLOADS, FASHION_CONTENTS, tuple(GARMENTS.split(",")), root)


@register("dataset", "mnist")
def mnist(*, root: str | None) -> Source:
    """Handwritten digits, 28x28 grey pixels, 60000 to train and 10000 to test (LeCun et al. 1998)."""
    return _read("mnist", MNIST_URL, MNIST_DOWNLOADS, MNIST_CONTENTS, tuple("0123456789"), root)


def _read(
    name: str,
    url: str,
    downloads: tuple[tuple[int, str], ...],
    contents: tuple[str, ...],
    classes: tuple[str, ...],
    root: str | None,
) -> Source:
    published = [Official(f"{file}.gz", f"{url}{file}.gz", *sums) for file, sums in zip(FILES, downloads, strict=True)]
    paths = locate(name, present, published, root)
    arrays = [
        parse(unpack(path, Content(size, digest)), path)
        for path, size, digest in zip(paths, SIZES, contents, strict=True)
    ]
    return Source(
        train=Examples(arrays[0][:, None], arrays[1]),  # (n, 1, 28, 28)
        test=Examples(arrays[2][:, None], arrays[3]),
        classes=classes,
        origin=f"official files in {paths[0].parent}",
    )


def present(folder: Path) -> list[Path] | None:
    """The four files in `folder`, compressed or not; None where one is absent."""
    found = []
    for file in FILES:
        choices = [folder / f"{file}.gz", folder / file, folder / file.replace("-idx", ".idx")]
        existing = [path for path in choices if is_file(path)]
        if not existing:
            return None
        found.append(existing[0])
    return found


def unpack(path: Path, content: Content) -> bytes:
    """The bytes of an IDX file. DataError unless they are exactly those pinned by `content`."""
    most = content.size + 1  # one more shows that there is more; a bomb gets no further
    with reading(path) as handle:
        found = handle.read(most + HEADERS)
    if path.suffix == ".gz":
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS + GZIP)
        try:
            found = stream.decompress(found, most)
        except zlib.error as fault:
            raise DataError(f"{quote(path, 100)} is damaged: {quote(fault, 60)[1:-1]}", AGAIN) from fault
        if len(found) < most and (not stream.eof or stream.unused_data):
            raise DataError(f"{quote(path, 100)} is damaged: its content ends where the file does not", AGAIN)
    if len(found) != content.size:
        actual = f"more than {content.size}" if len(found) > content.size else len(found)
        raise DataError(f"{quote(path, 80)} holds {actual} bytes; expected {content.size}", AGAIN)
    digest = sha256(found).hexdigest()
    if digest != content.sha256:
        raise DataError(
            f"{quote(path, 80)} is damaged or another file: sha256 {digest[:16]}, not {content.sha256[:16]}", AGAIN
        )
    return found


def parse(content: bytes, path: Path) -> np.ndarray:
    """The array in an IDX file: two zero bytes, element type, number of axes, big-endian sizes, elements."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES or not 1 <= content[3] <= 4:
        raise DataError(f"{quote(path, 80)} is no IDX file of bytes: magic number 0x{content[:4].hex()}", AGAIN)
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{quote(path, 80)} ends within its header of {start} bytes", AGAIN)
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise DataError(f"{quote(path, 80)} declares {expected} bytes and holds {len(content)}", AGAIN)
    if 0 in shape:  # beside which the other sizes could be any
        raise DataError(f"{quote(path, 80)} declares the shape {shape}, which holds nothing", AGAIN)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)

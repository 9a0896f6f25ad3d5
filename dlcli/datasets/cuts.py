"""Which examples form a split, which are used, which labels are redrawn: functions of (seed, purpose) alone.

Each purpose has its own stream, so that adding label noise moves no split. Only the raw output of the bit generator is
used, which numpy promises never to change; its distributions may.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from dlcli.errors import DataError
from dlcli.protocols import Examples

ROWS = 1000  # images whose pixels are drawn together
PIXEL = 255.0  # brightness of a white pixel


def draws(seed: int, purpose: str, n: int) -> np.ndarray:
    """(n,) uniform 64-bit numbers. The first of a longer draw are the shorter draw."""
    key = int.from_bytes(blake2b(f"dataset:{seed}:{purpose}".encode(), digest_size=16).digest(), "little")
    return np.random.PCG64(key).random_raw(n)


def permutation(seed: int, purpose: str, n: int) -> np.ndarray:
    return np.argsort(draws(seed, purpose, n), kind="stable")


def take(examples: Examples, rows: np.ndarray) -> Examples:
    return Examples(examples.inputs[rows], examples.targets[rows])


def cut(examples: Examples, fraction: float, seed: int, split: str) -> tuple[Examples, Examples]:
    """What stays, and the new split: the first examples of a permutation. Both keep the order of the source.

    DataError where either would be empty.
    """
    n = len(examples.inputs)
    size = round(fraction * n)
    if not 0 < size < n:
        least = "" if n < 2 else f"; {1 / n:.2g} to {1 - 1 / n:.2g} leave both some"
        raise DataError(
            f"dataset.{split}_fraction={fraction:g} of {n} examples is {size}: an empty split",
            f"choose another fraction{least}",
        )
    chosen = np.zeros(n, bool)
    chosen[permutation(seed, split, n)[:size]] = True
    return take(examples, np.flatnonzero(~chosen)), take(examples, np.flatnonzero(chosen))


def subset(n: int, fraction: float, seed: int) -> np.ndarray | slice:
    """Rows of the examples in use: the first of a permutation, in its order, so that a smaller subset is a prefix of a
    larger one. All of them stay as they are. DataError where none is left."""
    if fraction == 1:
        return slice(None)
    size = round(fraction * n)
    if size == 0:
        raise DataError(
            f"dataset.train_fraction={fraction:g} of {n} training examples is none", f"use {1 / n:.2g} or more"
        )
    return permutation(seed, "subset", n)[:size]


def redraw_labels(labels: np.ndarray, share: float, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which so many are drawn anew, uniformly over all classes; and which ones were. Less noise is a part
    of more noise: the same examples come first, with the same new labels."""
    n = len(labels)
    redrawn = np.zeros(n, bool)
    redrawn[permutation(seed, "noisy examples", n)[: round(share * n)]] = True
    fresh = (draws(seed, "noisy labels", n) % np.uint64(classes)).astype(np.int64)
    return np.where(redrawn, fresh, labels), redrawn


def binarize(images: np.ndarray, seed: int, split: str) -> np.ndarray:
    """Pixels 0 or 255 (uint8), each drawn once, 255 with its brightness as probability: images become binary data.

    images: (n, *shape) uint8, or floats in [0, 1]. Source: Salakhutdinov & Murray, ICML 2008 (for MNIST).
    """
    drawn = np.empty(images.shape, np.uint8)
    unit = PIXEL if images.dtype == np.uint8 else 1.0
    for start in range(0, len(images), ROWS):
        part = images[start : start + ROWS]
        place = draws(seed, f"binary {split} {start}", part.size).reshape(part.shape) * 2.0**-64  # in [0, 1]
        drawn[start : start + ROWS] = np.where(place < part / unit, 255, 0)
    return drawn

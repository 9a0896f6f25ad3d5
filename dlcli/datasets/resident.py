"""Splits whose examples live on the device, and the affine map from stored numbers to the inputs of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.errors import DataError
from dlcli.protocols import Batch, Examples

CHUNK = 1 << 20  # numbers that are held as float64 at a time
LEVELS = 256  # of a pixel
PIXEL = 255.0  # what uint8 inputs are divided by


class Statistics(NamedTuple):
    """Mean and scale of the inputs, one of each or one per channel (images, signals) or feature (tables)."""

    mean: np.ndarray  # (1,) or (channels,) float64
    scale: np.ndarray  # likewise, above 0


@dataclass(frozen=True)
class Resident:
    """A split as tensors. Pixels stay uint8, a quarter of the memory, and are converted batch by batch."""

    inputs: Tensor  # (n, *shape) uint8, or float32 ready for use
    targets: Tensor  # (n,) int64 or (n, targets) float32
    factor: Tensor | None = None  # of uint8 inputs only: inputs * factor + shift, shapes (channels or 1, 1 ...)
    shift: Tensor | None = None
    cuts = 1
    contiguous = False

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        return self.targets.device

    def batch(self, indices: Tensor | slice, then: Iterable[Tensor | slice] = ()) -> Batch:
        """The examples at `indices`. A slice of float inputs shares memory with the split: never write into it."""
        if isinstance(indices, slice):
            inputs, targets = self.inputs[indices], self.targets[indices]
        else:  # half the time of inputs[indices]
            inputs, targets = self.inputs.index_select(0, indices), self.targets.index_select(0, indices)
        if self.factor is not None:
            # Two roundings, never a fused one: an example is the same number in whatever batch it stands.
            inputs = inputs.float().mul_(self.factor).add_(self.shift)
        return Batch(inputs, targets)

    def to(self, device: Any) -> Resident:
        parts = (self.inputs, self.targets, self.factor, self.shift)
        return Resident(*(None if part is None else part.to(device) for part in parts))

    def stored(self, rows: slice) -> np.ndarray:
        return self.inputs[rows].numpy()

    def parts(self) -> tuple[Tensor, ...]:
        """All but the inputs."""
        return tuple(part for part in (self.targets, self.factor, self.shift) if part is not None)


class Reading(NamedTuple):
    """What is known of a split once each of its examples was read."""

    sha256: str  # of the content, inputs and targets, example after example
    inputs: list[bytes]  # a hash of each


def read_through(split: Any) -> Reading:
    """A `Resident` or `Streamed` split, in one pass."""
    digest, found, rows = sha256(), [], max(1, CHUNK // prod(split.inputs.shape[1:]))
    for start in range(0, len(split), rows):
        stored = split.stored(slice(start, start + rows))
        if start == 0:
            digest.update(f"torch.{stored.dtype}{tuple(split.inputs.shape)}".encode())
        digest.update(stored)
        # One hash per input: two microseconds each, where a set of the inputs themselves would double the memory.
        found += [sha256(row).digest() for row in stored]
    for part in split.parts():
        digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
        digest.update(part.numpy())
    return Reading(digest.hexdigest(), found)


def fit(inputs: np.ndarray, standardize: str) -> Statistics:
    """Mean and deviation of training inputs (n, *shape): `all` numbers together, or each `feature` (channel) alone.

    In float64: pixels are counted, in one pass, and numbers summed in two. Where all are alike the scale is 1, so that
    they become 0.
    """
    if standardize == "none":
        return Statistics(np.zeros(1), np.ones(1))
    if inputs.dtype == np.uint8:
        return _of_pixels(_counts(inputs, 1 if standardize == "all" else inputs.shape[1]))
    axes = tuple(axis for axis in range(inputs.ndim) if standardize == "all" or axis != 1)
    count = inputs.size if standardize == "all" else inputs.size // inputs.shape[1]
    first = [(chunk.sum(axes), chunk.min(axes), chunk.max(axes)) for chunk in _chunks(inputs)]
    sums, least, greatest = zip(*first, strict=True)
    mean = np.atleast_1d(sum(sums) / count)
    centre = _per_channel(mean, inputs.ndim)
    deviation = np.sqrt(np.atleast_1d(sum(((chunk - centre) ** 2).sum(axes) for chunk in _chunks(inputs)) / count))
    constant = np.atleast_1d(np.min(least, 0) == np.max(greatest, 0))
    return Statistics(mean, np.where(constant, 1.0, deviation))


def _counts(inputs: np.ndarray, channels: int) -> np.ndarray:
    """How often each level of a pixel occurs, (channels, LEVELS); one channel: of all together."""
    found = np.zeros((channels, LEVELS), np.int64)
    for piece in _pieces(inputs):
        numbers = np.asarray(piece)
        for own, count in zip(numbers.swapaxes(0, 1) if channels > 1 else [numbers], found, strict=True):
            count += np.bincount(own.ravel(), minlength=LEVELS)
    return found


def _of_pixels(counts: np.ndarray) -> Statistics:
    levels, total = np.arange(float(LEVELS)), counts.sum(1)
    mean = counts @ levels / total
    deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    constant = counts.max(1) == total
    return Statistics(mean / PIXEL, np.where(constant, 1.0, deviation / PIXEL))


def fit_targets(targets: np.ndarray) -> Statistics:
    """A mean for each target (n, targets) and one scale for all, whose square converts a squared error back."""
    mean = targets.mean(0)
    scale = np.sqrt(((targets - mean) ** 2).mean())
    return Statistics(mean, np.where((targets == targets[0]).all(), 1.0, scale).reshape(1))


def extremes(inputs: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest number over the axes, the first among them."""
    ends = [(chunk.min(axes), chunk.max(axes)) for chunk in _chunks(inputs)]
    return np.min([low for low, _ in ends], 0), np.max([high for _, high in ends], 0)


def resident(examples: Examples, statistics: Statistics) -> Resident:
    """Examples as tensors, standardized by `statistics`. DataError where a number leaves the range of float32."""
    inputs, labels = examples.inputs, labels_of(examples.targets)
    if inputs.dtype == np.uint8:
        return Resident(
            torch.from_numpy(np.require(inputs, np.uint8, ["C", "W"])), labels, *affine(statistics, inputs.ndim)
        )
    return Resident(torch.from_numpy(ready(inputs, statistics)), labels)


def labels_of(targets: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(targets, np.int64 if targets.dtype.kind in "iu" else np.float32, ["C", "W"]))


def affine(statistics: Statistics, dims: int) -> tuple[Tensor, Tensor]:
    """Factor and shift that standardize pixels."""
    mean, scale = (_per_channel(part, dims) for part in statistics)
    return tuple(torch.from_numpy(part).float()[0] for part in (1 / (PIXEL * scale), -mean / scale))


def ready(inputs: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Numbers standardized, as float32. DataError where one leaves its range."""
    mean, scale = (_per_channel(part, inputs.ndim) for part in statistics)
    standardized = np.empty(inputs.shape, np.float32)
    start = 0
    with np.errstate(over="ignore"):
        for chunk in _chunks(inputs):
            standardized[start : start + len(chunk)] = (chunk - mean) / scale
            start += len(chunk)
    standardized += 0  # -0.0 becomes 0.0: equal inputs have equal bytes
    if not np.isfinite(standardized.min()) or not np.isfinite(standardized.max()):
        place = tuple(np.argwhere(~np.isfinite(standardized))[0])
        raise DataError(
            f"the input {inputs[place]:g} in column {', '.join(map(str, place[1:]))} (from 0) leaves the range of "
            "float32 once it is standardized",
            "correct it, rescale the column, or use dataset.standardize=none",
        )
    return standardized


def _per_channel(values: np.ndarray, dims: int) -> np.ndarray:
    """(channels,) -> (1, channels, 1 ...), to go with (n, channels, ...)."""
    return values.reshape(1, -1, *(1 for _ in range(dims - 2)))


def _chunks(inputs: np.ndarray) -> Iterator[np.ndarray]:
    for piece in _pieces(inputs):
        yield np.asarray(piece, np.float64)


def _pieces(inputs: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, CHUNK // prod(inputs.shape[1:]))
    for start in range(0, len(inputs), rows):
        yield inputs[start : start + rows]

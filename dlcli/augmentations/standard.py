"""The augmentations that nearly every image classifier uses: mirror, shift, blank a square."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from dlcli.errors import UsageError
from dlcli.protocols import Augmentation, DataSpec, Visit
from dlcli.registry import register
from dlcli.schema import Natural, Probability

MIXING = 0x9E3779B1  # 2^32 by the golden ratio: bit 31 of its products with 0, 1, 2 ... is a fair coin (Knuth, vol. 3)


@register("augmentation", "standard")
def standard(
    spec: DataSpec, *, flip: Probability | Literal["alternating"], crop: Natural, cutout: Natural
) -> Augmentation:
    """Images mirrored, padded and cropped (He et al. 2015), with a square blanked (DeVries and Taylor 2017).

    A flip that alternates shows each image as it is and mirrored in turn, epoch by epoch, half of the images beginning
    with either, so that two epochs show all there is to see (Jordan 2024, arXiv:2404.00498, section 3.6).
    UsageError where the inputs are no images, or smaller than `crop` or `cutout` needs.
    Differs: the padding of a crop reflects the image, where He et al. pad with zeros.
    """
    if len(spec.shape) != 3:
        raise UsageError(
            f"augmentation=standard changes images; an input of dataset={spec.name} has shape {tuple(spec.shape)}",
            hint="use augmentation=none",
        )
    side = min(spec.shape[1:])
    for setting, value in (("crop", crop), ("cutout", cutout)):
        if value >= side:
            raise UsageError(
                f"augmentation.{setting}={value} is too large for dataset={spec.name}: {side} pixels a side",
                hint=f"use 0 to {side - 1}",
            )

    def augment(inputs: Tensor, generator: Generator, visit: Visit) -> Tensor:  # (batch, channels, height, width)
        if flip or crop:
            shifts = _draw_integers(-crop, crop + 1, (2, len(inputs), 1), inputs, generator) if crop else None
            mirrored = _mirrored(inputs, flip, generator, visit) if flip else None
            inputs = _move(inputs, shifts, mirrored)
        return _blank(inputs, cutout, generator) if cutout else inputs

    return augment


def _mirrored(inputs: Tensor, flip: float | str, generator: Generator, visit: Visit) -> Tensor:
    """(batch, 1) bool: which of the images are mirrored."""
    if flip == "alternating":
        examples = (
            torch.arange(len(inputs), device=inputs.device)
            if isinstance(visit.examples, slice)
            else visit.examples.to(inputs.device)
        )
        return ((examples * MIXING >> 31) + visit.epoch)[:, None] % 2 == 1
    return torch.rand(len(inputs), 1, generator=generator, device=generator.device).to(inputs.device) < flip


def _move(inputs: Tensor, shifts: Tensor | None, mirrored: Tensor | None) -> Tensor:
    """One gather for flip, reflection and shift together: each example has its own source row and column per pixel."""
    height, width = inputs.shape[2:]
    row, column = (_axis(size, inputs) for size in (height, width))  # (1, size)
    if shifts is not None:
        row, column = _reflect(row + shifts[0], height), _reflect(column + shifts[1], width)
    if mirrored is not None:
        column = torch.where(mirrored, column.flip(1), column)
    source = (row.unsqueeze(2) * width + column.unsqueeze(1)).flatten(1)  # (1 or batch, height * width)
    return inputs.flatten(2).gather(2, source.unsqueeze(1).expand(*inputs.shape[:2], -1)).view(inputs.shape)


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions outside [0, size) mirrored at the border pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - position.abs()).abs()


def _blank(inputs: Tensor, side: int, generator: Generator) -> Tensor:
    """A square of zeros (the mean, where inputs are standardized) around a pixel drawn anywhere, cut at the border."""
    batch, _, height, width = inputs.shape
    inside = []
    for size in (height, width):
        start = _draw_integers(0, size, (batch, 1), inputs, generator) - side // 2
        position = _axis(size, inputs)
        inside.append((position >= start) & (position < start + side))  # (batch, size)
    square = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return inputs.masked_fill(square.unsqueeze(1), 0.0)


def _axis(size: int, inputs: Tensor) -> Tensor:
    return torch.arange(size, device=inputs.device).unsqueeze(0)


def _draw_integers(low: int, high: int, shape: tuple[int, ...], inputs: Tensor, generator: Generator) -> Tensor:
    return torch.randint(low, high, shape, generator=generator, device=generator.device).to(inputs.device)

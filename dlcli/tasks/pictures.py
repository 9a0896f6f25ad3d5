"""Examples as pixels, (height, width, 3) uint8, for TensorBoard and files. Drawn by hand: a figure takes seconds."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

EDGE = 1  # pixels between pictures
LEAST_SIDE = 24  # smaller pictures are enlarged to about this many pixels
GREATEST = 400  # images of a grid
BINS = 160  # of a density over the plane, in each direction
# From dark to bright, evenly spaced: readable in grey and by the colour-blind.
COLOURS = np.array([[13, 8, 60], [84, 20, 120], [160, 40, 110], [225, 90, 70], [250, 170, 50], [252, 250, 190]])


def looks_like_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3


def grid(images: Tensor, columns: int = 8) -> np.ndarray:
    """images: (n, channels, height, width) in [0, 1], row by row; what lies outside is cut off."""
    pixels = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu().numpy()
    pixels = np.moveaxis(pixels[:, :3] if pixels.shape[1] >= 3 else np.repeat(pixels[:, :1], 3, 1), 1, -1)
    factor = max(1, round(LEAST_SIDE / pixels.shape[1]))
    pixels = pixels.repeat(factor, 1).repeat(factor, 2)
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + EDGE) - EDGE, columns * (width + EDGE) - EDGE, 3), 255, np.uint8)
    for place, picture in enumerate(pixels):
        top, left = place // columns * (height + EDGE), place % columns * (width + EDGE)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def picture(examples: np.ndarray) -> np.ndarray | None:
    """Images (n, channels, height, width) as a grid, points of the plane (n, 2) as a scatter; None for others."""
    drawn = torch.from_numpy(examples)
    if looks_like_image(drawn.shape[1:]):
        return grid(drawn[:GREATEST], columns=math.ceil(math.sqrt(min(len(drawn), GREATEST))))
    return scatter(drawn, frame(drawn)) if drawn.shape[1:] == (2,) else None


def frame(points: Tensor) -> tuple[Tensor, Tensor]:
    """Lower left and upper right corner of a square that holds points (n, 2), with a margin."""
    centre, half = (points.amax(0) + points.amin(0)) / 2, 0.55 * (points.amax(0) - points.amin(0)).amax()
    return centre - half, centre + half


def lattice(corners: tuple[Tensor, Tensor]) -> Tensor:
    """(BINS^2, 2) centres of cells, row by row from the top."""
    low, high = corners
    steps = (torch.arange(BINS, device=low.device) + 0.5) / BINS
    across, up = (low[axis] + (high[axis] - low[axis]) * steps for axis in (0, 1))
    return torch.stack([across.repeat(BINS), up.flip(0).repeat_interleave(BINS)], 1)


def density_map(values: Tensor) -> np.ndarray:
    """values: (BINS^2,) densities on a lattice, 0 or more. Brightness grows with the root, so that tails show."""
    shares = (values / values.max().clamp(min=1e-30)).sqrt().view(BINS, BINS).cpu().numpy()
    return coloured(shares).repeat(2, 0).repeat(2, 1)


def scatter(points: Tensor, corners: tuple[Tensor, Tensor]) -> np.ndarray:
    """How many of the points (n, 2) fall into each cell."""
    low, high = corners
    cells = ((points - low) / (high - low) * BINS).floor().long()
    cells = cells[((cells >= 0) & (cells < BINS)).all(1)]
    counts = torch.zeros(BINS * BINS, device=points.device)
    counts.index_add_(0, (BINS - 1 - cells[:, 1]) * BINS + cells[:, 0], torch.ones(len(cells), device=points.device))
    return density_map(counts)


def coloured(shares: np.ndarray) -> np.ndarray:
    """(height, width) in [0, 1] -> (height, width, 3) uint8."""
    places = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(shares, places, COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)

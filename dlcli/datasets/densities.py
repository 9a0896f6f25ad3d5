"""Points in the plane whose density is known, to fit densities and to draw from them: the mixtures by which generative
models are told to have lost a mode, and shapes that need more than a few Gaussians.

The entropy, the least mean -log density of any model, stands among the facts wherever it can be had.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import logsumexp

from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Count, Positive

NODES = 48  # of a quadrature in each direction about each mode
CLOSE = 24.0  # deviations beyond which another mode is not felt about this one

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # -> points (n, 2), which part (n,)


@register("dataset", "gaussian_grid")
def gaussian_grid(
    seed: int, *, examples: Count, test_examples: Count, side: Count, spacing: Positive, deviation: Positive
) -> Source:
    """Gaussians on a square grid in the plane, equally likely; 25 of them are the benchmark of lost modes.

    Source: Dumoulin et al. 2016, arXiv:1606.00704; with these numbers Lin et al. 2018, arXiv:1712.04086 (PacGAN).
    """
    places = spacing * (np.arange(side) - (side - 1) / 2)
    modes = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    return mixture(seed, modes, deviation, examples, test_examples)


@register("dataset", "gaussian_ring")
def gaussian_ring(
    seed: int, *, examples: Count, test_examples: Count, modes: Count, radius: Positive, deviation: Positive
) -> Source:
    """Gaussians evenly on a circle in the plane, equally likely; 8 of them are the benchmark of lost modes.

    Source: with these numbers Lin et al. 2018, arXiv:1712.04086 (PacGAN).
    """
    angles = 2 * np.pi * np.arange(modes) / modes
    return mixture(seed, radius * np.stack([np.cos(angles), np.sin(angles)], 1), deviation, examples, test_examples)


@register("dataset", "pinwheel")
def pinwheel(
    seed: int,
    *,
    examples: Count,
    test_examples: Count,
    arms: Count,
    radial: Positive,
    tangential: Positive,
    rate: float,
) -> Source:
    """Gaussian arms, bent into a pinwheel. Source: Johnson et al. 2016, arXiv:1603.06277."""

    def draw(source: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        part = source.integers(arms, size=count)
        outwards, across = source.standard_normal((2, count)) * np.array([[radial], [tangential]]) + [[1.0], [0.0]]
        angle = 2 * np.pi * part / arms + rate * np.exp(outwards)
        return rotated(np.stack([outwards, across], 1), angle), part

    return planar(seed, draw, [f"arm {k}" for k in range(arms)], {}, examples, test_examples)


@register("dataset", "checkerboard")
def checkerboard(seed: int, *, examples: Count, test_examples: Count, side: Count) -> Source:
    """Points evenly on the dark squares of a board whose squares have side 1; the entropy is the log of their area."""
    dark = np.argwhere(np.add.outer(np.arange(side), np.arange(side)) % 2 == 0)

    def draw(source: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        part = source.integers(len(dark), size=count)
        return dark[part] + source.random((count, 2)) - side / 2, part

    truth = {"entropy": math.log(len(dark)), "method": "closed form"}
    return planar(seed, draw, [f"square {k}" for k in range(len(dark))], truth, examples, test_examples)


def mixture(seed: int, modes: np.ndarray, deviation: float, examples: int, test_examples: int) -> Source:
    """modes: (k, 2) means of equally likely Gaussians with the same deviation in each direction."""

    def draw(source: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        part = source.integers(len(modes), size=count)
        return modes[part] + deviation * source.standard_normal((count, 2)), part

    truth = {
        "modes": modes.tolist(),
        "deviation": deviation,
        "entropy": mixture_entropy(modes, deviation),
        "method": "quadrature",
    }
    return planar(seed, draw, [f"mode {k}" for k in range(len(modes))], truth, examples, test_examples)


def mixture_entropy(modes: np.ndarray, deviation: float) -> float:
    """Nats: the mean over the modes of -log density, each by Gauss-Hermite quadrature about it."""
    nodes, weights = hermegauss(NODES)
    steps = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    shares = np.outer(weights, weights).ravel() / (2 * np.pi)
    total = 0.0
    for mode in modes:
        away = (mode - modes) / deviation
        near = away[np.linalg.norm(away, axis=1) < CLOSE]
        squares = np.sum((steps[:, None] + near) ** 2, -1)  # (nodes, near modes)
        total += float(shares @ -logsumexp(-squares / 2, axis=1))
    return total / len(modes) + math.log(len(modes)) + math.log(2 * math.pi * deviation**2)


def planar(seed: int, draw: Draw, parts: list[str], truth: dict[str, Any], examples: int, test_examples: int) -> Source:
    """Training and test examples from independent streams; the class of a point is the part that it was drawn from."""
    train, test = (
        Examples(*draw(np.random.default_rng([seed, purpose]), count))
        for purpose, count in ((1, examples), (2, test_examples))
    )
    if len(parts) == 1:  # there is nothing to tell apart
        train, test = (part._replace(targets=np.zeros((len(part.inputs), 1))) for part in (train, test))
        parts = []
    return Source(train, test, classes=tuple(parts), truth=truth, origin=f"generated, dataset.seed={seed}")


def rotated(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * points[:, 0] - sine * points[:, 1], sine * points[:, 0] + cosine * points[:, 1]], 1)

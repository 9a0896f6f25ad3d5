"""The least risk that any classifier can reach, where the densities of the classes are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.integrate import quad
from scipy.special import entr, logsumexp

PANEL = 16  # nodes of a Gauss-Legendre panel
REACH = 9.0  # deviations beyond which a Gaussian is left out, mass 1e-18
STEPS = 12  # grid points per deviation; more than smooth integrands need, for the kinks of the error
GREATEST_WORK = 1e10  # multiplications, about two seconds
TURN = np.array([[np.cos(1), np.sin(1)], [-np.sin(1), np.cos(1)]])  # the grid must not run along a kink
TINY = 1e-300  # mass of a grid cell that is left out
ROWS = 64  # of the grid at a time


Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (class, position in [0, 1]) -> points (n, 2)


class BayesRisk(NamedTuple):
    """Under equal shares of the classes."""

    error: float  # fraction
    loss: float  # cross-entropy, nats
    entropy: float | None = None  # of the inputs, all classes together, nats; None: not computed

    def truth(self, method: str) -> dict[str, Any]:
        known = {} if self.entropy is None else {"entropy": self.entropy}
        return {"bayes_error": self.error, "bayes_loss": self.loss, **known, "method": method}


def panels(count: int) -> tuple[np.ndarray, np.ndarray]:
    """At least `count` nodes in [0, 1] with weights that sum to 1, exact for polynomials on each of several panels."""
    nodes, weights = leggauss(PANEL)
    pieces = -(-count // PANEL)
    starts = np.arange(pieces)[:, None]
    return ((starts + (nodes + 1) / 2) / pieces).ravel(), np.tile(weights / 2, pieces) / pieces


def of_blurred_curves(curve: Curve, classes: int, length: float, noise: float) -> BayesRisk | None:
    """Classes that are curves in the plane, blurred by Gaussian noise of deviation `noise` in each coordinate.

    `length` bounds that of each curve. A Gaussian in the plane is a product, so the densities on a grid are matrix
    products; the trapezoidal rule on it converges fast because densities are smooth. None where the noise is so
    small that the grid would take too long.
    """
    outline = np.concatenate([curve(np.full(200, k), np.linspace(0, 1, 200)) @ TURN for k in range(classes)])
    low, high = outline.min(0) - REACH * noise, outline.max(0) + REACH * noise
    step = noise / STEPS
    with np.errstate(over="ignore"):
        if (2 * length / noise + 64) * np.prod((high - low) / step) * classes > GREATEST_WORK:
            return None
    nodes, weights = panels(int(2 * length / noise) + 64)
    curves = [curve(np.full(len(nodes), k), nodes) @ TURN for k in range(classes)]
    first, second = (np.arange(low[axis], high[axis] + step, step) for axis in (0, 1))
    scale = step * step / (2 * np.pi * noise * noise)
    right = [np.exp(-0.5 * ((points[:, 1:] - second) / noise) ** 2) for points in curves]  # (nodes, grid)
    error = loss = entropy = 0.0
    for start in range(0, len(first), ROWS):
        rows = first[start : start + ROWS, None]
        left = [np.exp(-0.5 * ((rows - points[:, 0]) / noise) ** 2) * weights for points in curves]  # (rows, nodes)
        mass = np.stack([a @ b for a, b in zip(left, right, strict=True)]) * scale  # (classes, rows, grid)
        error += float(np.sort(mass, 0)[:-1].sum())
        others = np.maximum(mass.sum(0) - mass, 0)
        ratio = np.divide(others, mass, out=np.zeros_like(mass), where=mass > TINY)
        loss += float((mass * np.log1p(ratio)).sum())
        entropy += float(entr(mass.sum(0) / classes).sum())
    return BayesRisk(error / classes, loss / classes, entropy + 2 * float(np.log(step)))


def of_polygon(classes: int, radius: float) -> BayesRisk:
    """Gaussians of unit deviation whose means stand evenly on a circle.

    The error is that of phase-shift keying (Craig 1991, "A new, simple and exact result for calculating the
    probability of error for two-dimensional signal constellations", eq. 4); for two classes it is Phi(-radius).
    """
    sine = np.sin(np.pi / classes)

    def integrand(angle: float) -> float:
        return float(np.exp(-0.5 * (radius * sine / np.sin(angle)) ** 2) / np.pi)

    error, _ = quad(integrand, 0, np.pi - np.pi / classes, epsabs=1e-13, epsrel=1e-11)
    means = polygon(classes, radius)
    axis = np.linspace(-REACH, REACH, 361)
    x, y = np.meshgrid(axis, axis)
    density = np.exp(-(x**2 + y**2) / 2)
    points = np.stack([x + means[0, 0], y + means[0, 1]], -1)
    scores = points @ means.T  # (grid, grid, classes); |x - mean|^2 / 2 up to what all classes share
    rows = logsumexp(scores - scores[..., :1], axis=-1)
    return BayesRisk(error, float((density * rows).sum() / density.sum()))


def polygon(classes: int, radius: float) -> np.ndarray:
    """-> (classes, 2)"""
    angles = 2 * np.pi * np.arange(classes) / classes
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)

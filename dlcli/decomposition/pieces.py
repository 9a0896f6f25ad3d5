"""Lower bounds for networks of a single input number: piecewise linear units make piecewise linear functions.

A two-layer network of m units with one breakpoint each (ReLU, leaky ReLU, absolute value) is linear on m + 1
intervals. Dropping continuity leaves the functions that are linear on m + 1 intervals of the data; their least squared
error is a dynamic programme (Bellman 1961; the segmented least squares of the textbooks), and no network is below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-12  # of a segment's cost, relative to the squares in it
MOST_PATTERNS = 10  # knots up to which all directions of the units are tried


class Segments(NamedTuple):
    """The best piecewise linear fit, discontinuous."""

    floor: float  # mean squared error, summed over the targets of an example; rounded down
    starts: tuple[int, ...]  # where each piece begins, as an index into the sorted inputs
    knots: tuple[float, ...]  # inputs between neighbouring pieces


def pieces(widths: Sequence[int], breakpoints: int = 1) -> int:
    """Most linear pieces of a network of one input with these hidden layers, `breakpoints` in each unit's activation.

    On a piece each unit of the next layer is its activation of a linear function, so it breaks at most `breakpoints`
    times: a layer of w units makes at most 1 + breakpoints w pieces of one.
    """
    return math.prod(1 + breakpoints * width for width in widths)


def piecewise_floor(inputs: np.ndarray, targets: np.ndarray, most: int) -> Segments:
    """The least mean squared error over all functions that are linear on at most `most` intervals.

    inputs: (n,); targets: (n,) or (n, t). O(n^2 most) time and O(n^2) memory. Equal inputs stay in one piece.
    """
    order = np.argsort(inputs, kind="stable")
    x, y = np.asarray(inputs, np.float64)[order], np.asarray(targets, np.float64).reshape(len(inputs), -1)[order]
    n = len(x)
    cost = segment_costs(x, y)
    cuts = np.flatnonzero(np.r_[True, x[1:] > x[:-1]])  # where a piece may begin
    best = cost[0]  # best[j]: cost of the examples 0..j with the pieces so far
    choices: list[np.ndarray] = []
    for _ in range(min(most, len(cuts)) - 1):
        before = np.r_[0.0, best[:-1]][cuts][:, None] + cost[cuts]  # (cuts, n): the last piece begins at the cut
        choice = before.argmin(0)
        choices.append(cuts[choice])
        best = before[choice, np.arange(n)]
    starts, end = [], n - 1
    for chosen in reversed(choices):
        start = int(chosen[end])
        if start == 0:
            break
        starts.append(start)
        end = start - 1
    starts.reverse()
    knots = tuple(float(x[start - 1] + x[start]) / 2 for start in starts)
    return Segments(float(best[-1]) / n, (0, *starts), knots)


def segment_costs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, n): squared error of the best line through the examples i..j, inf for j < i.

    All segments grow by one example at a time (Welford 1962), about their own means: no difference of large sums.
    """
    n, width = y.shape
    cost = np.full((n, n), np.inf)
    mean_x, mean_y = np.zeros(n), np.zeros((n, width))
    xx, yy, xy = np.zeros(n), np.zeros(n), np.zeros((n, width))
    for j in range(n):
        old = slice(0, j + 1)
        count = np.arange(j + 1, 0, -1.0)
        dx, dy = x[j] - mean_x[old], y[j] - mean_y[old]
        mean_x[old] += dx / count
        mean_y[old] += dy / count[:, None]
        weight = (count - 1) / count
        xx[old] += weight * dx**2
        xy[old] += (weight * dx)[:, None] * dy
        yy[old] += weight * np.sum(dy**2, axis=1)
        explained = np.divide(np.sum(xy[old] ** 2, axis=1), xx[old], out=np.zeros(j + 1), where=xx[old] > 0)
        cost[old, j] = np.maximum(0, yy[old] - explained - ROUNDING * yy[old])
    return cost


def hinge_fit(inputs: np.ndarray, targets: np.ndarray, knots: Sequence[float]) -> tuple[float, np.ndarray]:
    """A two-layer ReLU network with a bias and one unit per knot: the best over output weights and unit directions.

    -> mean squared error of a member of the class, and the function's values (n, t) at the inputs. Every choice of
    directions is tried for up to 10 knots, else units face right. One knot left of the data is the linear part.
    """
    x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64).reshape(len(inputs), -1)
    signs = product((1, -1), repeat=len(knots)) if len(knots) <= MOST_PATTERNS else [(1,) * len(knots)]
    best, values = math.inf, y
    for pattern in signs:
        units = np.maximum(0, (x[:, None] - np.asarray(knots)) * pattern)
        design = np.column_stack([units, np.ones(len(x))])
        fitted = design @ np.linalg.lstsq(design, y)[0]
        error = float(np.mean(np.sum((fitted - y) ** 2, axis=1)))
        if error < best:
            best, values = error, fitted
    return best, values

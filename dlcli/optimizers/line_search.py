"""A step length that satisfies the strong Wolfe conditions: enough decrease, and a slope that has flattened."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

DECREASE = 1e-4  # c1 of Nocedal and Wright: least decrease, as a share of what the first slope promises
CURVATURE = 0.9  # c2: greatest slope left, as a share of the first; 0.9 suits quasi-Newton directions
EVALUATIONS = 25


class Point(NamedTuple):
    """The objective along a direction, at `length` of it."""

    length: float
    value: float
    slope: float
    gradient: Tensor  # (size,)


def strong_wolfe(evaluate: Callable[[float], Point], start: Point, trial: float) -> Point:
    """The accepted point; `start` itself (length 0) if rounding leaves nothing to gain.

    Algorithms 3.5 and 3.6 of Nocedal and Wright (2006), with minima of cubic interpolants as trials. A value that is
    not finite counts as too high, so a first step too long is shortened.
    """
    previous, spent = start, 0
    while spent < EVALUATIONS:
        point = evaluate(trial)
        spent += 1
        if not _decreases(point, start) or (spent > 1 and point.value >= previous.value):
            return _zoom(evaluate, start, previous, point, EVALUATIONS - spent)
        if _flat(point, start):
            return point
        if point.slope >= 0:
            return _zoom(evaluate, start, point, previous, EVALUATIONS - spent)
        longest = 10 * point.length
        minimum = _cubic_minimum(previous, point)
        trial = longest if math.isnan(minimum) else min(max(minimum, 1.1 * point.length), longest)
        previous = point
    return previous


def _zoom(evaluate: Callable[[float], Point], start: Point, low: Point, high: Point, budget: int) -> Point:
    """`low` is the best point so far that decreases enough, and a good length lies between `low` and `high`."""
    for _ in range(budget):
        width = high.length - low.length
        minimum = _cubic_minimum(low, high)
        share = (minimum - low.length) / width if width else math.nan
        if math.isnan(share):
            share = 0.5
        trial = low.length + min(max(share, 0.1), 0.9) * width
        if trial in (low.length, high.length):  # the interval is down to rounding
            break
        point = evaluate(trial)
        if not _decreases(point, start) or point.value >= low.value:
            high = point
        elif _flat(point, start):
            return point
        else:
            if point.slope * width >= 0:
                high = low
            low = point
    return low


def _decreases(point: Point, start: Point) -> bool:
    return math.isfinite(point.slope) and point.value <= start.value + DECREASE * point.length * start.slope


def _flat(point: Point, start: Point) -> bool:
    return abs(point.slope) <= -CURVATURE * start.slope


def _cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic through two values and slopes is least (equation 3.59); nan if it has no minimum."""
    if not (math.isfinite(b.value) and math.isfinite(b.slope)) or a.length == b.length:
        return math.nan
    first = a.slope + b.slope - 3 * (a.value - b.value) / (a.length - b.length)
    square = first * first - a.slope * b.slope
    if square < 0:
        return math.nan
    second = math.copysign(math.sqrt(square), b.length - a.length)
    bottom = b.slope - a.slope + 2 * second
    return b.length - (b.length - a.length) * (b.slope + second - first) / bottom if bottom else math.nan

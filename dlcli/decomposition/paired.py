"""Are two ways of training different? Differences paired by seed, or by test example, with their tests.

Runs with one seed share initial weights and batches, so only what is compared differs within a pair. The difference of
two optimization terms of one class is the difference of the train risks: exact for these runs, whatever min_F L_tr is.
Over seeds it is a sample; everything here is about that sample.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # `special` takes a fifth of a second to load, and does where it is named first

from dlcli.decomposition.intervals import LEVEL, mean_interval, quantile

ALPHA = 1 - LEVEL
FEWEST = 6  # seeds below which no two-sided exact test reaches 5 %: 2 / 2^5 = 0.0625
ENUMERATED = 16  # seeds up to which all sign patterns are tried; above, as many are drawn
DRAWN = 100_000
TOO_FEW, LOWER, HIGHER, NO_DIFFERENCE = "too few seeds to tell", "lower", "higher", "no difference shown"


class Difference(NamedTuple):
    """First minus second, over the seeds that both finished."""

    mean: float | None
    ci: tuple[float, float] | None  # t interval of the mean over seeds, at LEVEL; None for fewer than two pairs
    pairs: int
    lost: int  # seeds of which only one of the two has a finite result; a failure is no average
    t_p: float | None
    sign_flip_p: float | None
    adjusted_p: float | None = None  # sign flips, corrected for the number of comparisons
    verdict: str = TOO_FEW  # of the first: lower, higher, or neither


def difference(first: Mapping[Hashable, float | None], second: Mapping[Hashable, float | None]) -> Difference:
    """Compare two arms of one experiment.

    first, second: seed -> result; None or a non-finite number is a failed run.
    """
    left, right = finished(first), finished(second)
    shared = sorted(left.keys() & right.keys(), key=str)
    lost = sum((seed in left) != (seed in right) for seed in first.keys() & second.keys())
    deltas = np.array([left[seed] - right[seed] for seed in shared], np.float64)
    n = len(deltas)
    if n < 2:
        return Difference(float(deltas[0]) if n else None, None, n, lost, None, None)
    return Difference(float(deltas.mean()), t_interval(deltas), n, lost, t_test(deltas), sign_flip_test(deltas))


def finished(arm: Mapping[Hashable, float | None]) -> dict[Hashable, float]:
    return {seed: value for seed, value in arm.items() if value is not None and math.isfinite(value)}


def judged(differences: Sequence[Difference], alpha: float = ALPHA) -> list[Difference]:
    """The same with verdicts: sign-flip tests corrected for their number (Holm 1979), wrong at most at rate alpha in
    the whole family. With k comparisons at least `seeds_needed(k)` seeds can decide anything.
    """
    tested = [found.sign_flip_p for found in differences if found.sign_flip_p is not None]
    adjusted = iter(holm(tested))
    needed = seeds_needed(len(tested), alpha)
    judgements = []
    for found in differences:
        p = None if found.sign_flip_p is None else next(adjusted)
        judgements.append(found._replace(adjusted_p=p, verdict=verdict(found, p, needed, alpha)))
    return judgements


def verdict(found: Difference, adjusted: float | None, needed: int, alpha: float) -> str:
    if adjusted is not None and adjusted <= alpha:
        return LOWER if found.mean is not None and found.mean < 0 else HIGHER
    return TOO_FEW if found.pairs < needed else NO_DIFFERENCE


def seeds_needed(comparisons: int, alpha: float = ALPHA) -> int:
    """Fewest pairs whose clearest outcome, all differences of one sign, survives the correction."""
    return max(FEWEST, math.ceil(math.log2(2 * max(1, comparisons) / alpha) - 1e-9))


def t_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of (n,) independent values, n >= 2."""
    half = quantile(len(values) - 1, level) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def t_test(deltas: np.ndarray) -> float:
    spread = float(deltas.std(ddof=1)) / math.sqrt(len(deltas))
    if spread == 0:
        return 1.0 if deltas[0] == 0 else 0.0
    return 2 * float(scipy.special.stdtr(len(deltas) - 1, -abs(float(deltas.mean())) / spread))


def sign_flip_test(deltas: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of the mean under independent sign flips (Fisher 1935): exact where the pairs are exchangeable.

    For more than 16 pairs 100000 patterns are drawn, the observed one counted among them.
    """
    n, observed = len(deltas), abs(float(deltas.sum()))
    exact = n <= ENUMERATED
    if exact:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        patterns = np.random.default_rng(seed).integers(2, size=(DRAWN, n))
    sums = np.abs((2 * patterns - 1) @ deltas)
    extreme = int(np.sum(sums >= observed - 1e-12 * np.abs(deltas).sum()))  # rounding may not part ties
    return extreme / 2**n if exact else (extreme + 1) / (DRAWN + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that bound the chance of any false rejection among them (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


class SameTestSet(NamedTuple):
    """Risk of the first function minus that of the second, on the same test examples."""

    difference: float
    ci: tuple[float, float]
    p: float | None  # McNemar's exact test for 0-1 errors; None for other losses
    method: str


def same_test_set(first: np.ndarray, second: np.ndarray, unit: str) -> SameTestSet:
    """Compare two fixed functions by their per-example losses (n,) on one test set, example by example."""
    deltas = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    ci, method = mean_interval(deltas)
    if unit != "fraction":
        return SameTestSet(float(deltas.mean()), ci, None, f"{method} of paired differences")
    from scipy.stats import binomtest  # a second to import, and only here

    worse, better = int(np.sum(deltas > 0)), int(np.sum(deltas < 0))
    p = float(binomtest(worse, worse + better).pvalue) if worse + better else 1.0
    return SameTestSet(float(deltas.mean()), ci, p, f"McNemar (exact), {method} of paired differences")


def apart(first: tuple[float, float], second: tuple[float, float]) -> str:
    """Two classes by their intervals of min_F L_tr: an advantage is claimed only where they are disjoint."""
    if first[1] < second[0]:
        return LOWER
    return HIGHER if second[1] < first[0] else NO_DIFFERENCE

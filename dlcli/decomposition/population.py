"""The population side: risks on the distribution instead of the training set, where bounds or the generator allow it.

    R(f) - R* = [R_F* - R*] + [R(f_erm) - R_F*] + [R(f) - R(f_erm)]     (Bottou & Bousquet 2008)
                approximation  estimation         optimization

R* is the Bayes risk, R_F* the best of the class on the distribution, f_erm a minimizer of the training risk. None of
these is a term of the training identity: E[min_F L_tr] <= R_F* (a minimum is optimistic), and the lecture's
generalization is estimation + optimization - (R_F* - min_F L_tr) - [L_tr(f) - min_F L_tr].
"""

from __future__ import annotations

import math
from typing import NamedTuple

from dlcli.decomposition.intervals import LEVEL, Interval


class BestInClass(NamedTuple):
    interval: Interval
    level: float  # of both ends together
    method: str = "McDiarmid below, sampling of the test set above"


def best_in_class(lower: float, test_upper: float, n_train: int, greatest: float, level: float = LEVEL) -> BestInClass:
    """An interval that holds R_F* = inf_F R with probability `level`, without knowing the generator.

    lower: a certified lower bound of min_F L_tr, for a loss between 0 and `greatest` (0-1 error: 1). Changing one of
    the n_train examples moves the minimum by at most greatest/n, so it lies above its mean by no more than
    `optimism`, and its mean is at most R_F*. test_upper: upper end of a two-sided interval of that level for R(f) of
    any f in F, on examples that chose nothing.
    """
    low = max(0.0, lower - optimism(n_train, greatest, (1 - level) / 2))
    return BestInClass(Interval(low, max(low, test_upper)), level)


def optimism(n: int, greatest: float, delta: float) -> float:
    """How far min_F L_tr can lie above its own mean, except with probability delta (McDiarmid 1989)."""
    return greatest * math.sqrt(math.log(1 / delta) / (2 * n))


class Excess(NamedTuple):
    """R(f) - R* in three parts, each an interval; a known number has equal ends."""

    bayes: float
    approximation: Interval
    estimation: Interval
    optimization: Interval


def excess(risk: Interval, bayes: float, best: Interval, minimizer: Interval) -> Excess:
    """The terms of Bottou & Bousquet from intervals of R(f), of R_F* and of R(f_erm).

    R_F* is at least R* and at most the other two, so the ends are cut to that; the parts add up for any one choice of
    the numbers within the intervals, not end by end.
    """
    best = Interval(max(best.low, bayes), max(bayes, min(best.high, risk.high, minimizer.high)))
    return Excess(
        bayes,
        Interval(best.low - bayes, best.high - bayes),
        Interval(max(0.0, minimizer.low - best.high), minimizer.high - best.low),
        Interval(risk.low - minimizer.high, risk.high - minimizer.low),
    )


def known(value: float) -> Interval:
    return Interval(value, value)


def parametric_gap(parameters: int, n: int) -> float:
    """Expected L_te - L_tr of a maximum-likelihood fit of a well-specified regular model, in nats (Akaike 1974).

    A line to compare with, for many more examples than parameters; it is no bound.
    """
    return parameters / n

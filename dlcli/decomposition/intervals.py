"""How far a mean over a finite test set may lie from the risk it estimates, for one fixed function.

Sampling of test examples only: initial weights, batch order and the training set are other sources of variation and
are never mixed in here. Windows of one text depend on their neighbours: blocks of them are resampled, not each alone.
"""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import scipy  # `special` takes a fifth of a second to load, and does where it is named first

LEVEL = 0.95
RESAMPLES = 5000
EXPANDED = 350  # degrees of freedom from which five terms give Student's t to twelve digits
GREATEST_BOOTSTRAP = 10_000  # units; above it Student's interval is as good and 1000 times cheaper
RESAMPLING_BLOCK = 2_000_000  # numbers drawn at once, 16 MB
TAIL = 0.01  # share of the examples whose weight in the mean is reported


class Interval(NamedTuple):
    low: float
    high: float


class Sampling(NamedTuple):
    """What an interval must know of the examples, and whether a bootstrap is worth its time."""

    contiguous: bool = False  # neighbouring examples are pieces of one text
    bootstrap: bool = True


INDEPENDENT = Sampling()


class Estimate(NamedTuple):
    """A mean over examples. `ci` is None where the mean is itself the quantity (a train risk), or n is 1."""

    value: float
    n: int
    unit: str
    ci: tuple[float, float] | None = None
    level: float | None = None
    method: str = "mean over the whole split"
    top_share: float | None = None  # share of the sum that the hardest 1 % of the examples carry
    kurtosis: float | None = None  # fourth standardized moment; 3 for a normal distribution


def whole(rows: np.ndarray, unit: str) -> Estimate:
    """The risk on a set that is known completely: no sampling error."""
    return Estimate(float(np.mean(rows, dtype=np.float64)), len(rows), unit)


def sampled(rows: np.ndarray, unit: str, sampling: Sampling = INDEPENDENT, level: float = LEVEL) -> Estimate:
    """The risk on the distribution that the examples were drawn from.

    rows: (n,) per-example values, in the order of the split. Wilson's interval for a fraction of errors, else the BCa
    bootstrap (Efron 1987), for more than 10000 units Student's interval.
    """
    rows = np.asarray(rows, dtype=np.float64)
    value, n = float(rows.mean()), len(rows)
    if unit == "fraction":
        return Estimate(value, n, unit, wilson(round(float(rows.sum())), n, level), level, "Wilson")
    if n < 2:
        return Estimate(value, n, unit, None, level, "none: a single example")
    ci, method = mean_interval(rows, sampling, level)
    return Estimate(value, n, unit, ci, level, method, top_share(rows), kurtosis(rows))


def wilson(errors: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a probability from `errors` in `n` independent trials (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = errors / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (0.0 if errors == 0 else centre - half, 1.0 if errors == n else centre + half)


def mean_interval(
    rows: np.ndarray, sampling: Sampling = INDEPENDENT, level: float = LEVEL, seed: int = 0
) -> tuple[tuple[float, float], str]:
    """Interval of the mean of the distribution behind `rows`, and the name of the method, with what was resampled."""
    if rows.min() == rows.max():
        return (float(rows[0]), float(rows[0])), "none: all examples alike"
    units, of_what = rows, ""
    if sampling.contiguous:
        units = blocks(rows)
        of_what = f" over {len(units)} blocks of {len(rows) // len(units)} neighbouring examples"
    if sampling.bootstrap and len(units) <= GREATEST_BOOTSTRAP:
        low, high = bca(units, level, seed)
        if math.isfinite(low) and math.isfinite(high):
            return (low, high), f"BCa bootstrap{of_what}"
    error = float(units.std(ddof=1)) / math.sqrt(len(units))
    half = quantile(len(units) - 1, level) * error
    instead = len(units) <= GREATEST_BOOTSTRAP and not sampling.bootstrap
    name = f"Student's t{' in place of the longer bootstrap' if instead else ''}{of_what}"
    return (float(rows.mean()) - half, float(rows.mean()) + half), name


def quantile(degrees: int, level: float) -> float:
    """Of Student's t, two-sided; for many degrees expanded about that of the normal distribution, which needs no scipy.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 1964, 26.7.5.
    """
    if degrees < EXPANDED:
        return float(scipy.special.stdtrit(degrees, 0.5 + level / 2))
    z = NormalDist().inv_cdf(0.5 + level / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


def blocks(rows: np.ndarray) -> np.ndarray:
    """Means of runs of neighbours that are long enough to hardly depend on each other (batch means; Flegal & Jones
    2010, arXiv:0811.1729). (n,) -> (2 n^(1/3),); n of 2 or more.
    """
    count = min(len(rows), round(2 * len(rows) ** (1 / 3)))
    return np.array([part.mean() for part in np.array_split(rows, count)])


def bca(rows: np.ndarray, level: float, seed: int) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap of the mean; the same rows give the same interval. May be NaN.

    Resamples of few rows spread too little: the level is raised as Student's t with the unbiased deviation asks for
    (Hesterberg 2015, arXiv:1411.5279, the expanded percentile interval). (n,) n of 2 or more.
    """
    from scipy.stats import bootstrap  # a second to import, and only here

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate samples: the caller sees NaN
        found = bootstrap(
            (rows,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=expanded(level, len(rows)),
            method="BCa",
            batch=max(1, RESAMPLING_BLOCK // len(rows)),
            rng=np.random.default_rng(seed),
        )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def expanded(level: float, n: int) -> float:
    """Level of a percentile interval of n resampled numbers that covers the mean at `level`, were they normal."""
    wider = scipy.special.stdtrit(n - 1, 0.5 + level / 2) * math.sqrt(n / (n - 1))
    return 2 * float(scipy.special.ndtr(wider)) - 1


def top_share(rows: np.ndarray) -> float | None:
    """Share of the sum carried by the largest 1 % of the rows; near 1 the mean hangs on a few examples."""
    total = float(rows.sum())
    if total <= 0 or rows.min() < 0:
        return None
    return float(np.sort(rows)[-math.ceil(TAIL * len(rows)) :].sum()) / total


def kurtosis(rows: np.ndarray) -> float | None:
    deviations = rows - rows.mean()
    variance = float(np.mean(deviations**2))
    return float(np.mean(deviations**4)) / variance**2 if variance > 0 else None

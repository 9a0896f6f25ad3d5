"""The identity L_te = min_F L_tr + [L_tr - min_F L_tr] + [L_te - L_tr] of one run and one loss, with its intervals.

The identity holds for any number in the middle, so it proves nothing; what is honest here are the two ends of the
interval that holds min_F L_tr, each with the bound it comes from. A midpoint is never formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dlcli.decomposition import cautions
from dlcli.decomposition.cautions import Caution, Circumstances
from dlcli.decomposition.intervals import INDEPENDENT, Estimate, Interval, Sampling, sampled, whole
from dlcli.decomposition.population import BestInClass, Excess
from dlcli.protocols import Bound

TOLERANCE = 1e-9  # of the identity, relative to 1 + |L|
SEPARABLE = 0.1  # greatest width of the interval of min_F L_tr, as a share of the test risk
FLOAT32 = 2.0**-23  # relative rounding of rows that were evaluated in float32
ROUNDINGS = 8  # rounding errors by which a computed risk may undercut a true bound
RESOLUTION = 1e-10  # difference of risks that float64 sums still resolve, relative to 1 + |L|
UNSTEADY = 0.5  # share of the test risk in 1 % of its examples that is worth a word
THIS_RUN = "the run itself"


class Surrogate(NamedTuple):
    """The best minimizer that was found of what the run minimized, where that is not the decomposed loss."""

    train_risk: float  # in the decomposed loss
    method: str
    before: float  # value of that objective at the run's weights
    after: float  # and at the minimizer
    least: Bound | None = None  # what no member undercuts in it


@dataclass(frozen=True)
class Decomposition:
    """The three terms. It refuses to exist (ValueError) unless they sum to the test risk at both ends."""

    loss: str
    train: Estimate
    test: Estimate
    approximation: Interval  # of min_F L_tr; low is -inf without a lower bound
    optimization: Interval
    generalization: float
    generalization_ci: Interval | None
    lower: Bound | None
    upper: Bound
    tried: tuple[Bound, ...] = ()
    resolution: float = 0.0
    bayes: float | None = None  # risk of the best possible function, where the generator is known
    matched_noise: float | None = None  # test risk under the label noise of the training set
    ledger_version: str = ""  # of what other runs had reached when this one was decomposed
    surrogate: Surrogate | None = None
    best_in_class: BestInClass | None = None  # risk on the distribution of the best member
    excess: Excess | None = None  # the terms on the distribution, where the Bayes risk and the minimizer are known
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        scale = 1 + abs(self.test.value) + abs(self.train.value)
        numbers = (self.train.value, self.test.value, self.upper.value, self.generalization)
        refuse(not all(map(math.isfinite, numbers)), f"non-finite risk among {numbers}")
        refuse(self.residual > TOLERANCE * scale, f"the parts miss the test risk by {self.residual:.3e}")
        refuse(self.approximation.low > self.approximation.high, f"min_F L_tr in an empty {self.approximation}")
        refuse(self.approximation.high > self.train.value + TOLERANCE * scale, "min_F L_tr above the run's train risk")
        refuse(self.optimization.low < -TOLERANCE * scale, f"negative optimization term {self.optimization}")

    @property
    def residual(self) -> float:
        """Greatest departure of the sum of the parts from the test risk, over the ends that are finite."""
        ends = zip(self.approximation, reversed(self.optimization), strict=True)
        sums = [low + high + self.generalization for low, high in ends if math.isfinite(low)]
        return max(abs(total - self.test.value) for total in sums)

    @property
    def kappa(self) -> float | None:
        """Width of the interval of min_F L_tr as a share of the test risk; None where that says nothing."""
        width = self.approximation.high - self.approximation.low
        if width == 0:
            return 0.0
        return width / self.test.value if math.isfinite(width) and self.test.value > 0 else None

    @property
    def separable(self) -> bool:
        return self.kappa is not None and self.kappa <= SEPARABLE

    @property
    def solver_error(self) -> float | None:
        """L_tr(f) - L_tr(f_J), with f_J the minimizer of the run's objective J; negative where decay costs more."""
        return None if self.surrogate is None else self.train.value - self.surrogate.train_risk

    @property
    def surrogate_bias(self) -> Interval | None:
        """L_tr(f_J) - min_F L_tr: what J itself gives away. Both sum to the optimization term."""
        if self.surrogate is None:
            return None
        return Interval(*(self.surrogate.train_risk - end for end in reversed(self.approximation)))

    @property
    def infimum_not_attained(self) -> bool:
        return self.upper.attained is False

    @property
    def below_resolution(self) -> bool:
        return self.optimization.high < self.resolution


def refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise ValueError(f"not a decomposition: {why}")


def decompose(
    train_rows: np.ndarray,
    test_rows: np.ndarray,
    bounds: Iterable[Bound],
    *,
    loss: str,
    unit: str,
    circumstances: Circumstances,
    sampling: Sampling = INDEPENDENT,
    rounding: float = FLOAT32,
    bayes: float | None = None,
    matched_noise: float | None = None,
) -> Decomposition:
    """Decompose the test risk of the run whose per-example losses are given.

    train_rows, test_rows: (n,), evaluation mode, whole split, plain loss. bounds: of min_F L_tr in this loss, on this
    training set. sampling: of the test examples. rounding: relative precision of a row; a computed risk that undercuts
    a lower bound by no more than that rounds the bound down, which keeps it valid. A lower bound above an upper one
    beyond it is a ValueError.
    """
    train, test = whole(train_rows, unit), sampled(test_rows, unit, sampling)
    scale = 1 + abs(train.value)
    itself = Bound("upper", train.value, "certified", THIS_RUN)
    tried = tuple(bounds)
    usable = [bound for bound in tried if bound.kind != "heuristic"]
    uppers = [bound for bound in usable if bound.side == "upper"]
    lowers = [bound for bound in usable if bound.side == "lower"]
    upper = min([*uppers, itself], key=lambda bound: bound.value)
    lower = max(lowers, key=lambda bound: bound.value, default=None)
    low = -math.inf if lower is None else lower.value
    excess = low - upper.value
    refuse(
        excess > ROUNDINGS * rounding * scale,
        f"lower bound {low!r} ({lower and lower.method}) above upper bound {upper.value!r} ({upper.method})",
    )
    approximation = Interval(min(low, upper.value), upper.value)
    gap = test.value - train.value
    parts = Decomposition(
        loss=loss,
        train=train,
        test=test,
        approximation=approximation,
        optimization=Interval(train.value - approximation.high, train.value - approximation.low),
        generalization=gap,
        generalization_ci=None if test.ci is None else Interval(*(end - train.value for end in test.ci)),
        lower=lower,
        upper=upper,
        tried=tried,
        resolution=0.0 if unit == "fraction" else max(rounding, RESOLUTION) * scale,  # a count of errors is exact
        bayes=bayes,
        matched_noise=matched_noise,
    )
    return replace(parts, warnings=tuple(warnings(parts, circumstances)))


def warnings(parts: Decomposition, circumstances: Circumstances) -> list[Caution]:
    found = cautions.of_circumstances(circumstances)
    if not any(bound.side == "upper" and bound.method != THIS_RUN for bound in parts.tried):
        found.append(cautions.one_run_pool())
    if not parts.separable:
        found.append(cautions.not_separable(parts.kappa))
    if parts.infimum_not_attained:
        found.append(cautions.infimum_not_attained())
    if parts.below_resolution:
        found.append(cautions.below_resolution(parts.resolution))
    if parts.test.top_share is not None and parts.test.top_share > UNSTEADY:
        found.append(cautions.heavy_tail(parts.test.top_share))
    return found

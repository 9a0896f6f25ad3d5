"""The estimator against known truth: the identity holds for any number in the middle, so only this can validate it.

No check trains a network; each draws or generates a problem, decomposes members of a class as a run would be, and
compares what is reported with closed forms. Other seeds draw other problems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dlcli.decomposition import exact_checks, law_checks, sampling_checks
from dlcli.decomposition.exact_checks import Verdict

Check = Callable[[np.random.Generator], Verdict]


class Outcome(NamedTuple):
    name: str
    passed: bool
    detail: str  # the numbers, and the known ones beside them
    seconds: float = 0.0


CHECKS: Mapping[str, Check] = {
    "least squares below the interpolation threshold": sampling_checks.least_squares_below_the_threshold,
    "least squares above the interpolation threshold": sampling_checks.least_squares_above_the_threshold,
    "softmax regression on MNIST-1D closed to 1e-6": exact_checks.softmax_on_mnist1d,
    "deep linear network and autoencoder": exact_checks.deep_linear,
    "linear variational autoencoder, one negative": exact_checks.linear_vaes,
    "planted label conflicts": exact_checks.planted_conflicts,
    "soft targets": exact_checks.soft_targets,
    "floor under an invariance": exact_checks.hidden_order,
    "separable data: the infimum is not attained": exact_checks.separable_classes,
    "separability of random labels": sampling_checks.random_labels,
    "a tiny learning rate is optimization error": exact_checks.learning_rates,
    "ReLU network of one input, width 8": exact_checks.relu_on_a_line,
    "weight-decayed ReLU network, exact": exact_checks.relu_with_decay,
    "two Gaussians and their Bayes risk": sampling_checks.two_gaussians,
    "law: data twice": law_checks.data_twice,
    "law: scaled targets": law_checks.scaled_targets,
    "law: permuted and mixed features": law_checks.mixed_features,
    "law: order of the examples": law_checks.order_of_examples,
    "law: train set as test set": law_checks.train_as_test,
    "law: wider classes are no worse": law_checks.nested_classes,
    "law: every loss has its own bounds": law_checks.no_mixing_of_losses,
    "law: parameters prove no interpolation": law_checks.parameters_are_no_proof,
    "law: heuristics end no interval": law_checks.heuristics_end_nothing,
    "coverage of error rates": sampling_checks.coverage_of_errors,
    "coverage of losses": sampling_checks.coverage_of_losses,
    "coverage of losses that depend on their neighbours": sampling_checks.coverage_of_neighbours,
    "identical optimizers": sampling_checks.identical_optimizers,
}


def outcomes(seed: int = 0, checks: Mapping[str, Check] = CHECKS) -> Iterator[Outcome]:
    """One outcome per check, as it comes. A check that raises has failed, and says how."""
    for position, (name, check) in enumerate(checks.items()):
        start = time.perf_counter()
        try:
            passed, detail = check(np.random.default_rng([seed, position]))
        except Exception as error:  # the table must go on, and the reader see which line broke
            passed, detail = False, f"{type(error).__name__}: {error}"
        yield Outcome(name, bool(passed), detail, time.perf_counter() - start)


def line(outcome: Outcome) -> str:
    return f"{'PASS' if outcome.passed else 'FAIL'}  {outcome.name}: {outcome.detail}"

"""Which exact solver belongs to which loss, for predictions that are linear in features that are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from dlcli.decomposition.hinge import crammer_singer, hinge_regression
from dlcli.decomposition.least_squares import least_squares
from dlcli.decomposition.optimum import Optimum
from dlcli.decomposition.softmax_regression import softmax_regression
from dlcli.metrics import binary, multiclass, numeric
from dlcli.protocols import Metric


class Problem(NamedTuple):
    inputs: np.ndarray  # (n, features)
    targets: np.ndarray  # (n,) classes, or (n, t) numbers
    classes: int
    rank: int | None  # of the maps that are allowed, where it is below that of all; squares alone heed it
    seconds: float  # of the processor; a solver that needs more leaves a gap


class Solved(NamedTuple):
    optimum: Optimum
    weights: np.ndarray  # (features, outputs)
    bias: np.ndarray  # (outputs,)


class Solver(NamedTuple):
    solve: Callable[[Problem], Solved]
    work: Callable[[int, int, int], float]  # (examples, features, classes) -> in the unit of dlcli/conclusion/effort.py


def softmax(problem: Problem) -> Solved:
    found = softmax_regression(problem.inputs, problem.targets, classes=problem.classes, seconds=problem.seconds)
    return centred(found)


def centred(found: Optimum) -> Solved:
    """Scores that sum to 0: the same function, of rank classes - 1 at most."""
    maps, bias = found.weights
    return Solved(found, maps - maps.mean(1, keepdims=True), bias - bias.mean())


def logistic(problem: Problem) -> Solved:
    found = softmax_regression(problem.inputs, problem.targets, classes=2, seconds=problem.seconds)
    maps, bias = found.weights
    return Solved(found, maps[:, 1:] - maps[:, :1], bias[1:] - bias[:1])


def hinge(problem: Problem) -> Solved:
    found = hinge_regression(problem.inputs, problem.targets > 0, problem.seconds)
    return Solved(found, *found.weights)


def hinge_of_classes(problem: Problem) -> Solved:
    return centred(crammer_singer(problem.inputs, problem.targets, problem.classes, problem.seconds))


def each_class(solve: Callable[[Problem], Solved]) -> Callable[[Problem], Solved]:
    """One problem per class, "this class or another", with nothing in common: minima add up."""

    def solve_all(problem: Problem) -> Solved:
        seconds = problem.seconds / problem.classes
        found = [
            solve(problem._replace(targets=(problem.targets == one).astype(int), seconds=seconds))
            for one in range(problem.classes)
        ]
        optima = [each.optimum for each in found]
        total = Optimum(
            math.fsum(each.low for each in optima),
            math.fsum(each.high for each in optima),
            f"{optima[0].method.split(':')[0]}, class by class",
            attained=False if any(each.attained is False for each in optima) else optima[0].attained,
            evidence={"separable_classes": sum(each.attained is False for each in optima)},
        )
        return Solved(total, np.hstack([each.weights for each in found]), np.hstack([each.bias for each in found]))

    return solve_all


def squares(problem: Problem) -> Solved:
    """Averaged over the targets of an example."""
    scale = math.sqrt(problem.targets[0].size)
    found = least_squares(problem.inputs, as_numbers(problem.targets), rank=problem.rank)
    maps, bias = found.weights
    return Solved(found, maps * scale, bias * scale)


def one_hot_squares(problem: Problem) -> Solved:
    found = least_squares(problem.inputs, np.eye(problem.classes)[problem.targets], rank=problem.rank)
    return Solved(found, *found.weights)


def sign_squares(problem: Problem) -> Solved:
    found = least_squares(problem.inputs, 2.0 * problem.targets - 1, rank=problem.rank)
    return Solved(found, *found.weights)


def as_numbers(targets: np.ndarray) -> np.ndarray:
    """(n, t) whose squared error, summed over t, is the average over the targets."""
    return targets.reshape(len(targets), -1) / math.sqrt(targets[0].size)


def newton(examples: int, features: int, classes: int) -> float:
    return 20.0 * examples * features * min(examples, features)


def programme(margins: int, unknowns: int) -> float:
    return 20.0 * margins**2 * unknowns


SOLVERS: Mapping[Metric, Solver] = {
    multiclass.CROSS_ENTROPY: Solver(softmax, newton),
    multiclass.SQUARED_ERROR: Solver(one_hot_squares, newton),
    multiclass.HINGE: Solver(hinge_of_classes, lambda n, p, classes: programme(n * (classes - 1), p * classes)),
    multiclass.LOGISTIC_EACH: Solver(each_class(logistic), lambda n, p, classes: classes * newton(n, p, 2)),
    multiclass.HINGE_EACH: Solver(each_class(hinge), lambda n, p, classes: classes * programme(n, p)),
    binary.LOGISTIC: Solver(logistic, newton),
    binary.HINGE: Solver(hinge, lambda n, p, classes: programme(n, p)),
    binary.SQUARED_ERROR: Solver(sign_squares, newton),
    numeric.SQUARED_ERROR: Solver(squares, newton),
}
AS_NUMBERS: Mapping[Metric, Callable[[np.ndarray, int], np.ndarray]] = {  # (n, t) whose squared error, summed, is meant
    numeric.SQUARED_ERROR: lambda targets, classes: as_numbers(targets),
    multiclass.SQUARED_ERROR: lambda targets, classes: np.eye(classes)[targets],
    binary.SQUARED_ERROR: lambda targets, classes: 2.0 * targets.reshape(-1, 1) - 1,
}

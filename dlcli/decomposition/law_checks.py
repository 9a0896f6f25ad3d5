"""Checks by what must not change: relations between decompositions that hold whatever the true numbers are."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from dlcli.decomposition.certificates import repeated
from dlcli.decomposition.decompose import Decomposition
from dlcli.decomposition.exact_checks import ZERO, Verdict, parts_of, squared
from dlcli.decomposition.interpolation import full_rank, memorization
from dlcli.decomposition.least_squares import least_squares
from dlcli.decomposition.ledger import Ledger, Member
from dlcli.decomposition.softmax_regression import cross_entropies, softmax_regression
from dlcli.protocols import Bound


class Problem(NamedTuple):
    inputs: np.ndarray
    labels: np.ndarray
    fresh: np.ndarray
    wanted: np.ndarray


def drawn(generator: np.random.Generator) -> Problem:
    rule = generator.normal(size=(6, 3))
    inputs, fresh = generator.normal(size=(150, 6)), generator.normal(size=(100, 6))
    labels, wanted = ((x @ rule + generator.gumbel(size=(len(x), 3))).argmax(1) for x in (inputs, fresh))
    return Problem(inputs, labels, fresh, wanted)


def classified(problem: Problem) -> Decomposition:
    """A run of softmax regression that stopped at half the way, decomposed in nats."""
    found = softmax_regression(problem.inputs, problem.labels, classes=3)
    maps, offset = (0.5 * weights for weights in found.weights)
    train = cross_entropies(problem.inputs @ maps + offset, np.eye(3)[problem.labels])
    test = cross_entropies(problem.fresh @ maps + offset, np.eye(3)[problem.wanted])
    return parts_of(train, test, ZERO, *found.bounds(), unit="nats")


def regressed(problem: Problem, scale: float) -> Decomposition:
    found = least_squares(problem.inputs, scale * np.eye(3)[problem.labels])
    maps, offset = (0.5 * weights for weights in found.weights)
    train = squared(problem.inputs @ maps + offset, scale * np.eye(3)[problem.labels])
    test = squared(problem.fresh @ maps + offset, scale * np.eye(3)[problem.wanted])
    return parts_of(train, test, ZERO, *found.bounds())


def terms(parts: Decomposition) -> np.ndarray:
    return np.array([*parts.approximation, *parts.optimization, parts.generalization])


def same(first: np.ndarray, second: np.ndarray, tolerance: float = 1e-7) -> bool:
    return bool(np.all(np.abs(first - second) <= tolerance * (1 + np.abs(second))))


def data_twice(generator: np.random.Generator) -> Verdict:
    """Every training example twice: the same class minimum, the same terms."""
    once = drawn(generator)
    twice = once._replace(inputs=np.tile(once.inputs, (2, 1)), labels=np.tile(once.labels, 2))
    changed = np.abs(terms(classified(twice)) - terms(classified(once))).max()
    holds = same(terms(classified(twice)), terms(classified(once))) and len(repeated(twice.inputs)) == 150
    return holds, f"greatest change of a term {changed:.1e}"


def scaled_targets(generator: np.random.Generator) -> Verdict:
    """Targets times 3 make every term of the squared error 9 times as large."""
    problem = drawn(generator)
    plain, scaled = terms(regressed(problem, 1.0)), terms(regressed(problem, 3.0))
    return same(scaled, 9 * plain, 1e-10), f"ratios {np.round(scaled / plain, 6)}"


def mixed_features(generator: np.random.Generator) -> Verdict:
    """Permuted or mixed features are the same linear class: its bounds stay, and so do the terms."""
    problem, mix = drawn(generator), generator.normal(size=(6, 6))
    order = generator.permutation(6)
    plain, changes = terms(classified(problem)), []
    for matrix in (np.eye(6)[:, order], mix):
        other = problem._replace(inputs=problem.inputs @ matrix, fresh=problem.fresh @ matrix)
        changes.append(np.abs(terms(classified(other)) - plain).max())
    return max(changes) < 1e-7, f"greatest change of a term {changes[0]:.1e} permuted, {changes[1]:.1e} mixed"


def order_of_examples(generator: np.random.Generator) -> Verdict:
    """Shuffled training and test examples change nothing but the last bits."""
    problem = drawn(generator)
    train, test = generator.permutation(150), generator.permutation(100)
    shuffled = Problem(problem.inputs[train], problem.labels[train], problem.fresh[test], problem.wanted[test])
    changed = np.abs(terms(classified(shuffled)) - terms(classified(problem))).max()
    return changed < 1e-7, f"greatest change of a term {changed:.1e}"


def train_as_test(generator: np.random.Generator) -> Verdict:
    """The training set in place of the test set leaves no gap."""
    problem = drawn(generator)
    gap = classified(problem._replace(fresh=problem.inputs, wanted=problem.labels)).generalization
    return gap == 0, f"generalization {gap!r}"


def nested_classes(generator: np.random.Generator) -> Verdict:
    """Through the ledger, a wider class never has a higher upper end than a narrower one, however badly it trained."""
    problem = drawn(generator)
    targets = np.eye(3)[problem.labels]
    ends = []
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        for rank in range(4):
            reached = least_squares(problem.inputs, targets, rank=rank).high + generator.exponential()
            here = Member(f"rank-{rank}", "set", "squared", reached, "a run")
            ledger.record([here], [(f"rank-{rank}", f"rank-{rank + 1}")])
        for rank in range(4):
            rows = np.full(150, 10.0)
            floor = Bound("lower", least_squares(problem.inputs, targets, rank=rank).low, "exact", "reduced rank")
            parts = parts_of(rows, rows, floor, ledger.bound(f"rank-{rank}", "set", "squared"))
            ends.append(parts.approximation.high)
    return ends == sorted(ends, reverse=True), "upper ends " + " ".join(f"{end:.3f}" for end in ends)


def no_mixing_of_losses(generator: np.random.Generator) -> Verdict:
    """The minimizer of the cross-entropy is not that of the 0-1 error: thresholds on a line, by trying them all."""
    numbers = np.r_[np.linspace(-1, 1, 20), 12.0]
    labels = np.r_[(np.linspace(-1, 1, 20) > 0).astype(int), 0]  # one outlier drags the logistic fit
    found = softmax_regression(numbers, labels)
    scores = numbers[:, None] @ found.weights[0] + found.weights[1]
    own = float(np.mean(scores.argmax(1) != labels))
    cuts = [np.mean((numbers > cut) != labels) for cut in np.r_[-2, numbers]]
    least = float(min(*cuts, *(1 - np.array(cuts))))
    best = Bound("upper", least, "certified", "enumeration")
    rows = (scores.argmax(1) != labels).astype(float)
    parts = parts_of(rows, rows, ZERO, best, unit="fraction")
    return parts.approximation.high == least < own, f"0-1 error {own:.3f} of the minimizer, {least:.3f} in the class"


def parameters_are_no_proof(generator: np.random.Generator) -> Verdict:
    """Interpolation is certified by rank or construction: 400 features through a bottleneck of 3 certify nothing."""
    wide = generator.normal(size=(60, 3)) @ generator.normal(size=(3, 400))
    targets = generator.normal(size=(60, 2))
    refused = full_rank(wide, targets) is None and memorization(wide, targets, 59) is None
    free = full_rank(generator.normal(size=(60, 400)), targets)
    built = memorization(generator.normal(size=(60, 4)), targets, 60)
    exact = least_squares(wide, targets)
    holds = refused and free is not None and built is not None and free.value == 0
    holds = holds and built.value < 1e-12 and exact.low > 0.1
    return holds, f"minimum through the bottleneck {exact.low:.3f}; of full rank 0; memorized to {built.value:.0e}"


def heuristics_end_nothing(generator: np.random.Generator) -> Verdict:
    """An extrapolated loss curve is shown beside the interval: plateau at 0.0449, truth 0."""
    rows = np.full(50, 0.0449)
    guess = Bound("lower", 0.04487, "heuristic", "extrapolated loss curve")
    parts = parts_of(rows, rows, ZERO, guess)
    low, high = parts.approximation
    return low == 0 and not parts.separable, f"min in [{low}, {high:.4f}], the guess {guess.value} beside it"

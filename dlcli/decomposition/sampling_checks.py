"""Checks of the whole estimator over many drawn training and test sets: expectations, coverage, false alarms.

Means over simulations are held to 3 standard errors of their closed forms, as are shares.
"""

from __future__ import annotations

import math

import numpy as np

from dlcli.decomposition.decompose import RESOLUTION
from dlcli.decomposition.exact_checks import ZERO, Verdict, parts_of, squared
from dlcli.decomposition.intervals import Sampling, mean_interval, sampled
from dlcli.decomposition.known_risks import gaussian_pair, linear_risk, linear_truth, separable_probability
from dlcli.decomposition.least_squares import least_squares
from dlcli.decomposition.paired import HIGHER, LOWER, difference, judged
from dlcli.decomposition.population import best_in_class, excess, known
from dlcli.decomposition.softmax_regression import cross_entropies, softmax_regression

SETS = 300  # training sets of a check on least squares
TEST = 100  # test examples of each
SHRINK = 0.8  # factor on the fit that makes a run with a known optimization error
COVERAGE = (0.93, 0.985)  # that 95 % intervals must have
FALSE_ALARMS = 0.07  # greatest share of identical optimizers that may be called different


def least_squares_below_the_threshold(generator: np.random.Generator) -> Verdict:
    n = int(generator.integers(30, 60))
    return least_squares_terms(generator, n, int(generator.integers(3, n // 2)))


def least_squares_above_the_threshold(generator: np.random.Generator) -> Verdict:
    n = int(generator.integers(15, 30))
    return least_squares_terms(generator, n, int(generator.integers(2 * n, 3 * n)))


def least_squares_terms(generator: np.random.Generator, n: int, p: int) -> Verdict:
    """y = x . beta + noise, x ~ N(0, I) of D coordinates, p of them seen: the run is the fit of least norm, shrunk.

    All three terms of the estimator and those of Bottou & Bousquet, averaged over training sets, against closed forms.
    """
    hidden, noise = int(generator.integers(2, 20)), float(generator.uniform(0.3, 2))
    beta = generator.normal(size=p + hidden) / math.sqrt(p + hidden)
    used, rest = beta[:p], float(np.sum(beta[p:] ** 2))
    draws = [one_training_set(generator, n, used, beta, noise) for _ in range(SETS)]
    truth, total = linear_truth(n, used, rest, noise), float(np.sum(beta**2)) + noise
    seen, toward = float(np.sum(used**2)), min(1.0, n / p)  # the mean of the fit is `toward` times beta
    variance = truth.test - truth.best_in_class  # E |fit - beta|^2
    square = variance + 2 * toward * seen - seen  # E |fit|^2
    risk = SHRINK**2 * square - 2 * SHRINK * toward * seen + seen + truth.best_in_class
    optimization = (1 - SHRINK) ** 2 * (total - truth.approximation)
    expected = {
        "approximation": truth.approximation,
        "optimization": optimization,
        "generalization": risk - truth.approximation - optimization,
        "population approximation": truth.best_in_class - truth.bayes,
        "population estimation": truth.estimation,
        "population optimization": risk - truth.test,
    }
    found = dict(zip(expected, np.array(draws).T, strict=True))
    scores = {name: deviation(found[name], value) for name, value in expected.items()}
    said = ", ".join(f"{name} {found[name].mean():.4f} ({expected[name]:.4f})" for name in list(expected)[:3])
    worst = max(scores.values(), key=abs)
    text = f"n={n} p={p} D={p + hidden} noise={noise:.2f}: {said}; worst of six {worst:+.1f} standard errors"
    return all(abs(score) <= 3 for score in scores.values()), text


def one_training_set(
    generator: np.random.Generator, n: int, used: np.ndarray, beta: np.ndarray, noise: float
) -> tuple[float, ...]:
    """The three terms that the estimator reports and the three on the population, of one training and test set."""

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        x = generator.normal(size=(size, len(beta)))
        return x[:, : len(used)], (x @ beta + math.sqrt(noise) * generator.normal(size=size))[:, None]

    (inputs, targets), (fresh, wanted) = draw(n), draw(TEST)
    found = least_squares(inputs, targets, bias=False)
    fit = found.weights[0]
    parts = parts_of(
        squared(inputs @ fit * SHRINK, targets), squared(fresh @ fit * SHRINK, wanted), ZERO, *found.bounds()
    )
    assert parts.approximation.high - parts.approximation.low < RESOLUTION, parts.approximation
    rest = float(np.sum(beta[len(used) :] ** 2))
    risks = [linear_risk(scale * fit[:, 0], used, rest, noise) for scale in (SHRINK, 1.0)]
    terms = excess(known(risks[0]), noise, known(rest + noise), known(risks[1]))
    return (
        parts.approximation.high,
        parts.optimization.high,
        parts.generalization,
        terms.approximation.low,
        terms.estimation.low,
        terms.optimization.low,
    )


def deviation(draws: np.ndarray, expected: float) -> float:
    """Of the mean from its expectation, in standard errors; rounding is no deviation."""
    error = float(draws.std(ddof=1)) / math.sqrt(len(draws))
    missed = float(draws.mean()) - expected
    return 0.0 if abs(missed) < 1e-9 * (1 + abs(expected)) else missed / error


def two_gaussians(generator: np.random.Generator) -> Verdict:
    """Logistic regression on two Gaussians contains the Bayes rule: E min L_tr <= Bayes <= E L_te, and the intervals of
    the best risk in the class hold the Bayes error.
    """
    bayes_error, bayes = gaussian_pair(1.0)
    minima, risks, held = [], [], 0
    for _ in range(60):
        (inputs, labels), (fresh, wanted) = (pair_of_gaussians(generator, size) for size in (300, 500))
        found = softmax_regression(inputs, labels)
        scores = fresh @ found.weights[0] + found.weights[1]
        test = sampled((scores.argmax(1) != wanted).astype(float), "fraction")
        held += inside(bayes_error, best_in_class(0.0, test.ci[1], 300, 1.0).interval)
        minima.append(found.high)
        risks.append(cross_entropies(scores, np.eye(2)[wanted]).mean())
    below, above = (np.mean(values) - bayes for values in (minima, risks))
    holds = below < 0 < above and held >= 0.95 * 60
    return (
        holds,
        f"min L_tr {below:+.4f} and L_te {above:+.4f} from Bayes {bayes:.6f}; {held}/60 intervals hold",
    )


def pair_of_gaussians(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = generator.integers(2, size=n)
    inputs = generator.normal(size=(n, 5))
    inputs[:, 0] += 2 * labels - 1
    return inputs, labels


def coverage_of_errors(generator: np.random.Generator) -> Verdict:
    """95 % intervals of the generalization gap on simulated test sets of a known error rate, a rare one among them:
    there the textbook interval covers 80 %.
    """
    shares, said = [], []
    for rate, n in ((0.003, 1000), (float(generator.uniform(0.05, 0.3)), int(generator.integers(300, 1000)))):
        covered = 0
        for _ in range(1000):
            errors = (generator.random(n) < rate).astype(float)
            covered += inside(rate, parts_of(np.zeros(10), errors, ZERO, unit="fraction").generalization_ci)
        shares.append(covered / 1000)
        said.append(f"{covered / 1000:.1%} of 1000 intervals at error rate {rate:.3f}, {n} examples")
    return all(COVERAGE[0] <= share <= COVERAGE[1] for share in shares), "; ".join(said)


def coverage_of_losses(generator: np.random.Generator) -> Verdict:
    """The same for skewed losses, by the bootstrap; 3 standard errors of the simulation are allowed besides."""
    sets = 250
    covered = sum(inside(1.0, mean_interval(generator.exponential(size=300))[0]) for _ in range(sets))
    slack = 3 * math.sqrt(0.95 * 0.05 / sets)
    return COVERAGE[0] - slack <= covered / sets <= COVERAGE[1] + slack, f"{covered / sets:.1%} of {sets} intervals"


def coverage_of_neighbours(generator: np.random.Generator) -> Verdict:
    """Losses that depend on their neighbours, as those of windows of one text: blocks are resampled. Taken for
    independent ones, the same losses give intervals that cover two thirds.
    """
    sets, n, memory = 200, 900, 0.6
    shocks, losses = generator.normal(size=(sets, n + 100)), np.zeros((sets, n + 100))
    for place in range(1, n + 100):
        losses[:, place] = memory * losses[:, place - 1] + shocks[:, place]
    covered, alone = (
        sum(inside(0.0, mean_interval(each[100:], sampling)[0]) for each in losses)
        for sampling in (Sampling(contiguous=True), Sampling(bootstrap=False))
    )
    slack = 3 * math.sqrt(0.95 * 0.05 / sets)
    holds = COVERAGE[0] - slack <= covered / sets <= COVERAGE[1] + slack and alone / sets < 0.85
    return holds, f"{covered / sets:.1%} of {sets} intervals, {alone / sets:.1%} without the blocks"


def inside(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def identical_optimizers(generator: np.random.Generator) -> Verdict:
    """SGD against itself under other seeds, on a noisy quadratic, and against another learning rate."""
    seeds, comparisons = 8, 2000
    same = [sgd(generator, 0.05, (comparisons, seeds)) for _ in range(2)]
    other = sgd(generator, 0.15, (comparisons, seeds))
    alarms, found = (
        np.mean([called_different(*pair) for pair in zip(same[0], second, strict=True)]) for second in (same[1], other)
    )
    text = f"called different: {alarms:.1%} of {comparisons} identical pairs, {found:.1%} of truly different ones"
    return alarms <= FALSE_ALARMS and found >= 0.6, text


def sgd(generator: np.random.Generator, lr: float, runs: tuple[int, ...]) -> np.ndarray:
    """Final losses 1/2 sum l e^2 of SGD with additive noise, one per run."""
    curvatures = np.linspace(0.2, 2, 8)
    errors = np.ones((*runs, 8))
    for _ in range(120):
        errors = errors - lr * (curvatures * errors + generator.normal(size=errors.shape))
    return 0.5 * np.sum(curvatures * errors**2, axis=-1)


def called_different(first: np.ndarray, second: np.ndarray) -> bool:
    (found,) = judged([difference(dict(enumerate(first)), dict(enumerate(second)))])
    return found.verdict in (LOWER, HIGHER)


def random_labels(generator: np.random.Generator) -> Verdict:
    """Separability of random labels, as often as Cover counted; every interval is closed, whichever way it goes."""
    sets, n, dimension = 150, int(generator.integers(14, 20)), 8
    found = [
        softmax_regression(generator.normal(size=(n, dimension)), generator.integers(2, size=n), bias=False, classes=2)
        for _ in range(sets)
    ]
    share = np.mean([each.attained is False for each in found])
    truth = separable_probability(n, dimension)
    holds = abs(share - truth) <= 3 * math.sqrt(truth * (1 - truth) / sets) and max(each.gap for each in found) < 1e-6
    return holds, f"n={n} in {dimension} dimensions: {share:.1%} separable, expected {truth:.1%}"

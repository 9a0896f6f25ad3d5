from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression

from dlcli.datasets.mnist1d import mnist1d
from dlcli.decomposition import softmax_regression as module
from dlcli.decomposition.softmax_regression import cross_entropies, softmax_regression, with_bias


def noisy(n=300, features=4, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(n, features))
    scores = inputs @ generator.normal(size=(features, classes)) + generator.gumbel(size=(n, classes))
    return inputs, scores.argmax(1)


def separable_by_program(inputs, labels):
    """Two classes: a linear program finds y_i (x_i w + b) >= 1, or proves that there is none."""
    signs = 2 * labels - 1
    rows = -signs[:, None] * with_bias(inputs)
    width = rows.shape[1]
    return linprog(np.zeros(width), rows, -np.ones(len(rows)), bounds=[(None, None)] * width).status == 0


def test_mnist1d_has_its_known_minimum():
    """Computed for the specification by an independent Newton solver: 1.583247770786."""
    source = mnist1d(examples=5000, shuffle=False, generator_seed=42)
    found = softmax_regression(source.train.inputs, source.train.targets)
    assert found.low <= 1.583247770786 <= found.high + 1e-12
    assert found.gap < 1e-6
    assert found.bounds()[0].kind == "exact"


def test_the_minimum_agrees_with_scikit_learn():
    inputs, labels = noisy()
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(inputs, labels)
    found = softmax_regression(inputs, labels)
    value = -np.log(reference.predict_proba(inputs)[np.arange(len(labels)), labels]).mean()
    assert found.low - 1e-12 <= value <= found.high + 1e-8


def test_no_member_lies_below_the_lower_end():
    inputs, labels = noisy()
    found = softmax_regression(inputs, labels)
    best, generator, shares = np.vstack(found.weights), np.random.default_rng(1), np.eye(3)[labels]
    for scale in 10.0 ** np.arange(-8, 3):
        weights = best + scale * generator.normal(size=best.shape)
        assert cross_entropies(with_bias(inputs) @ weights, shares).mean() >= found.low


def test_the_weights_reach_the_upper_end():
    inputs, labels = noisy()
    found = softmax_regression(inputs, labels)
    scores = inputs @ found.weights[0] + found.weights[1]
    assert cross_entropies(scores, np.eye(3)[labels]).mean() == pytest.approx(found.high, rel=1e-12)


def test_separable_data_have_infimum_zero_that_no_member_reaches():
    digits = load_digits()
    found = softmax_regression(digits.data / 16, digits.target)
    assert (found.low, found.high, found.attained) == (0.0, 0.0, False)
    scores = digits.data / 16 @ found.weights[0] + found.weights[1]
    assert (scores.argmax(1) == digits.target).all()


@pytest.mark.parametrize("n", [20, 30, 40, 50, 60])
@pytest.mark.parametrize("seed", [0, 1])
def test_separability_is_what_a_linear_program_says(n, seed):
    generator = np.random.default_rng(seed)
    inputs, labels = generator.normal(size=(n, 20)), generator.integers(2, size=n)
    found = softmax_regression(inputs, labels)
    assert (found.attained is False) == separable_by_program(inputs, labels)
    assert found.gap < 1e-6


def test_classes_that_are_separable_only_in_part_are_enclosed_too():
    """The infimum lies at infinity and is positive: class 0 of iris is separable from the others, 1 and 2 are not."""
    iris = load_iris()
    inputs = iris.data[:, :2]
    found = softmax_regression(inputs, iris.target)
    rest = softmax_regression(inputs[iris.target > 0], iris.target[iris.target > 0] - 1)
    assert found.gap < 1e-6
    assert found.low <= rest.high * 100 / 150 <= found.high


def test_soft_targets_cost_at_least_their_entropy():
    inputs, labels = noisy()
    smooth = 0.9 * np.eye(3)[labels] + 0.1 / 3
    found = softmax_regression(inputs, smooth)
    assert found.low > -np.mean(np.sum(smooth * np.log(smooth), axis=1)) and found.gap < 1e-7


def test_duplicating_data_and_mixing_features_changes_nothing():
    inputs, labels = noisy()
    mixed = inputs @ np.random.default_rng(2).normal(size=(4, 4))
    plain = softmax_regression(inputs, labels)
    other = softmax_regression(np.tile(np.hstack([mixed, mixed[:, :1]]), (2, 1)), np.tile(labels, 2))
    assert other.high == pytest.approx(plain.high, abs=1e-8) and other.low == pytest.approx(plain.low, abs=1e-8)


def test_a_candidate_far_from_the_minimum_proves_nothing_false():
    """The dual point must be feasible: with the minimum unknown, a bound above it would be a lie."""
    inputs, labels = noisy()
    problem = module.Problem(module.orthonormal(with_bias(inputs))[0], np.eye(3)[labels])
    minimum = softmax_regression(inputs, labels).high
    for seed in range(5):
        point = np.random.default_rng(seed).normal(size=(5, 3))
        assert module.dual(problem, module.loss(problem, point)[1], 1.0, 0.0)[0] <= minimum


def test_many_unknowns_take_the_iterative_solver_to_the_same_interval(monkeypatch):
    inputs, labels = noisy()
    plain = softmax_regression(inputs, labels)
    monkeypatch.setattr(module, "DENSE", 0)
    iterative = softmax_regression(inputs, labels)
    assert iterative.gap < 1e-7 and iterative.high == pytest.approx(plain.high, abs=1e-8)


def test_without_time_the_two_ends_still_hold():
    inputs, labels = noisy()
    found, hurried = softmax_regression(inputs, labels), softmax_regression(inputs, labels, seconds=0)
    assert hurried.low <= found.low <= found.high < hurried.high
    assert hurried.evidence["newton_steps"] == 1 and hurried.bounds()[0].kind == "certified"

"""Hinge losses against enumeration, the constants of the metrics, and each other."""

from itertools import combinations

import numpy as np
import pytest

from dlcli.decomposition.hinge import crammer_singer, hinge_regression
from dlcli.metrics.multiclass import least_hinge


def noisy(seed, n=60, p=4, classes=2):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(n, p))
    return inputs, (inputs @ generator.normal(size=(p, classes)) + 2 * generator.gumbel(size=(n, classes))).argmax(1)


def losses(scores, labels):
    """(n, C) scores -> Crammer & Singer's loss of each example."""
    rows = np.arange(len(labels))
    rivals = scores.copy()
    rivals[rows, labels] = -np.inf
    return np.maximum(0, 1 + rivals.max(1) - scores[rows, labels])


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_is_at_a_corner_and_enumeration_finds_the_same(seed):
    """In the plane of (w, b) the loss is linear between the lines on which a margin is 1."""
    inputs, labels = noisy(seed, n=14, p=1)
    signs = 2.0 * labels - 1
    rows = np.column_stack([inputs[:, 0], np.ones(14)]) * signs[:, None]
    corners = [
        np.linalg.solve(rows[list(pair)], np.ones(2))
        for pair in combinations(range(14), 2)
        if abs(np.linalg.det(rows[list(pair)])) > 1e-12
    ]
    least = min(np.maximum(0, 1 - rows @ corner).mean() for corner in [*corners, np.array([0, 1.0]), -np.eye(2)[1]])
    found = hinge_regression(inputs, labels > 0)
    assert found.low <= least + 1e-12 and found.gap < 1e-8
    assert found.high == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_two_classes_are_one_score(seed):
    inputs, labels = noisy(seed)
    one, two = hinge_regression(inputs, labels > 0), crammer_singer(inputs, labels, 2)
    assert one.high == pytest.approx(two.high, abs=1e-9) and one.low > 0
    assert one.gap < 1e-7 and two.gap < 1e-7


@pytest.mark.parametrize("classes", [2, 4])
def test_no_weights_are_below_the_lower_end_and_those_returned_are_at_the_upper(classes):
    inputs, labels = noisy(0, classes=classes)
    found = crammer_singer(inputs, labels, classes)
    weights, bias = found.weights
    assert losses(inputs @ weights + bias, labels).mean() == pytest.approx(found.high, abs=1e-9)
    generator = np.random.default_rng(1)
    for size in np.geomspace(1e-4, 1, 200):
        other = weights + size * generator.normal(size=weights.shape)
        assert losses(inputs @ other + bias + size * generator.normal(size=classes), labels).mean() >= found.low


def test_features_that_say_nothing_leave_the_best_constant():
    labels = np.repeat(np.arange(3), (30, 20, 10))
    assert crammer_singer(np.zeros((60, 2)), labels, 3).high == pytest.approx(least_hinge(labels), abs=1e-9)


def test_separable_classes_have_no_loss_and_reach_it():
    inputs, labels = noisy(0, classes=3)
    found = crammer_singer(inputs + 40 * np.eye(4)[labels], labels, 3)
    assert found.high == pytest.approx(0, abs=1e-9) and found.low == 0 and found.attained


def test_a_search_that_was_cut_short_leaves_both_ends_valid():
    inputs, labels = noisy(0, n=400, p=20, classes=5)
    found = crammer_singer(inputs, labels, 5, seconds=1e-3)
    assert found.low <= crammer_singer(inputs, labels, 5).high <= found.high

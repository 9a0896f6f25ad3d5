from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from dlcli.decomposition.relu_dual import arcs, certified, extremes, lasso, objective, relu_minimum


def problem(seed, n=30):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(n, 2))
    return inputs, np.abs(inputs[:, 0]) - 0.5 * inputs[:, 1] + 0.5 * generator.normal(size=n)


def trained(inputs, targets, decay, width, seed):
    """L-BFGS on the network itself, which is not convex."""

    def value_and_gradient(point):
        units, outputs = point[: 2 * width].reshape(2, width), point[2 * width :]
        hidden = np.maximum(0, inputs @ units)
        residual = hidden @ outputs - targets
        back = np.outer(residual, outputs) * (hidden > 0)
        gradient = np.r_[(inputs.T @ back + decay * units).ravel(), hidden.T @ residual + decay * outputs]
        return objective(inputs, targets, decay, units, outputs), gradient

    start = np.random.default_rng(seed).normal(size=3 * width)
    return minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).fun


@pytest.mark.parametrize("seed", range(3))
def test_wide_networks_reach_the_interval_and_none_lies_below(seed):
    inputs, targets = problem(seed)
    found = relu_minimum(inputs, targets, 0.5)
    narrow = min(trained(inputs, targets, 0.5, 2, start) for start in range(10))
    wide = min(trained(inputs, targets, 0.5, 20, start) for start in range(10))
    assert found.gap < 1e-6 * found.high
    assert found.low <= wide <= narrow + 1e-6
    assert wide == pytest.approx(found.high, rel=1e-3)  # its kinks stop L-BFGS a little early


def test_the_weights_are_a_network_that_reaches_the_upper_end():
    inputs, targets = problem(0)
    found = relu_minimum(inputs, targets, 0.5)
    assert objective(inputs, targets, 0.5, *found.weights) == found.high
    assert found.weights[1].shape == (found.evidence["width"],)


def test_the_worst_unit_is_found_exactly():
    """Against a fine grid of directions: never below it, and no more than the grid's spacing above."""
    for seed in range(20):
        inputs, _ = problem(seed, n=12)
        v = np.random.default_rng(seed).normal(size=12)
        worst, candidates = extremes(arcs(inputs), inputs, v)
        angles = np.linspace(0, 2 * np.pi, 20_001)
        values = np.abs(v @ np.maximum(0, inputs @ np.stack([np.cos(angles), np.sin(angles)])))
        assert values.max() <= worst * (1 + 1e-12)
        assert worst == pytest.approx(values.max(), rel=1e-3)
        assert np.abs(v @ np.maximum(0, inputs @ candidates)).max() == pytest.approx(worst, rel=1e-12)


def test_every_residual_gives_a_valid_lower_end():
    inputs, targets = problem(1)
    high = relu_minimum(inputs, targets, 0.5).high
    for seed in range(20):
        v = targets + np.random.default_rng(seed).normal(size=30)
        assert certified(v, targets, extremes(arcs(inputs), inputs, v)[0], 0.5) <= high


def biased(inputs, targets, decay, width, seed):
    """The same with a bias of the output, which decays too."""

    def value_and_gradient(point):
        units, outputs, bias = point[: 2 * width].reshape(2, width), point[2 * width : -1], point[-1]
        hidden = np.maximum(0, inputs @ units)
        residual = hidden @ outputs + bias - targets
        back = np.outer(residual, outputs) * (hidden > 0)
        value = 0.5 * residual @ residual + 0.5 * decay * point @ point
        own = residual.sum() + decay * bias
        return value, np.r_[(inputs.T @ back + decay * units).ravel(), hidden.T @ residual + decay * outputs, own]

    start = np.random.default_rng(seed).normal(size=3 * width + 1)
    return minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).fun


@pytest.mark.parametrize("seed", range(3))
def test_a_bias_of_the_output_is_minimized_out(seed):
    inputs, targets = problem(seed)
    targets = targets + 2  # which a bias serves
    found, without = (relu_minimum(inputs, targets, 0.5, output_bias) for output_bias in (True, False))
    trained_best = min(biased(inputs, targets, 0.5, 20, start) for start in range(10))
    assert found.gap < 1e-6 * found.high and found.high < 0.9 * without.low
    assert found.low <= trained_best == pytest.approx(found.high, rel=1e-3)
    units, outputs = found.weights
    residual = np.maximum(0, inputs @ units) @ outputs - targets
    bias = -residual.sum() / (30 + 0.5)
    reached = objective(inputs, targets - bias, 0.5, units, outputs) + 0.25 * bias**2
    assert reached == pytest.approx(found.high, rel=1e-12)


def test_strong_decay_leaves_the_empty_network():
    inputs, targets = problem(2)
    found = relu_minimum(inputs, targets, 1e4)
    assert found.evidence["width"] == 0
    assert found.low == pytest.approx(found.high, rel=1e-12) == pytest.approx(0.5 * targets @ targets)


def test_one_input_number_with_decayed_biases_is_a_case():
    numbers = np.linspace(-1, 1, 25)
    inputs, targets = np.column_stack([numbers, np.ones(25)]), np.sin(4 * numbers)
    found = relu_minimum(inputs, targets, 0.05)
    wide = min(trained(inputs, targets, 0.05, 20, start) for start in range(10))
    assert found.gap < 1e-6 * found.high
    assert found.low <= wide == pytest.approx(found.high, rel=1e-3)


def test_the_inner_problem_satisfies_its_optimality_conditions():
    generator = np.random.default_rng(0)
    features, targets = generator.normal(size=(20, 8)), generator.normal(size=20)
    outputs = lasso(features, targets, 3.0)
    slopes = features.T @ (targets - features @ outputs)
    used = np.abs(outputs) > 1e-9
    assert 0 < used.sum() < 8
    assert np.allclose(slopes[used], 3.0 * np.sign(outputs[used]))
    assert np.all(np.abs(slopes[~used]) <= 3.0)

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.optimize import least_squares

from dlcli.decomposition.pieces import hinge_fit, pieces, piecewise_floor, segment_costs


def curve(n=40, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.uniform(-1, 1, n)
    return inputs, np.sin(6 * inputs) + 0.3 * generator.normal(size=n)


def line_cost(x, y):
    design = np.column_stack([x, np.ones(len(x))])
    return np.sum((design @ np.linalg.lstsq(design, y)[0] - y) ** 2)


def test_costs_are_those_of_least_squares_lines():
    inputs, targets = curve()
    x, y = inputs[np.argsort(inputs)], targets[np.argsort(inputs)]
    cost = segment_costs(x, y[:, None])
    for i in range(0, 40, 3):
        for j in range(i, 40, 4):
            assert cost[i, j] == pytest.approx(line_cost(x[i : j + 1], y[i : j + 1]), abs=1e-9)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_programme_finds_what_trying_all_cuts_finds(most, seed):
    inputs, targets = curve(n=11, seed=seed)
    x, y = inputs[np.argsort(inputs)], targets[np.argsort(inputs)]
    tried = []
    for cuts in combinations(range(1, 11), most - 1):
        ends = [0, *cuts, 11]
        tried.append(sum(line_cost(x[a:b], y[a:b]) for a, b in pairwise(ends)))
    assert piecewise_floor(inputs, targets, most).floor == pytest.approx(min(tried) / 11, abs=1e-10)


def network(parameters, x):
    weights, biases, out = parameters[:-1].reshape(3, -1)
    return np.maximum(0, np.outer(x, weights) + biases) @ out + parameters[-1]


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_no_trained_network_lies_below_the_floor(width):
    inputs, targets = curve()
    floor = piecewise_floor(inputs, targets, pieces([width])).floor
    generator = np.random.default_rng(width)
    found = [
        2
        * least_squares(lambda p: network(p, inputs) - targets, generator.normal(size=3 * width + 1), max_nfev=60).cost
        for _ in range(15)
    ]
    assert 0 < floor <= min(found) / len(inputs)


@pytest.mark.parametrize("width", [2, 3, 4, 6])
def test_a_network_built_on_the_knots_lies_between_the_floor_and_the_line(width):
    inputs, targets = curve()
    knots = piecewise_floor(inputs, targets, width).knots  # one unit is kept for the linear part
    error, values = hinge_fit(inputs, targets, (inputs.min() - 1, *knots))
    assert piecewise_floor(inputs, targets, pieces([width])).floor <= error
    assert error <= line_cost(inputs, targets) / len(inputs) + 1e-12
    assert error == pytest.approx(np.mean((values[:, 0] - targets) ** 2), rel=1e-12)


def test_a_function_of_the_class_is_recognized():
    inputs = np.linspace(-1, 1, 50)
    targets = 2 * np.maximum(0, inputs - 0.31) - np.maximum(0, -inputs - 0.47) + 0.5
    found = piecewise_floor(inputs, targets, 3)
    assert found.floor < 1e-12 and hinge_fit(inputs, targets, [0.31, -0.47])[0] < 1e-20
    assert np.abs(np.array(found.knots) - [-0.47, 0.31]).max() < 0.05
    assert piecewise_floor(inputs, targets, 2).floor > 1e-3


def test_equal_inputs_are_not_torn_apart():
    """Two examples of one input and different targets cost their variance, however many pieces there are."""
    inputs = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    targets = np.array([0.0, 1.0, 5.0, 6.0, -3.0, -2.0])
    assert piecewise_floor(inputs, targets, 6).floor == pytest.approx(0.25, abs=1e-9)


def test_several_targets_add_up():
    inputs, targets = curve()
    twice = piecewise_floor(inputs, np.column_stack([targets, 3 * targets]), 4).floor
    assert twice == pytest.approx(10 * piecewise_floor(inputs, targets, 4).floor, rel=1e-9)


def test_a_large_offset_does_not_spoil_the_floor():
    inputs, targets = curve()
    plain = piecewise_floor(inputs, targets, 4).floor
    assert piecewise_floor(inputs + 1e6, targets + 1e6, 4).floor == pytest.approx(plain, rel=1e-6)


def test_pieces_of_deep_networks_multiply():
    assert (pieces([8]), pieces([3, 3]), pieces([4], breakpoints=2)) == (9, 16, 9)


def test_the_pieces_of_random_deep_networks_stay_within_the_count():
    generator = np.random.default_rng(0)
    grid = np.linspace(-20, 20, 200_001)
    for _ in range(10):
        hidden = grid[:, None]
        for width in (3, 3):
            hidden = np.maximum(
                0, hidden @ generator.normal(size=(hidden.shape[1], width)) + generator.normal(size=width)
            )
        slopes = np.diff(hidden @ generator.normal(size=3)) / np.diff(grid)
        bends = np.abs(np.diff(slopes)) > 1e-6
        assert np.sum(bends[1:] & ~bends[:-1]) + 1 <= pieces([3, 3])

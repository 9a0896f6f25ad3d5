"""L-BFGS against SciPy's and the framework's, and where it must stop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import optim


def quadratic(seed=0, size=30, condition=1e4):
    draw = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.logspace(0, np.log10(condition), size, dtype=torch.float64)) @ basis.T
    return matrix, torch.randn(size, generator=draw, dtype=torch.float64)


def logistic(seed=1, examples=300, features=12, rate=1e-3):
    """Penalized logistic regression: strictly convex, so that every solver must agree."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, features, generator=draw, dtype=torch.float64)
    signs = torch.where(torch.rand(examples, generator=draw) < torch.sigmoid(2 * inputs[:, 0]), 1.0, -1.0)

    def loss(weights):
        margins = signs * (inputs @ weights)
        value = torch.nn.functional.softplus(-margins).mean() + 0.5 * rate * weights @ weights
        slope = -(signs * torch.sigmoid(-margins)) @ inputs / examples + rate * weights
        return value, slope

    return loss, torch.zeros(features, dtype=torch.float64)


def counted(loss):
    calls = []

    def evaluate(weights):
        calls.append(1)
        return loss(weights)

    return evaluate, calls


@pytest.mark.parametrize("iterations", [10, 30, 60])
def test_iteration_for_iteration_as_low_as_scipy_on_a_quadratic(rule, vector, iterations):
    """Newton's length is accepted each time, so the two line searches do not differ."""
    matrix, offset = quadratic()

    def loss(weights):
        return 0.5 * weights @ matrix @ weights - offset @ weights, matrix @ weights - offset

    def plain(point):
        value, slope = loss(torch.from_numpy(point))
        return value.item(), slope.numpy()

    options = {"maxcor": 30, "maxiter": iterations, "ftol": 0, "gtol": 0}
    theirs = optimize.minimize(plain, np.zeros(30), jac=True, method="L-BFGS-B", options=options)
    made = rule("lbfgs", iterations=iterations, history=30)
    *_, found = vector(torch.zeros_like(offset), loss).run(made, 1)
    least = loss(torch.linalg.solve(matrix, offset))[0].item()
    assert loss(found)[0].item() - least == pytest.approx(theirs.fun - least, rel=1e-6)


def test_a_quadratic_is_solved_as_far_as_values_in_double_precision_tell(rule, vector):
    matrix, offset = quadratic(condition=100)
    exact = torch.linalg.solve(matrix, offset)

    def loss(weights):
        return 0.5 * weights @ matrix @ weights - offset @ weights, matrix @ weights - offset

    *_, found = vector(torch.zeros_like(offset), loss).run(rule("lbfgs", iterations=120, history=30), 1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_logistic_regression_ends_where_scipy_ends_at_no_more_than_twice_its_evaluations(rule, vector):
    loss, start = logistic()

    def plain(point):
        value, slope = loss(torch.from_numpy(point))
        return value.item(), slope.numpy()

    exact = optimize.minimize(plain, start.numpy(), jac=True, method="BFGS", options={"gtol": 1e-10})
    theirs = optimize.minimize(plain, start.numpy(), jac=True, method="L-BFGS-B", options={"maxcor": 10, "gtol": 1e-7})
    evaluate, calls = counted(loss)
    *_, found = vector(start, evaluate).run(rule("lbfgs", iterations=100, tolerance=1e-7), 1)
    assert loss(found)[0].item() == pytest.approx(exact.fun, rel=1e-12)
    np.testing.assert_allclose(found.numpy(), exact.x, atol=1e-5)
    assert len(calls) <= 2 * theirs.nfev


def test_penalty_as_weight_decay_is_the_same_problem_as_penalty_in_the_loss(rule, vector):
    (with_penalty, start), (without, _) = logistic(rate=0.1), logistic(rate=0.0)
    made = {"iterations": 100, "tolerance": 1e-9}
    *_, inside = vector(start, with_penalty).run(rule("lbfgs", **made), 1)
    *_, beside = vector(start, without).run(rule("lbfgs", **made, weight_decay=0.1), 1)
    torch.testing.assert_close(beside, inside, rtol=0, atol=1e-7)


def test_a_network_comes_as_low_as_with_the_frameworks(problem, rule):
    problem.inputs, problem.targets = problem.inputs[:1].expand(3, -1, -1, -1, -1), problem.targets[:1].expand(3, -1)
    *_, ours = problem.ours(rule("lbfgs", iterations=20, weight_decay=0.0))
    settings = {"lr": 1, "max_iter": 20, "history_size": 10, "line_search_fn": "strong_wolfe"}
    *_, theirs = problem.theirs(lambda net: [optim.LBFGS(net.parameters(), **settings)])
    losses = []
    for weights in (ours, theirs):
        net = problem.net()
        net.load_state_dict(weights)
        losses.append(problem.loss(net, 0).item())
    assert losses[0] < 2 * losses[1] + 1e-6 and losses[0] < 1e-3


def test_every_step_decreases_the_loss_until_rounding_and_then_nothing_moves(rule, vector):
    """A valley that turns: Rosenbrock's function, min 0 at (1, 1)."""

    def loss(weights):
        x, y = weights
        gradient = torch.stack([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, gradient

    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    path = list(vector(start, loss).run(rule("lbfgs", iterations=5, tolerance=1e-10), 30))
    values = [loss(weights)[0].item() for weights in path]
    assert all(b <= a for a, b in pairwise(values))
    assert values[-1] < 1e-20 and torch.equal(path[-1], path[-2])


def test_a_first_length_far_too_long_is_shortened(rule, vector):
    def loss(weights):
        return weights.exp().sum() - weights.sum(), weights.exp() - 1

    *_, found = vector(torch.full((3,), 5.0), loss).run(rule("lbfgs", lr=1e6, iterations=50), 1)
    torch.testing.assert_close(found, torch.zeros(3), rtol=0, atol=1e-3)

"""Quadratics, where every rule of first order has a closed form."""

from __future__ import annotations

import math

import pytest
import torch


def test_gradient_descent_on_least_squares_has_the_closed_form_at_every_step(rule, vector):
    """f(w_t) - min f = 1/2 sum l_i (1 - lr l_i)^2t c_i^2, with c the start in the eigenbasis of the Hessian."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 20, generator=draw, dtype=torch.float64)
    targets = inputs @ torch.randn(20, generator=draw, dtype=torch.float64)
    targets += torch.randn(100, generator=draw, dtype=torch.float64)

    def loss(weights):
        residual = inputs @ weights - targets
        return 0.5 * residual.square().mean(), inputs.T @ residual / 100

    eigenvalues, basis = torch.linalg.eigh(inputs.T @ inputs / 100)
    best = torch.linalg.lstsq(inputs, targets[:, None]).solution[:, 0]
    least, lr = loss(best)[0], 0.9 / eigenvalues[-1].item()
    coefficients, compared = basis.T @ -best, 0
    for step, weights in enumerate(vector(torch.zeros_like(best), loss).run(rule("gd", lr=lr), 400)):
        expected = 0.5 * (eigenvalues * (1 - lr * eigenvalues) ** (2 * step) * coefficients**2).sum()
        excess = loss(weights)[0] - least
        if excess > 1e-4 * least:  # below, the difference of two losses has lost the digits compared here
            assert excess.item() == pytest.approx(expected.item(), rel=1e-10)
            compared += 1
        # The distance to the minimum has no such cancellation.
        away = basis.T @ (weights - best)
        exact = 0.5 * (eigenvalues * away**2).sum()
        assert exact.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-20)
    assert compared > 20


@pytest.mark.parametrize(
    ("name", "condition", "count"),
    [
        *(("gd", 10**k, count) for k, count in ((2, 364), (3, 2655), (4, 17139))),
        *(("momentum", 10**k, count) for k, count in ((2, 48), (3, 175), (4, 624))),
        *(("nesterov", 10**k, count) for k, count in ((2, 51), (3, 140), (4, 373))),
    ],
)
def test_steps_to_a_millionth_on_a_spectrum_of_given_condition(rule, vector, name, condition, count):
    """200 log-spaced eigenvalues up to 1, from (1, ..., 1), with the best constants for each rule; counts +-1.

    Polyak's constants make heavy ball and Nesterov's need about the root of descent's steps.
    """
    eigenvalues = torch.logspace(-math.log10(condition), 0, 200, dtype=torch.float64)
    root = math.sqrt(condition)
    settings = {
        "gd": {"lr": 1.0},
        "momentum": {"lr": 4 / (1 + 1 / root) ** 2, "momentum": ((root - 1) / (root + 1)) ** 2},
        "nesterov": {"lr": 1.0, "momentum": (root - 1) / (root + 1)},
    }
    start = torch.ones(200, dtype=torch.float64)
    path = vector(start, lambda weights: (None, eigenvalues * weights)).run(rule(name, **settings[name]), 2 * count)
    goal = 1e-6 * eigenvalues.sum()
    reached = next(step for step, weights in enumerate(path) if (eigenvalues * weights**2).sum() <= goal)
    assert abs(reached - count) <= 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_noise_in_the_gradient_leaves_the_textbook_floor(rule, vector, momentum):
    """Stationary variance of a weight of curvature l: lr s^2 (1 + b) / (l (1 - b) (2 (1 + b) - lr l))."""
    curvature = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    draw, lr, scale, b = torch.Generator().manual_seed(0), 0.2, 0.7, momentum

    def gradient(weights):
        noise = torch.randn(weights.shape, generator=draw, dtype=weights.dtype)
        return None, curvature * weights + scale * noise

    runs = vector(torch.zeros(1000, 4, dtype=torch.float64), gradient)
    path = runs.run(rule("momentum", lr=lr, momentum=momentum), 1500)
    risks = [0.5 * (curvature * weights**2).sum(-1).mean() for step, weights in enumerate(path) if step > 500]
    variance = lr * scale**2 * (1 + b) / (curvature * (1 - b) * (2 * (1 + b) - lr * curvature))
    assert torch.stack(risks).mean().item() == pytest.approx(0.5 * (curvature * variance).sum().item(), rel=0.01)

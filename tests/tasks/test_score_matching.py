import math

import pytest
import torch

from dlcli.protocols import Batch
from dlcli.tasks.score_matching import squared_remainder, unexplained


def test_score_matching_leaves_what_no_energy_can_explain(gaussian, normals):
    """Data N(0, s^2) blurred by d: the best slope is x / (s^2 + d^2), and s^2 / (s^2 + d^2) of the noise stays."""
    spread, deviation = 0.8, 0.6
    given = spread * torch.randn(40_000, 2, generator=torch.Generator().manual_seed(1))
    best = gaussian(math.hypot(spread, deviation))
    with torch.no_grad():
        rows = squared_remainder(unexplained(best, given, normals(40_000), deviation), Batch(given, given))
    assert rows.mean().item() == pytest.approx(spread**2 / (spread**2 + deviation**2), rel=0.02)


def test_the_loss_of_score_matching_has_its_minimum_at_the_true_energy(gaussian, normals):
    given = 1.0 + 0.8 * torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
    model = gaussian(1.0, centre=0.0)
    for _ in range(60):
        loss = unexplained(model, given, normals(20_000), 0.6).square().mean()
        (gradient,) = torch.autograd.grad(loss, model.centre)
        with torch.no_grad():
            model.centre -= gradient
    assert model.centre.tolist() == pytest.approx([1, 1], abs=0.03)

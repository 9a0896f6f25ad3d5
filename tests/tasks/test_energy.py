import math

import pytest
import torch

from dlcli.errors import UsageError
from dlcli.protocols import Batch
from dlcli.tasks.energy import likelihood_loss, quadrature
from dlcli.tasks.langevin import Walk


@pytest.mark.parametrize("deviation", [0.15, 1.0, 2.0])
def test_the_quadrature_gives_the_partition_function_of_a_gaussian(gaussian, deviation):
    with torch.no_grad():
        found, _ = quadrature(gaussian(deviation, centre=0.3), torch.device("cpu"))
    expected = math.log(2 * math.pi * deviation**2)
    assert found.item() == pytest.approx(expected, abs=2e-3 if deviation == 2.0 else 1e-5)  # the rim cuts 4 deviations


def test_a_mesh_too_coarse_for_the_density_says_so(gaussian):
    with torch.no_grad():
        fine, coarse = (quadrature(gaussian(deviation), torch.device("cpu"))[1] for deviation in (0.2, 0.03))
    assert fine < 1e-4 and coarse > 0.1


def test_the_gradient_is_that_of_the_likelihood(gaussian, normals):
    model, walk = gaussian(0.5, centre=0.0), Walk(200, 0.1, 1.0)
    given = torch.tensor([0.6, 0.0]) + 0.5 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    loss = likelihood_loss(walk, 0.0, 0.0, model, Batch(given, given), normals(4000))
    (gradient,) = torch.autograd.grad(loss, model.centre)
    expected = -(given.mean(0) - model.centre.detach()) / 0.25  # of the mean -log density
    assert gradient.tolist() == pytest.approx(expected.tolist(), abs=0.15)


def test_a_step_moves_the_chains_of_one_stretch_and_no_others(gaussian, normals):
    model, given = gaussian(0.5, chains=50), torch.zeros(10, 2)
    likelihood_loss(Walk(1, 0.1, 1.0), 0.0, 0.0, model, Batch(given, given), normals(10))
    moved = model.chains.abs().sum(1) > 0
    assert moved.sum() == 10
    assert sum(bool(a) != bool(b) for a, b in zip(moved, moved.roll(1), strict=True)) == 2


def test_more_examples_than_chains_are_refused(gaussian, normals):
    model, given = gaussian(0.5, chains=5), torch.zeros(10, 2)
    with pytest.raises(UsageError, match=r"model\.chains=5"):
        likelihood_loss(Walk(1, 0.1, 1.0), 0.0, 0.0, model, Batch(given, given), normals(10))

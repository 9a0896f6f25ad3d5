import pytest
import torch

from dlcli.tasks.langevin import Walk


def test_a_long_walk_draws_from_the_density(gaussian, normals):
    model = gaussian(0.5, centre=1.0)
    drawn = Walk(steps=400, step_size=0.2, temperature=1.0).take(model, torch.zeros(4000, 2), normals(4000))
    # Finite steps widen it: variance s^2 / (1 - step^2 / (4 s^2)).
    assert drawn.mean(0).tolist() == pytest.approx([1, 0], abs=0.04)
    assert drawn.var(0).tolist() == pytest.approx([0.25 / (1 - 0.04)] * 2, rel=0.08)


def test_a_cold_walk_goes_down_the_slope_and_works_where_gradients_are_off(gaussian, normals):
    with torch.inference_mode():
        drawn = Walk(500, 0.2, 0.0).take(gaussian(0.5, centre=1.0), torch.randn(10, 2), normals(10))
    assert torch.allclose(drawn, torch.tensor([1.0, 0.0]).expand(10, 2), atol=1e-3)

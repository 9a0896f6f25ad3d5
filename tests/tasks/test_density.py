import math

import numpy as np
import pytest
import torch

from dlcli.datasets.resident import Resident
from dlcli.protocols import Batch, DataSpec
from dlcli.tasks.density import density
from dlcli.training.evaluate import evaluate, reduce
from dlcli.training.randomness import FixedNoise, FreshNoise

CPU = torch.device("cpu")
NUMBERS = DataSpec("toy", (2,), mean=(1.0, -2.0), scale=(0.5, 4.0))


class Normal(torch.nn.Module):
    """The density of independent standard normals, in place of a flow."""

    def log_density(self, inputs):
        return -0.5 * (inputs.flatten(1).square() + math.log(2 * math.pi)).sum(1)

    def inverse(self, latents):
        return latents.view(-1, 1, 4, 4) if latents.shape[1] == 16 else latents


class Uniform(Normal):
    """Every whole pixel equally likely: the density of log odds under which the shares are uniform in their range."""

    def log_density(self, inputs):
        logistic = torch.nn.functional.logsigmoid(inputs) + torch.nn.functional.logsigmoid(-inputs)
        return (logistic - math.log(0.9)).flatten(1).sum(1)


def pixels(levels, count=50, mean=0.0, scale=1.0):
    spec = DataSpec("toy", (1, 4, 4), levels=levels, mean=(mean,), scale=(scale,))
    whole = torch.randint(levels, (count, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    return spec, Resident((whole / (levels - 1) - mean) / scale, torch.zeros(count).long())


def test_the_loss_is_that_of_the_numbers_of_the_data_set():
    inputs = torch.randn(6, 2)
    rows = density(NUMBERS).predict(Normal(), Batch(inputs, inputs), FreshNoise(6, CPU))
    exact = torch.distributions.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0]))
    assert torch.allclose(rows, -exact.log_prob(NUMBERS.to_source(inputs)).sum(1), atol=1e-5)


def test_numbers_have_no_floor_and_pixels_do():
    assert density(NUMBERS).metrics["loss"].floor is None and not density(NUMBERS).random
    task = density(pixels(256)[0])
    assert task.metrics["loss"].floor == 0 and task.random


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.3, 0.2)])
def test_equally_likely_pixels_cost_the_log_of_their_number_exactly(levels, mean, scale):
    spec, split = pixels(levels, mean=mean, scale=scale)
    task = density(spec)
    found = reduce(task, evaluate(Uniform(), task, split))
    assert found["loss"] == pytest.approx(16 * math.log(levels), rel=1e-5)
    assert found["bits_per_dimension"] == pytest.approx(math.log2(levels), rel=1e-5)


def test_the_noise_of_an_example_depends_on_neither_batching_nor_training():
    spec, split = pixels(16, count=601)
    task = density(spec)
    whole = evaluate(Normal(), task, split)["loss"]
    torch.manual_seed(5)
    for chunk in (1, 77, 250):
        assert evaluate(Normal(), task, split, chunk=chunk)["loss"] == pytest.approx(whole, rel=1e-6)
    assert not np.allclose(evaluate(Normal(), task, split, draw=1)["loss"], whole)


def test_drawn_pixels_are_pixels_of_the_data_set():
    spec, _ = pixels(5)
    drawn = density(spec).sample(Normal(), 100, FixedNoise(0, 100, CPU))
    assert drawn.shape == (100, 1, 4, 4)
    assert set((drawn * 4).unique().tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_drawn_numbers_are_those_of_the_data_set():
    drawn = density(NUMBERS).sample(Normal(), 4000, FixedNoise(0, 4000, CPU))
    assert drawn.mean(0).tolist() == pytest.approx([1, -2], abs=0.3)
    assert drawn.std(0).tolist() == pytest.approx([0.5, 4], rel=0.05)


def test_a_density_over_the_plane_is_shown_beside_the_points():
    split = Resident(torch.randn(300, 2), torch.zeros(300).long())
    (picture,) = density(NUMBERS).pictures(Normal(), split, FixedNoise(0, 64, CPU)).values()
    height, width, _ = picture.shape
    assert width == 2 * height and picture.dtype == np.uint8
    right = picture[:, height:].sum(2)
    assert right[height // 2 - 60 : height // 2 + 60].mean() > right[:20].mean()

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from dlcli.metrics.mixture import Mixture, mixture_metrics, reverse_kl
from dlcli.protocols import Batch

MODES = torch.tensor(list(itertools.product(range(-4, 5, 2), repeat=2)), dtype=torch.float64)
GRID = Mixture(MODES, 0.05, lambda points: 2 * points)  # a model that works in halves of the source's units
METRICS = mixture_metrics(GRID)


def value(name, points):
    return METRICS[name].reduce(METRICS[name].rows(points, Batch(points, points)).numpy())


def truth(n, modes=25):
    source = torch.Generator().manual_seed(0)
    chosen = MODES[torch.randint(modes, (n,), generator=source)]
    return (chosen + 0.05 * torch.randn(n, 2, generator=source, dtype=torch.float64)) / 2


def test_the_truth_scores_25_modes_and_the_share_within_three_deviations():
    points, n = truth(40_000), 40_000
    share = 1 - math.exp(-4.5)
    assert value("modes", points) == 25
    assert value("high_quality", points) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))
    assert 0 < value("reverse_kl", points) < 3 * 24 / (2 * n)


def test_the_surprise_of_the_truth_is_its_entropy():
    entropy = math.log(25) + math.log(2 * math.pi * math.e * 0.05**2)  # the modes do not overlap: 0.06529
    assert entropy == pytest.approx(0.06529, abs=1e-5)
    assert value("surprise", truth(40_000)) == pytest.approx(entropy, abs=4 / math.sqrt(40_000))


def test_the_density_is_that_of_scipy():
    points = torch.randn(20, 2, dtype=torch.float64)
    density = np.mean([multivariate_normal(mode, 0.5**2).pdf(2 * points.numpy()) for mode in MODES.numpy()], axis=0)
    surprise = mixture_metrics(GRID._replace(deviation=0.5))["surprise"].rows(points, Batch(points, points))
    np.testing.assert_allclose(surprise.numpy(), -np.log(density), rtol=1e-9)


def test_a_collapsed_sample_is_recognized():
    points = truth(2500, modes=3)
    assert value("modes", points) == 3
    assert value("high_quality", points) > 0.97
    assert value("reverse_kl", points) == pytest.approx(math.log(25 / 3), abs=0.01)


def test_points_between_the_modes_reach_none():
    points = torch.full((10, 2), 0.5, dtype=torch.float64)
    assert value("modes", points) == value("high_quality", points) == 0
    assert value("reverse_kl", points) == pytest.approx(math.log(25))


def test_the_divergence_of_a_histogram_by_hand():
    rows = np.array([0.0, 0.0, 0.0, 1.0, -1.0])
    assert reverse_kl(rows, 2) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))

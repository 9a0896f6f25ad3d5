"""Where a curve of losses falls fastest, under noise of its start and of its batches."""

import numpy as np
import pytest

from dlcli.range_test import MEMORY, Range


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_hide_where_the_loss_falls_fastest(seed):
    rates = np.geomspace(1e-6, 10, 300)
    falling = 2.3 - 0.6 / (1 + (3e-3 / rates) ** 2)  # steepest at 3e-3 per factor of the rate
    losses = falling + np.where(rates > 0.3, rates, 0) + 0.1 * np.random.default_rng(seed).normal(size=300)
    means, mean = np.empty(300), 0.0
    for i, loss in enumerate(losses):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means[i] = mean / (1 - MEMORY ** (i + 1))
    found = Range(rates, losses, means, False)
    assert 1e-3 < found.steepest < 2e-2 and found.steepest < found.least < 0.5

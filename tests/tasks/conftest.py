"""An energy whose partition function is known, and noise that a test can repeat."""

import pytest
import torch
from torch import nn


class Gaussian(nn.Module):
    """Energy of a round Gaussian about a centre, whose partition function is known."""

    def __init__(self, deviation, centre=0.0, base=2.0, chains=4000):
        super().__init__()
        self.deviation, self.base = deviation, base
        self.centre = nn.Parameter(torch.tensor([centre, 0.0]))
        self.register_buffer("chains", torch.zeros(chains, 2))

    def forward(self, inputs):
        return (inputs - self.centre).square().sum(1) / (2 * self.deviation**2)


class Normals:
    """Noise that a test can repeat."""

    def __init__(self, examples, seed=0):
        self.examples, self.generator = examples, torch.Generator().manual_seed(seed)

    def normal(self, *shape):
        return torch.randn(self.examples, *shape, generator=self.generator)

    def uniform(self, *shape):
        return torch.rand(self.examples, *shape, generator=self.generator)


@pytest.fixture
def gaussian():
    return Gaussian


@pytest.fixture
def normals():
    return Normals

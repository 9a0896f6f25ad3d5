import torch
from torch import nn


def test_layers_stay_as_they_are(build_normalization):
    layer = nn.Linear(2, 3)
    assert build_normalization("none").wrap(layer) is layer


def test_nothing_is_placed_behind_them(build_normalization):
    inputs = torch.randn(2, 3)
    assert build_normalization("none").after(3, 0)(inputs) is inputs

"""A model of your own. The signature of `mine` is what conf/model/mine.yaml may set; dlcli needs to know no more."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from dlcli.models.layers import dense
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count


@register("model", "mine", normalization="layer")  # what normalization=auto gives it
def mine(spec: DataSpec, normalization: Normalization, *, width: Count, depth: Count) -> Predictor:
    """Mine: hidden layers of which each sees the inputs again, beside what the layer before made of them.

    What stands before the star dlcli passes in: the form of the data, and the normalization that was chosen. A
    Predictor ends in one linear layer, which lets dlcli refit that layer exactly to bound min_F L_train.
    """
    return Predictor(Seeing(prod(spec.shape), normalization, width, depth), width, spec.outputs)


class Seeing(nn.Module):
    def __init__(self, features: int, normalization: Normalization, width: int, depth: int):
        super().__init__()
        sizes = [features, *[features + width] * (depth - 1)]
        self.layers = nn.ModuleList(nn.Sequential(*dense(size, width, normalization), nn.ReLU()) for size in sizes)

    def forward(self, inputs: Tensor) -> Tensor:  # (batch, *spec.shape) -> (batch, width)
        inputs = hidden = inputs.flatten(1)
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden if number == 0 else torch.cat([inputs, hidden], 1))
        return hidden

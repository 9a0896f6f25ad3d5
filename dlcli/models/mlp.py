"""Multilayer perceptrons."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from dlcli.models.layers import ACTIVATIONS, dense, require_numbers
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, DropRate, Natural


@register("model", "mlp")
def mlp(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Natural,
    activation: Activation,
    dropout: DropRate,
) -> Predictor:
    """Multilayer perceptron: fully connected hidden layers over the flattened inputs.

    A hidden layer is linear map, normalization, activation, dropout. No hidden layer leaves the linear predictor.
    """
    require_numbers(spec, "mlp")
    sizes = [math.prod(spec.shape), *[width] * depth]
    body: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        body += [*dense(inputs, outputs, normalization), ACTIVATIONS[activation](), nn.Dropout(dropout)]
    return Predictor(nn.Sequential(*body), sizes[-1], spec.outputs)

"""Multilayer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from dlcli.models.layers import ACTIVATIONS, dense, require_numbers
from dlcli.models.predictor import UNKNOWN, Predictor
from dlcli.protocols import Architecture, DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, DropRate, Natural

PIECEWISE_LINEAR = {"relu": 1, "leaky_relu": 1}  # breakpoints of a unit


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
    return Perceptron(nn.Sequential(*body), sizes[-1], spec.outputs, architecture(body, activation, width, depth))


def architecture(body: list[nn.Module], activation: str, width: int, depth: int) -> Architecture:
    """Normalized layers are no plain ones, and nothing is claimed of them."""
    plain = {nn.Flatten, nn.Linear, nn.Identity, nn.Dropout, ACTIVATIONS[activation]}
    if depth == 0:
        return Architecture(frozen=True)
    if any(type(module) not in plain for module in body):
        return UNKNOWN
    return Architecture(
        hidden=(width,) * depth, breakpoints=PIECEWISE_LINEAR.get(activation), rectified=activation == "relu"
    )


class Perceptron(Predictor):
    """The predictor of `mlp`."""

    @torch.no_grad()
    def embed(self, narrower: Mapping[str, Tensor]) -> None:
        """Make the model the function of a narrower or shallower one, given by its state.

        Its units stay what they are and do not see the added ones, whose own input weights stay and whose output
        weights are 0: they can still learn. An added layer passes the units on, for which these must not be negative.
        """
        layers = [module for module in self.body if isinstance(module, nn.Linear)]
        given = [name.removesuffix(".weight") for name in narrower if name.startswith("body.") and "weight" in name]
        before = layers[0].in_features
        for layer, name in zip(layers, given, strict=False):
            weight, bias = narrower[f"{name}.weight"], narrower[f"{name}.bias"]
            layer.weight[: len(weight)] = 0
            layer.weight[: len(weight), :before] = weight
            layer.bias[: len(bias)] = bias
            before = len(weight)
        for layer in layers[len(given) :]:
            layer.weight[:before] = 0
            layer.weight[:before, :before] = torch.eye(before)
            layer.bias[:before] = 0
        self.head.weight.zero_()[:, :before] = narrower["head.weight"]
        self.head.bias.copy_(narrower["head.bias"])

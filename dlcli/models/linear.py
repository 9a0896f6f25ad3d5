"""Linear models, shallow or deep: the functions are the same, the paths of the optimizer are not."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dlcli.models.layers import require_numbers
from dlcli.models.predictor import Predictor
from dlcli.protocols import Architecture, DataSpec
from dlcli.registry import register
from dlcli.schema import Count, Natural


@register("model", "linear")
def linear(spec: DataSpec, *, width: Count, depth: Natural) -> Predictor:
    """Linear predictor: affine in the inputs; with `depth` a product of matrices (deep linear network).

    Hidden layers are linear, without bias, and take no normalization. They leave the set of functions as it is unless
    `width` is below both the inputs and the outputs, which bounds the rank (Baldi & Hornik 1989).
    """
    require_numbers(spec, "linear")
    sizes = [math.prod(spec.shape), *[width] * depth]
    hidden = [nn.Linear(inputs, outputs, bias=False) for inputs, outputs in pairwise(sizes)]
    body = nn.Sequential(nn.Flatten(), *hidden)
    if not hidden:
        return Predictor(body, sizes[-1], spec.outputs, Architecture(frozen=True))
    return DeepLinear(body, sizes[-1], spec.outputs, Architecture(affine=True))


class DeepLinear(Predictor):
    """A product of matrices in place of one."""

    @torch.no_grad()
    def place(self, weights: Tensor, bias: Tensor) -> None:
        """Make the model this map of its inputs: weights (outputs, inputs) of rank up to the width, bias (outputs,).

        Half of each singular value stands in the first layer and half in the last; the layers between pass it on.
        """
        left, singular, right = torch.linalg.svd(weights, full_matrices=False)
        rank = min(len(singular), self.head.in_features)
        root = singular[:rank].sqrt()
        first, *between = list(self.body)[1:]
        first.weight.zero_()[:rank] = root[:, None] * right[:rank]
        for layer in between:
            nn.init.eye_(layer.weight)
        self.head.weight.zero_()[:, :rank] = left[:, :rank] * root
        self.head.bias.copy_(bias)

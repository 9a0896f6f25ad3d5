"""Linear models, shallow or deep: the functions are the same, the paths of the optimizer are not."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from dlcli.models.layers import require_numbers
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec
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
    return Predictor(nn.Sequential(nn.Flatten(), *hidden), sizes[-1], spec.outputs)

"""Kernel machines, exact or by random features: linear in functions that are fixed before training starts."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.models.layers import require_numbers
from dlcli.models.predictor import Predictor
from dlcli.models.random_features import random_features
from dlcli.protocols import Architecture, DataSpec
from dlcli.registry import register
from dlcli.schema import Count, Positive, Seed

FROZEN = Architecture(frozen=True)
MOST_EXAMPLES = 20000  # of an exact kernel: their values for one batch of 1000 are then 80 MB


@register("model", "kernel")
def kernel(
    spec: DataSpec,
    examples: Tensor,
    *,
    kernel: Literal["rbf", "laplace", "arccosine"],
    gamma: Positive | Literal["scale"],
    order: Literal[0, 1],
    width: Count,
    depth: Count,
    exact: bool,
    features_seed: Seed,
) -> Predictor:
    """Kernel machine: RBF, Laplace or arc-cosine kernel, by random features or exactly over the training set.

    examples: (n, *spec.shape), the training inputs. Exact: f(x) = sum_i a_i k(x_i, x) + b; otherwise `width` random
    features whose inner products approximate k. The features come from `features_seed`, not from the run's seed, so
    that all runs of a sweep share one set of functions. Normalization does not apply.
    Source: Rahimi & Recht 2007 (NeurIPS), random features; Cho & Saul 2009 (NeurIPS), arc-cosine kernels and the
    composition of kernels that `depth` repeats. Raises UsageError for an exact kernel over more than 20000 examples.
    """
    require_numbers(spec, "kernel")
    if exact and len(examples) > MOST_EXAMPLES:
        raise UsageError(
            f"model 'kernel' with model.exact=true holds at most {MOST_EXAMPLES} examples; "
            f"'{spec.name}' has {len(examples)}",
            "use model.exact=false (random features, model.width of them), or a smaller dataset.train_fraction",
        )
    features = math.prod(spec.shape)
    number = scale_gamma(examples) if gamma == "scale" else gamma
    if exact:
        values = KernelValues(examples.flatten(1), kernel, number, order, depth)
        return Predictor(FixedFeatures(nn.Flatten(), values), len(examples), spec.outputs, FROZEN)
    generator = torch.Generator().manual_seed(features_seed)
    levels = random_features(generator, features, kernel, number, order, width, depth)
    return Predictor(FixedFeatures(nn.Flatten(), *levels), width, spec.outputs, FROZEN)


def scale_gamma(examples: Tensor) -> float:
    """1 / (features * variance over all entries), scikit-learn's "scale"; 1 where the inputs are constant."""
    variance = examples.var(correction=0).item()
    return 1 / (examples[0].numel() * variance) if variance else 1.0


class FixedFeatures(nn.Sequential):
    """Features without parameters, in full precision whatever the training uses: half of it would be other features."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs)


class KernelValues(nn.Module):
    """inputs (batch, features) -> k(inputs, examples) (batch, n)."""

    def __init__(self, examples: Tensor, kernel: str, gamma: float, order: int, depth: int):
        super().__init__()
        self.register_buffer("examples", examples, persistent=False)  # the data set is their home
        self.kernel, self.gamma, self.order, self.depth = kernel, gamma, order, depth

    def forward(self, inputs: Tensor) -> Tensor:
        return kernel_values(inputs, self.examples, self.kernel, self.gamma, self.order, self.depth)


def kernel_values(x: Tensor, y: Tensor, kernel: str, gamma: float, order: int, depth: int) -> Tensor:
    """x (m, features), y (n, features) -> k(x, y) (m, n)."""
    if kernel == "arccosine":
        return arccosine(x, y, order, depth)
    distances = torch.cdist(x, y, p=1) if kernel == "laplace" else squared_distances(x, y)
    values = torch.exp(-gamma * distances)
    for _ in range(depth - 1):
        # The images of x and y under the feature map are unit vectors, their squared distance is 2 - 2k.
        # Differs: Cho & Saul use gamma again; it belongs to the scale of the inputs, and unit vectors take 1.
        values = torch.exp(-2 * (1 - values))
    return values


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    lengths = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return (lengths - 2 * x @ y.T).clamp(min=0)  # rounding may leave a point at a negative distance of itself


def arccosine(x: Tensor, y: Tensor, order: int, depth: int) -> Tensor:
    """The kernel of `depth` infinitely wide layers of step (order 0) or ReLU units (order 1).

    Source: Cho & Saul 2009 (NeurIPS), section 2.
    """
    values = x @ y.T
    x_square, y_square = x.square().sum(1), y.square().sum(1)  # k(x, x) of the level before
    for _ in range(depth):
        lengths = torch.outer(x_square, y_square).sqrt()
        cosine = (values / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).clamp(-1, 1)
        angle = torch.acos(cosine)
        if order == 0:
            values = 1 - angle / math.pi
            x_square, y_square = torch.ones_like(x_square), torch.ones_like(y_square)
        else:
            values = lengths * (torch.sin(angle) + (math.pi - angle) * cosine) / math.pi
    return values

"""Initial weights of linear and convolution layers; norm scales and shifts keep their ones and zeros everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dlcli.protocols import Initialization
from dlcli.registry import register
from dlcli.schema import Positive


@register("initialization", "default")
def default(*, scale: Positive) -> Initialization:
    """The framework's own: uniform in +-1/sqrt(fan_in), weights and biases; `scale` multiplies the weights."""

    def initialize(model: nn.Module) -> None:
        if scale != 1:
            for layer in layers(model):
                set_weight(layer, layer.weight * scale)

    return torch.no_grad()(initialize)


@register("initialization", "he")
def he(*, scale: Positive) -> Initialization:
    """He: normal with variance 2/fan_in, which keeps the size of activations through ReLU; biases zero.

    Source: He, Zhang, Ren & Sun 2015, arXiv:1502.01852, equation 10.
    """
    return redraw(lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"), scale)


@register("initialization", "xavier")
def xavier(*, scale: Positive) -> Initialization:
    """Xavier: uniform with variance 2/(fan_in + fan_out), made for symmetric activations as tanh; biases zero.

    Source: Glorot & Bengio 2010 (AISTATS), equation 16.
    """
    return redraw(nn.init.xavier_uniform_, scale)


@register("initialization", "orthogonal")
def orthogonal(*, scale: Positive) -> Initialization:
    """Orthogonal: weights, as matrices (outputs, inputs), with orthonormal rows or columns; biases zero.

    Source: Saxe, McClelland & Ganguli 2014, arXiv:1312.6120.
    """
    return redraw(nn.init.orthogonal_, scale)


def redraw(draw: Callable[[Tensor], Tensor], scale: float) -> Initialization:
    """Fill every weight in place by `draw`, times `scale`; every bias with zeros."""

    def initialize(model: nn.Module) -> None:
        for layer in layers(model):
            set_weight(layer, draw(torch.empty_like(layer.weight)) * scale)
            if layer.bias is not None:
                layer.bias.zero_()

    return torch.no_grad()(initialize)


def layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv1d | nn.Conv2d]:
    return (module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d))


def set_weight(layer: nn.Module, weight: Tensor) -> None:
    """Make `weight` the effective weight: of a reparametrized layer, the parameters behind it are set."""
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)

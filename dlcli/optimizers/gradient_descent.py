"""Rules without memory: the gradient, times the learning rate, on the full batch or on a sample of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, add_scaled
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive


class GradientDescent:
    """w <- w - lr * (g + weight_decay * w). Without momentum, coupled and decoupled decay are the same."""

    def __init__(self, lr: float, decay: WeightDecay, full_batch: bool):
        self.lr = lr
        self.decay = decay
        self.full_batch = full_batch

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return {}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        self.decay.shrink(parameters, lr)
        add_scaled(parameters.weights, parameters.gradients, -lr)


@register("optimizer", "gd")
def gd(*, lr: Positive, weight_decay: NonNegative, decay: Literal["all", "matrices"]) -> GradientDescent:
    """Gradient descent on the full training set: one step an epoch (Cauchy 1847)."""
    return GradientDescent(lr, WeightDecay(weight_decay, decay), full_batch=True)


@register("optimizer", "sgd", elementwise=True)
def sgd(*, lr: Positive, weight_decay: NonNegative, decay: Literal["all", "matrices"]) -> GradientDescent:
    """Stochastic gradient descent (Robbins and Monro 1951)."""
    return GradientDescent(lr, WeightDecay(weight_decay, decay), full_batch=False)

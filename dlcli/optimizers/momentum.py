"""Gradient descent with a velocity: heavy ball and Nesterov's acceleration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, zeros_like

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, momentum_step
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive, Range


class Momentum:
    """v <- momentum * v + g;  w <- w - lr * v, or with Nesterov  w <- w - lr * (g + momentum * v)."""

    full_batch = False

    def __init__(self, lr: float, momentum: Number, nesterov: bool, decay: WeightDecay):
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.decay = decay

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return {"velocity": zeros_like(parameters.weights)}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        for rate, part in self.decay.parts(parameters, state["velocity"]):
            momentum_step(*part, lr=lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=rate)


@register("optimizer", "momentum", elementwise=True)
def momentum(
    *,
    lr: Positive,
    momentum: Annotated[float, Range(0, 1, open_high=True)],
    weight_decay: NonNegative,
    decay: Literal["all", "matrices"],
) -> Momentum:
    """Stochastic gradient descent with heavy-ball momentum (Polyak 1964).

    Differs: the learning rate multiplies the velocity as a whole, as in common frameworks, not each gradient as it
    enters; the two are the same while the learning rate is constant.
    """
    return Momentum(lr, momentum, False, WeightDecay(weight_decay, decay))


@register("optimizer", "nesterov", elementwise=True)
def nesterov(
    *,
    lr: Positive,
    momentum: Annotated[float, Range(0, 1, open_high=True)],
    weight_decay: NonNegative,
    decay: Literal["all", "matrices"],
) -> Momentum:
    """Stochastic gradient descent with Nesterov's accelerated gradient (Nesterov 1983; Sutskever et al. 2013).

    Differs: the weights kept are those at which the gradient is taken (the point looked ahead to).
    """
    return Momentum(lr, momentum, True, WeightDecay(weight_decay, decay))

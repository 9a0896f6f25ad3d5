"""RMSprop: each weight's step is divided by a running root mean square of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, zeros_like

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, add_scaled
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive, Range


@register("optimizer", "rmsprop", elementwise=True)
class Rmsprop:
    """RMSprop: steps divided by a running root mean square of the gradient (Tieleman and Hinton 2012)."""

    full_batch = False

    def __init__(
        self,
        *,
        lr: Positive,
        alpha: Annotated[float, Range(0, 1, open_high=True)],
        eps: Positive,
        momentum: Annotated[float, Range(0, 1, open_high=True)],
        weight_decay: NonNegative,
        decay: Literal["all", "matrices"],
    ) -> None:
        self.lr = lr
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self.heavy = isinstance(momentum, Tensor) or momentum > 0
        self.decay = WeightDecay(weight_decay, decay)

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        remembered = ("square", "velocity") if self.heavy else ("square",)
        return {name: zeros_like(parameters.weights) for name in remembered}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        gradients = self.decay.gradients(parameters)
        direction = gradients * gradients  # the one buffer of the step: g^2, then its root mean square, then g over it
        state["square"].lerp_(direction, 1 - self.alpha)
        direction.copy_(state["square"]).sqrt_().add_(self.eps).reciprocal_().mul_(gradients)
        if self.heavy:
            direction = state["velocity"].mul_(self.momentum).add_(direction)
        add_scaled(parameters.weights, direction, -lr)

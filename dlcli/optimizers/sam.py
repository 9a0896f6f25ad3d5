"""Sharpness-aware minimization: the gradient is taken at the worst point of a small ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number
from dlcli.optimizers.momentum import Momentum
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive, Range


@register("optimizer", "sam")
class Sam:
    """SAM: momentum SGD with the gradient at the sharpest point within rho; two gradients a step (Foret et al. 2020).

    The weight decay enters at the weights themselves, not at the point climbed to (algorithm 1 of the paper).
    """

    full_batch = False

    def __init__(
        self,
        *,
        lr: Positive,
        rho: Positive,
        momentum: Annotated[float, Range(0, 1, open_high=True)],
        weight_decay: NonNegative,
        decay: Literal["all", "matrices"],
    ) -> None:
        self.lr = lr
        self.rho = rho
        self.descent = Momentum(lr, momentum, False, WeightDecay(weight_decay, decay))

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return self.descent.init(parameters)

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        home = parameters.weights.clone()  # kept, since subtracting the climb again would round
        norm = torch.linalg.vector_norm(parameters.gradients, dim=-1, keepdim=True)
        parameters.weights.addcmul_(parameters.gradients, self.rho / (norm + 1e-12))
        again()
        parameters.weights.copy_(home)
        self.descent.update(parameters, state, lr, again)

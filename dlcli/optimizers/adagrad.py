"""AdaGrad: each weight's step shrinks with the sum of its squared gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, zeros_like

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, adagrad_step
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive


@register("optimizer", "adagrad", elementwise=True)
class Adagrad:
    """AdaGrad: steps divided by the root of all squared gradients so far (Duchi, Hazan and Singer 2011)."""

    full_batch = False

    def __init__(
        self, *, lr: Positive, eps: Positive, weight_decay: NonNegative, decay: Literal["all", "matrices"]
    ) -> None:
        self.lr = lr
        self.eps = eps
        self.decay = WeightDecay(weight_decay, decay)

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return {"total": zeros_like(parameters.weights)}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        for rate, part in self.decay.parts(parameters, state["total"]):
            adagrad_step(*part, lr=lr, eps=self.eps, weight_decay=rate)

"""Lion: the sign of an average of gradients, found by a search over programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, zeros_like

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, add_scaled
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive, Range


@register("optimizer", "lion", elementwise=True)
class Lion:
    """Lion: every weight moves by lr, along the sign of an averaged gradient (Chen et al. 2023)."""

    full_batch = False

    def __init__(
        self,
        *,
        lr: Positive,
        beta1: Annotated[float, Range(0, 1, open_high=True)],
        beta2: Annotated[float, Range(0, 1, open_high=True)],
        weight_decay: NonNegative,
        decay: Literal["all", "matrices"],
    ) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.decay = WeightDecay(weight_decay, decay)

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return {"average": zeros_like(parameters.weights)}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        direction = state["average"].lerp(parameters.gradients, 1 - self.beta1).sign_()
        self.decay.shrink(parameters, lr)
        add_scaled(parameters.weights, direction, -lr)
        state["average"].lerp_(parameters.gradients, 1 - self.beta2)

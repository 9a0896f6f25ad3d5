"""Adam and AdamW: a step per weight from running means of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, zeros, zeros_like

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Kernel, Number, adam_step, adamw_step
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import NonNegative, Positive, Range


class Adam:
    """w <- w - lr * mean(g) / (sqrt(mean(g^2)) + eps), with both means corrected for their start at zero."""

    full_batch = False

    def __init__(self, lr: float, beta1: Number, beta2: Number, eps: float, decay: WeightDecay, kernel: Kernel):
        self.lr = lr
        self.numbers = {"beta1": beta1, "beta2": beta2, "eps": eps}
        self.decay = decay
        self.kernel = kernel

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        return {
            "average": zeros_like(parameters.weights),
            "square": zeros_like(parameters.weights),
            "step": zeros((), device=parameters.weights.device),  # the fused kernel wants it as a float beside them
        }

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        state["step"].add_(1)
        for rate, part in self.decay.parts(parameters, state["average"], state["square"]):
            self.kernel(*part, state["step"], lr=lr, weight_decay=rate, **self.numbers)


@register("optimizer", "adam", elementwise=True)
def adam(
    *,
    lr: Positive,
    beta1: Annotated[float, Range(0, 1, open_high=True)],
    beta2: Annotated[float, Range(0, 1, open_high=True)],
    eps: Positive,
    weight_decay: NonNegative,
    decay: Literal["all", "matrices"],
) -> Adam:
    """Adam: adaptive moments, weight decay as an L2 term of the loss (Kingma and Ba 2014)."""
    return Adam(lr, beta1, beta2, eps, WeightDecay(weight_decay, decay), adam_step)


@register("optimizer", "adamw", elementwise=True)
def adamw(
    *,
    lr: Positive,
    beta1: Annotated[float, Range(0, 1, open_high=True)],
    beta2: Annotated[float, Range(0, 1, open_high=True)],
    eps: Positive,
    weight_decay: NonNegative,
    decay: Literal["all", "matrices"],
) -> Adam:
    """AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2017).

    Differs: the decay is multiplied by the learning rate, as in common frameworks, not by the schedule alone.
    """
    return Adam(lr, beta1, beta2, eps, WeightDecay(weight_decay, decay), adamw_step)

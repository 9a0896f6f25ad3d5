"""Muon: momentum whose matrices are replaced by the nearest orthogonal ones; AdamW where that has no meaning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.kernels import Number, adamw_step, add_scaled
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Positive, Range

QUINTIC = 3.4445, -4.7750, 2.0315  # Jordan's coefficients: steepest at zero, singular values end in about [0.7, 1.2]


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """U V' in place of U S V', roughly, by Newton-Schulz iterations on (..., rows, columns)."""
    a, b, c = QUINTIC
    tall = matrix.shape[-2] > matrix.shape[-1]  # the Gram matrix of the shorter side is the cheaper one
    x = matrix.mT if tall else matrix
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


@register("optimizer", "muon")
class Muon:
    """Muon: orthogonalized Nesterov momentum for matrices, AdamW for the rest (Jordan et al. 2024).

    A convolution kernel counts as a matrix with one row per output channel. Vectors always go to AdamW, and so do
    the first and the last matrix (input layer or embedding, and head) unless `ends` is "muon": then a network of
    one or two layers has no matrix left for Muon. Weight decay is decoupled in both.
    """

    full_batch = False

    def __init__(
        self,
        *,
        lr: Positive,
        momentum: Annotated[float, Range(0, 1, open_high=True)],
        newton_schulz_steps: Count,
        scale: Literal["shape", "rms"],
        ends: Literal["adamw", "muon"],
        precision: Literal["fp32", "bf16"],
        adam_ratio: Positive,
        beta1: Annotated[float, Range(0, 1, open_high=True)],
        beta2: Annotated[float, Range(0, 1, open_high=True)],
        eps: Positive,
        weight_decay: NonNegative,
        decay: Literal["all", "matrices"],
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.newton_schulz_steps = newton_schulz_steps
        self.scale = scale
        self.ends = ends
        self.dtype = torch.bfloat16 if precision == "bf16" else None  # None: that of the weights
        self.adam_ratio = adam_ratio
        self.numbers = {"beta1": beta1, "beta2": beta2, "eps": eps}
        self.decay = WeightDecay(weight_decay, decay)

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        first, last = self._hidden(parameters)
        weights = parameters.weights
        return {
            "average": torch.zeros_like(weights),  # Muon's momentum between `first` and `last`, AdamW's mean elsewhere
            "square": torch.zeros_like(torch.cat([weights[..., :first], weights[..., last:]], dim=-1)),
            "step": torch.zeros((), device=weights.device),
        }

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, again: Callable[[], Tensor]) -> None:
        first, last = self._hidden(parameters)
        hidden, runs = parameters.weights[..., first:last], parameters.weights.dim() - 1
        self._adamw(parameters, state, lr * self.adam_ratio, first, last)
        state["average"][..., first:last].lerp_(parameters.gradients[..., first:last], 1 - self.momentum)
        direction = parameters.gradients.lerp(state["average"], self.momentum)  # laid out as the weights are
        start = first
        for weight, _ in self._matrices(parameters):
            view = direction.as_strided(weight.shape, weight.stride(), start)
            start += weight.numel() // (direction.numel() // direction.shape[-1])
            matrix = view.flatten(runs + 1)  # (*runs, rows, columns)
            orthogonal = orthogonalize(matrix.to(self.dtype or matrix.dtype), self.newton_schulz_steps)
            view.copy_(orthogonal.reshape(view.shape)).mul_(self._factor(*matrix.shape[-2:]))
        hidden.mul_(1 - lr * self.decay.rate)
        add_scaled(hidden, direction[..., first:last], -lr)

    def _adamw(self, parameters: Parameters, state: dict[str, Tensor], lr: Number, first: int, last: int) -> None:
        """AdamW on what lies before `first` and from `last` on."""
        decayed = self.decay.size(parameters)
        tensors = parameters.weights, parameters.gradients, state["average"]
        state["step"].add_(1)
        for start, end in ((0, first), (last, decayed), (decayed, parameters.weights.shape[-1])):
            if start < end:
                skipped = last - first if start >= last else 0
                square = state["square"][..., start - skipped : end - skipped]
                rate = self.decay.rate if start < decayed else 0.0
                part = (tensor[..., start:end] for tensor in tensors)
                adamw_step(*part, square, state["step"], lr=lr, weight_decay=rate, **self.numbers)

    def _matrices(self, parameters: Parameters) -> list[tuple[Tensor, Tensor]]:
        return parameters.matrices[1:-1] if self.ends == "adamw" else parameters.matrices

    def _hidden(self, parameters: Parameters) -> tuple[int, int]:
        """Where Muon's matrices begin and end in the vector of weights."""
        runs = parameters.weights.shape[:-1].numel()
        sizes = [weight.numel() // runs for weight, _ in parameters.matrices]
        if self.ends == "muon" or not sizes:
            return 0, sum(sizes)
        first = sizes[0]
        return first, max(first, sum(sizes) - sizes[-1])

    def _factor(self, rows: int, columns: int) -> float:
        """Equal steps for all shapes: in spectral norm, or in root mean square as AdamW's (arXiv:2502.16982)."""
        return math.sqrt(max(1, rows / columns)) if self.scale == "shape" else 0.2 * math.sqrt(max(rows, columns))

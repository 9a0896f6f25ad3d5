"""Random numbers of runs that are trained together: each draws from a generator of its own what it would draw alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dlcli.training.member_recurrence import IN_STEPS, recurrence


class MemberNoise(TorchFunctionMode):
    """While entered within `vmap`, dropout and normal and uniform numbers are those of the row that is computed.

    row: the number of the run, as `vmap` hands it to the function; whoever is mapped sets it first.
    """

    row: Tensor

    def __init__(self, seeds: Sequence[int], device: torch.device):
        super().__init__()
        self._seeds, self._device = seeds, device
        self._generators: list[Generator] = []

    @property
    def drawn(self) -> bool:
        """Whether anything was."""
        return bool(self._generators)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), settings: Any = None) -> Any:
        if function in IN_STEPS:
            return recurrence(function, *arguments)
        own = OWN.get(function)
        if own is None or "generator" in (settings or {}):
            return function(*arguments, **(settings or {}))
        return own(self, *arguments, **(settings or {}))

    def _draw(self, fill: Callable[[Tensor, Generator], object], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        if not self._generators:  # most models draw nothing
            self._generators = [Generator(self._device).manual_seed(seed) for seed in self._seeds]
        drawn = torch.empty(len(self._seeds), *shape, dtype=dtype, device=self._device)
        for numbers, generator in zip(drawn, self._generators, strict=True):
            fill(numbers, generator)
        return drawn.index_select(0, self.row.unsqueeze(0)).squeeze(0)

    def normal(self, *shape: int, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
        return self._draw(lambda numbers, own: numbers.normal_(generator=own), shape, dtype or torch.float32)

    def uniform(self, *shape: int, dtype: torch.dtype | None = None, **place: Any) -> Tensor:
        return self._draw(lambda numbers, own: numbers.uniform_(generator=own), shape, dtype or torch.float32)

    def dropout(self, inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return inputs
        kept = self._draw(lambda numbers, own: numbers.bernoulli_(1 - p, generator=own), inputs.shape, inputs.dtype)
        return inputs * kept.div_(1 - p)

    def attention(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attn_mask: None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
    ) -> Tensor:
        """In steps, since the fused kernel takes one set of heads. (batch, heads, length, head width)"""
        assert attn_mask is None
        scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
        if is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return self.dropout(scores.softmax(-1), dropout_p) @ values

    def cross_entropy(
        self, scores: Tensor, targets: Tensor, reduction: str = "mean", label_smoothing: float = 0.0, **more: Any
    ) -> Tensor:
        """In steps too: what `vmap` makes of the kernel takes three times as long, and imports a computer algebra."""
        if more != UNWEIGHTED or scores.dim() != 2 or targets.is_floating_point():
            return F.cross_entropy(scores, targets, reduction=reduction, label_smoothing=label_smoothing, **more)
        normalizer = scores.logsumexp(-1)
        losses = normalizer - scores.gather(-1, targets[:, None]).squeeze(-1)
        if label_smoothing:
            losses = (1 - label_smoothing) * losses + label_smoothing * (normalizer - scores.mean(-1))
        return losses if reduction == "none" else getattr(losses, reduction)()

    def linear(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A product of stacked matrices, its factors in the order in which a gradient lies as its weight does."""
        if inputs.dim() != 2:
            return F.linear(inputs, weight, bias)
        outputs = weight @ inputs.mT
        return outputs.mT if bias is None else (outputs + bias.to(outputs.dtype)[:, None]).mT


UNWEIGHTED = {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None}  # as torch passes them on
OWN = {
    F.linear: MemberNoise.linear,
    torch.randn: MemberNoise.normal,
    torch.rand: MemberNoise.uniform,
    F.dropout: MemberNoise.dropout,
    F.scaled_dot_product_attention: MemberNoise.attention,
    F.cross_entropy: MemberNoise.cross_entropy,
}

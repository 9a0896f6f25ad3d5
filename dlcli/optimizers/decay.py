"""Weight decay in its two forms, on all weights or on matrices only (norm scales and biases left out)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dlcli.optimizers.kernels import Number, add_scaled
from dlcli.protocols import Parameters


class WeightDecay:
    """`rate` per unit of learning rate; `where` is "all" or "matrices"."""

    def __init__(self, rate: Number, where: str):
        self.rate = rate
        self.where = where
        self.active = isinstance(rate, Tensor) or rate > 0

    def size(self, parameters: Parameters) -> int:
        """How many of the weights decay; they come first."""
        return parameters.matrices_size if self.where == "matrices" else parameters.weights.shape[-1]

    def shrink(self, parameters: Parameters, lr: Number) -> None:
        """Decoupled (Loshchilov and Hutter 2017, arXiv:1711.05101): the weights shrink beside the rule."""
        if self.active:
            parameters.weights[..., : self.size(parameters)].mul_(1 - lr * self.rate)

    def gradients(self, parameters: Parameters) -> Tensor:
        """Coupled: the gradient of loss + rate/2 * sum of squared weights; a new tensor if anything decays."""
        if not self.active:
            return parameters.gradients
        gradients, size = parameters.gradients.clone(), self.size(parameters)
        add_scaled(gradients[..., :size], parameters.weights[..., :size], self.rate)
        return gradients

    def parts(self, parameters: Parameters, *memory: Tensor) -> Iterator[tuple[Number, tuple[Tensor, ...]]]:
        """(rate, (weights, gradients, *memory)) of what decays and of what does not, for kernels that decay inside."""
        tensors, size = (parameters.weights, parameters.gradients, *memory), self.size(parameters)
        if not self.active or size == parameters.weights.shape[-1]:  # one kernel on whole vectors
            yield self.rate, tensors
        else:
            yield self.rate, tuple(tensor[..., :size] for tensor in tensors)
            yield 0.0, tuple(tensor[..., size:] for tensor in tensors)

"""All trainable numbers of a module as one vector, so that an update rule is a few tensor operations.

Separate because three rooms rely on this layout: the step fills `gradients`, the rules move `weights`, checkpoints
store both by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcli.training.ranks import ALONE, Ranks


class FlatParameters:
    """The parameters of `module`, matrices and kernels first, then vectors, each in the order of registration.

    Every parameter keeps its identity, shape and values, but its `data` becomes a view of `weights` (a channels-last
    kernel keeps its strides), which lasts until somebody replaces it: move the module to its device and cast it before,
    and lay out no parameter twice. A parameter shared by several layers appears once; frozen ones
    (`requires_grad=False`) do not appear.

    Weights and gradients do not require gradients themselves, so a rule records nothing and needs no `torch.no_grad`.
    """

    sharded = False
    averaged = 1  # by what a backward pass divides the sum over the ranks

    def __init__(self, module: nn.Module):
        named = [(name, leaf) for name, leaf in module.named_parameters() if leaf.requires_grad]
        named.sort(key=lambda entry: entry[1].dim() < 2)  # stable: matrices first
        self.names = [name for name, _ in named]
        self.leaves = [leaf for _, leaf in named]
        assert len({(leaf.dtype, leaf.device) for leaf in self.leaves}) <= 1, "parameters differ in type or device"
        like = self.leaves[0].detach() if self.leaves else torch.empty(0)
        size = sum(leaf.numel() for leaf in self.leaves)
        self.matrices_size = sum(leaf.numel() for leaf in self.leaves if leaf.dim() >= 2)
        self.move(like.new_empty(size), like.new_zeros(size))

    def move(self, weights: Tensor, gradients: Tensor) -> None:
        """Lie in these vectors, (size,) each, from now on, with the values that the parameters have."""
        self.weights, self.gradients = weights, gradients
        self.matrices: list[tuple[Tensor, Tensor]] = []
        self._places: list[Tensor] = []
        for leaf, (weight, gradient) in zip(self.leaves, self.places(weights, gradients), strict=True):
            weight.copy_(leaf.detach())
            leaf.data = weight
            self._places.append(gradient)
            if leaf.dim() >= 2:
                self.matrices.append((weight, gradient))

    def places(self, weights: Tensor, gradients: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The parts of both (..., size) that belong to each leaf, one behind the other, (..., *shape) each."""
        start = 0
        for leaf in self.leaves:
            yield part_of(weights, leaf, start), part_of(gradients, leaf, start)
            start += leaf.numel()

    def take(self, gradients: Sequence[Tensor | None]) -> None:
        """Put these in place, one for each leaf; None where the loss does not depend on it.

        One copy is half the work of letting autograd add to vectors of zeros in place.
        """
        for place, gradient in zip(self._places, gradients, strict=True):
            place.zero_() if gradient is None else place.copy_(gradient)

    @property
    def reached(self) -> list[Tensor]:
        """The inputs of a backward pass."""
        return self.leaves

    def collect(self, ranks: Ranks = ALONE) -> None:
        """Take what `backward` has left in the leaves, summed over the ranks."""
        self.take([leaf.grad for leaf in self.leaves])
        for leaf in self.leaves:
            leaf.grad = None
        ranks.add(self.gradients)

    def norm(self) -> Tensor:
        """Of the gradients."""
        return torch.dot(self.gradients, self.gradients).sqrt()

    def total(self) -> Tensor:
        """The sum of the weights, which is not finite if one of them is not."""
        return self.weights.sum()

    def gather(self, vector: Tensor) -> Tensor:
        """A vector like `weights`, whole."""
        return vector

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Name -> the part of `vector` (size,) that lies where that parameter does, in its shape."""
        starts = (leaf.storage_offset() - self.weights.storage_offset() for leaf in self.leaves)
        return {n: part_of(vector, leaf, start) for n, leaf, start in zip(self.names, self.leaves, starts, strict=True)}


class StackedParameters:
    """The parameters of several runs of one layout as the rows of one matrix, in which each run's own then lie.

    `leaves` has one tensor (runs, *shape) for each parameter.
    """

    def __init__(self, members: Sequence[FlatParameters]):
        first = members[0]
        self.names = first.names
        self.weights = torch.stack([member.weights for member in members])  # (runs, size)
        self.gradients = torch.zeros_like(self.weights)
        self.places = first.places
        pairs = list(self.places(self.weights, self.gradients))
        self.leaves = [weight.requires_grad_() for weight, _ in pairs]
        self._places = [gradient for _, gradient in pairs]
        for member, weights, gradients in zip(members, self.weights, self.gradients, strict=True):
            member.move(weights, gradients)
        self._matrices_size = first.matrices_size

    take = FlatParameters.take

    def block(self, rows: range) -> Block:
        """Neighbouring rows, as a rule sees parameters."""
        weights, gradients = (whole[rows.start : rows.stop] for whole in (self.weights, self.gradients))
        matrices = [pair for pair in self.places(weights, gradients) if pair[0].dim() > 2]
        return Block(weights, gradients, self._matrices_size, matrices)


class Block(NamedTuple):
    """Satisfies `protocols.Parameters` for several runs: each tensor has one dimension more, (runs, ...)."""

    weights: Tensor
    gradients: Tensor
    matrices_size: int
    matrices: list[tuple[Tensor, Tensor]]


def part_of(vector: Tensor, leaf: Tensor, start: int) -> Tensor:
    """The numbers of `vector` (..., size) from `start` on, in the shape (..., *shape) and memory format of `leaf`."""
    strides = torch.empty_like(leaf, device="meta").stride()  # dense: what `leaf` has, without gaps or overlaps
    runs, between = vector.shape[:-1], vector.stride()[:-1]
    return vector.as_strided((*runs, *leaf.shape), (*between, *strides), vector.storage_offset() + start)

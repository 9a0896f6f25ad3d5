"""All weights at once, minimized over the whole training set in float64: what long and careful training would reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Optimizer, Split, Task
from dlcli.training.descent import Reached, descend
from dlcli.training.evaluate import chunk_of
from dlcli.training.randomness import FixedNoise
from dlcli.training.references import Loss, copy_of, risk_of


class Penalty(NamedTuple):
    """rate / 2 * sum of the squared weights, of all or of `matrices` alone."""

    rate: float
    matrices: bool

    def of(self, leaves: list[Tensor]) -> Tensor | float:
        if not self.rate:
            return 0.0
        return 0.5 * self.rate * sum(leaf.square().sum() for leaf in leaves if leaf.dim() >= 2 or not self.matrices)


NO_PENALTY = Penalty(0.0, False)


def polish(
    model: nn.Module,
    task: Task,
    train: Split,
    rule: Optimizer,
    evaluations: int,
    stopped: Callable[[], bool],
    loss: Loss | None = None,
    penalty: Penalty = NO_PENALTY,
) -> Reached:
    """Move `model` down `loss` (the decomposed risk if None) plus `penalty`, from where it stands, by `rule`: in
    evaluation mode, every example in every evaluation.

    The best point is kept, in the precision of the model. `evaluations` of value and gradient are the whole cost.
    """
    loss, twin = loss or risk_of(task), copy_of(model).double()
    chunk = chunk_of(task.spec, train.device)

    def objective(leaves: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        total, gradients = leaves[0].new_zeros(()), [torch.zeros_like(leaf) for leaf in leaves]
        for first in range(0, len(train), chunk):
            batch = widened(train.batch(slice(first, first + chunk)))
            noise = FixedNoise(first, len(batch.inputs), batch.inputs.device)
            part = loss(twin, batch, noise) * (len(batch.inputs) / len(train))
            if first == 0:
                part = part + penalty.of(leaves)
            total += part.detach()
            of_part = torch.autograd.grad(part, leaves, materialize_grads=True)
            for gradient, more in zip(gradients, of_part, strict=True):
                gradient += more
        return total, gradients

    reached = descend(twin, objective, rule, evaluations, stopped)
    model.load_state_dict(twin.state_dict())
    return reached


def widened(batch: Batch) -> Batch:
    """Numbers in float64; tokens and classes stay."""
    return Batch(*(part.double() if part.is_floating_point() else part for part in batch))

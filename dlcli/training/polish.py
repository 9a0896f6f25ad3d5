"""All weights at once, minimized over the whole training set in float64: what long and careful training would reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy  # its submodules load where they are named first: optimize takes a tenth of a second
import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Split, Task
from dlcli.training.evaluate import CHUNK
from dlcli.training.randomness import FixedNoise
from dlcli.training.references import Loss, copy_of, risk_of
from dlcli.training.refit import put, vector

MEMORY = 20  # pairs of steps and gradients that L-BFGS remembers


class Penalty(NamedTuple):
    """rate / 2 * sum of the squared weights, of all or of `matrices` alone."""

    rate: float
    matrices: bool

    def of(self, leaves: list[Tensor]) -> Tensor | float:
        if not self.rate:
            return 0.0
        return 0.5 * self.rate * sum(leaf.square().sum() for leaf in leaves if leaf.dim() >= 2 or not self.matrices)


NO_PENALTY = Penalty(0.0, False)


class Reached(NamedTuple):
    before: float
    after: float
    evaluations: int


def polish(
    model: nn.Module,
    task: Task,
    train: Split,
    evaluations: int,
    stopped: Callable[[], bool],
    loss: Loss | None = None,
    penalty: Penalty = NO_PENALTY,
) -> Reached:
    """Move `model` down `loss` (the decomposed risk if None) plus `penalty`, from where it stands: L-BFGS with a search
    along each direction for the strong Wolfe conditions, in evaluation mode, every example in every evaluation.

    The best point is kept, in the precision of the model. `evaluations` of value and gradient are the whole cost.
    """
    loss, twin = loss or risk_of(task), copy_of(model).double()
    leaves = [leaf for leaf in twin.parameters() if leaf.requires_grad]
    chunk = max(1, CHUNK // task.spec.shape[0]) if task.spec.causal else CHUNK
    best, start, spent = (np.inf, vector(leaves)), vector(leaves), []

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        put(leaves, point)
        total, gradient = 0.0, np.zeros_like(point)
        for first in range(0, len(train), chunk):
            batch = widened(train.batch(slice(first, first + chunk)))
            noise = FixedNoise(first, len(batch.inputs), batch.inputs.device)
            part = loss(twin, batch, noise) * (len(batch.inputs) / len(train))
            if first == 0:
                part = part + penalty.of(leaves)
            total += part.item()
            gradient += vector(torch.autograd.grad(part, leaves, materialize_grads=True))
        spent.append(total)
        if total < best[0]:
            best = total, point.copy()
        return total, gradient

    def stop(_: np.ndarray) -> None:
        if stopped():
            raise StopIteration

    options = {"maxiter": evaluations, "maxfun": evaluations, "maxcor": MEMORY, "ftol": 1e-15, "gtol": 1e-10}
    scipy.optimize.minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", callback=stop, options=options)
    put(leaves, best[1])
    model.load_state_dict(twin.state_dict())
    return Reached(spent[0], best[0], len(spent))


def widened(batch: Batch) -> Batch:
    """Numbers in float64; tokens and classes stay."""
    return Batch(*(part.double() if part.is_floating_point() else part for part in batch))

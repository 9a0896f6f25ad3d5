"""The last layer alone, minimized over the whole training set while the features are held: a convex problem."""

from __future__ import annotations

import copy

import numpy as np
import scipy  # its submodules load where they are named first: optimize takes a tenth of a second
import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Split, Task
from dlcli.training.evaluate import CHUNK

GREATEST_REFIT = 1 << 28  # float64 numbers, 2 GiB; those of a long text would take the memory of the whole machine


def can_refit(head: nn.Linear | None, task: Task, train: Split) -> bool:
    """Whether there is a last layer, and its inputs and scores over the training set fit the memory as float64."""
    if head is None:
        return False
    predictions = len(train) * (task.spec.shape[0] if task.spec.causal else 1)
    return predictions * (head.in_features + head.out_features) <= GREATEST_REFIT


@torch.inference_mode()
def features(model: nn.Module, train: Split) -> Tensor:
    """What the last layer reads, (n, ..., features) float64; the model in evaluation mode."""
    chunks = [train.batch(slice(start, start + CHUNK)) for start in range(0, len(train), CHUNK)]
    return torch.cat([model.body(chunk.inputs) for chunk in chunks]).double()


def refit_head(model: nn.Module, task: Task, train: Split, evaluations: int) -> None:
    """L-BFGS in float64. On separable features the infimum is not attained; the number of evaluations of the risk and
    its gradient ends the growth of the weights.
    """
    batch = Batch(features(model, train).clone(), train.targets)  # out of inference mode
    head, metric = copy.deepcopy(task.head(model)).double(), task.metrics["loss"]
    leaves = list(head.parameters())

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        put(leaves, point)
        loss = metric.rows(head(batch.inputs), batch).mean()
        return loss.item(), vector(torch.autograd.grad(loss, leaves))

    options = {"maxiter": evaluations, "maxfun": evaluations, "maxcor": 20}
    solution = scipy.optimize.minimize(value_and_gradient, vector(leaves), jac=True, method="L-BFGS-B", options=options)
    put(leaves, solution.x)
    task.head(model).load_state_dict({name: tensor.float() for name, tensor in head.state_dict().items()})


def vector(parts: list[Tensor] | tuple[Tensor, ...]) -> np.ndarray:
    """All numbers of the tensors, (size,) float64."""
    return np.concatenate([part.detach().flatten().double().cpu().numpy() for part in parts])


def put(leaves: list[Tensor], point: np.ndarray) -> None:
    """Write a vector back into the tensors it was made from."""
    numbers = torch.from_numpy(point).to(leaves[0].device)
    with torch.no_grad():
        for leaf, part in zip(leaves, numbers.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.copy_(part.view_as(leaf))

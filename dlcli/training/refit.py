"""The last layer alone, minimized over the whole training set while the features are held: a convex problem."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Optimizer, Split, Task
from dlcli.training.descent import descend
from dlcli.training.evaluate import chunk_of, in_chunks

GREATEST_REFIT = 1 << 28  # float64 numbers, 2 GiB; those of a long text would take the memory of the whole machine


def can_refit(head: nn.Linear | None, task: Task, train: Split) -> bool:
    """Whether there is a last layer, and its inputs and scores over the training set fit the memory as float64."""
    if head is None:
        return False
    predictions = len(train) * (task.spec.shape[0] if task.spec.causal else 1)
    return predictions * (head.in_features + head.out_features) <= GREATEST_REFIT


@torch.inference_mode()
def features(model: nn.Module, task: Task, train: Split) -> Tensor:
    """What the last layer reads, (n, ..., features) float64; the model in evaluation mode."""
    batches = in_chunks(train, chunk_of(task.spec, train.device))
    return torch.cat([model.body(batch.inputs) for batch in batches]).double()


def refit_head(model: nn.Module, task: Task, train: Split, rule: Optimizer, evaluations: int) -> None:
    """By `rule`, in float64. On separable features the infimum is not attained; the number of evaluations of the risk
    and its gradient ends the growth of the weights.
    """
    batch = Batch(features(model, task, train).clone(), train.targets)  # out of inference mode
    head, metric = copy.deepcopy(task.head(model)).double(), task.metrics["loss"]

    def objective(leaves: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        loss = metric.rows(head(batch.inputs), batch).mean()
        return loss.detach(), torch.autograd.grad(loss, leaves)

    descend(head, objective, rule, evaluations)
    task.head(model).load_state_dict({name: tensor.float() for name, tensor in head.state_dict().items()})

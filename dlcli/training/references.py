"""Members of the model's class with a low training risk: each is an upper bound of min_F L_tr, and leaves its weights.

The training risk of a run says little about the class it was taken from; a better member of the class shows how much
of it is optimization. Every candidate is evaluated like the run itself (`evaluate`) and in every metric, because the
minimizer of one loss is not the minimizer of another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from dlcli.protocols import Batch, Noise, Optimizer, Phase, Progress, Split, Task
from dlcli.training.evaluate import CHUNK, risks
from dlcli.training.parameters import FlatParameters
from dlcli.training.randomness import Batches, stream
from dlcli.training.run import Learner, Run, State
from dlcli.training.step import take_step

GREATEST_REFIT = 1 << 28  # float64 numbers, 2 GiB; those of a long text would take the memory of the whole machine


class Witness(NamedTuple):
    """A member of F that exists: its training risk in every metric, and its weights."""

    method: str
    risks: dict[str, float]
    weights: bytes  # safetensors

    @property
    def sha256(self) -> str:
        return sha256(self.weights).hexdigest()


def witnesses(
    run: Run, saved: dict[str, dict[str, Tensor]], optimizer: Optimizer, steps: int, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """The ladder of upper bounds, cheapest first: the run's own weights, its checkpoints, a head refit, more training.

    saved: further weights of this run by name, e.g. {"best": ...}. `steps` of continued training with `optimizer`,
    whose learning rate falls to zero. Nothing here moves `run.model`.
    """
    model, task, train = copy_of(run.model), run.task, run.data.train
    yield witness("the run itself", model, task, train)
    final = copy.deepcopy(model.state_dict())
    for name, weights in saved.items():
        model.load_state_dict(weights)
        yield witness(f"checkpoint '{name}'", model, task, train)
    model.load_state_dict(final)
    method = "final weights"
    if steps and not stopped():
        continue_training(model, run, optimizer, steps, stopped)
        method = f"training continued {steps} steps, lr to 0, no regularizers"
        yield witness(method, model, task, train)
    if can_refit(task.head(model), task, train) and not stopped():
        refit_head(model, task, train)
        yield witness(f"{method}; last layer refit (convex, float64)", model, task, train)


def witness(method: str, model: nn.Module, task: Task, train: Split) -> Witness:
    weights = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()})
    return Witness(method, risks(model, task, train), weights)


def copy_of(model: nn.Module) -> nn.Module:
    """A copy with its own memory, and no gradients attached."""
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data = parameter.data.clone()
        parameter.grad = None
    return twin.eval()


def continue_training(
    model: nn.Module, run: Run, optimizer: Optimizer, steps: int, stopped: Callable[[], bool]
) -> None:
    """Minimize the decomposed risk itself, by the same steps as any run: evaluation mode, so no dropout and frozen
    running statistics (they are part of the member), no augmentation, no smoothing, no decay of the weights; the
    learning rate falls to zero as a cosine.
    """

    def plain_risk(model: nn.Module, batch: Batch, noise: Noise) -> Tensor:
        return run.task.metrics["loss"].rows(run.task.predict(model, batch, noise), batch).mean()

    def cosine(progress: Progress) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress.step / progress.steps))

    parameters = FlatParameters(model)
    learner = Learner(Phase("reference", "", plain_risk), parameters, optimizer, optimizer.init(parameters), cosine)
    seed = stream(run.seed, "reference")
    reference = replace(
        run,
        seed=seed,
        model=model,
        learners=(learner,),
        augment=None,
        batches=Batches(len(run.data.train), run.batches.batch_size, seed, run.device, run.data.train.cuts),
        steps=steps,
        training=run.training._replace(precision="fp32", clip_norm=None),
        state=State(),
    )
    while reference.state.step < steps and not stopped():
        take_step(reference)
        reference.state.step += 1


def can_refit(head: nn.Linear | None, task: Task, train: Split) -> bool:
    """Whether there is a last layer, and its inputs and scores over the training set fit the memory as float64."""
    if head is None:
        return False
    predictions = len(train) * (task.spec.shape[0] if task.spec.causal else 1)
    return predictions * (head.in_features + head.out_features) <= GREATEST_REFIT


def refit_head(model: nn.Module, task: Task, train: Split) -> None:
    """Minimize the risk over the last layer alone, given its features: convex for the losses in use.

    L-BFGS in float64 on the whole training set. On separable features the infimum is not attained; the iteration
    budget ends the growth of the weights.
    """
    with torch.inference_mode():
        chunks = [train.batch(slice(start, start + CHUNK)) for start in range(0, len(train), CHUNK)]
        features = torch.cat([model.body(chunk.inputs) for chunk in chunks]).double()
    features, targets = features.clone(), train.batch(slice(None)).targets
    head = copy.deepcopy(task.head(model)).double()
    leaves = list(head.parameters())
    batch = Batch(features, targets)
    metric = task.metrics["loss"]

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        put(leaves, point)
        loss = metric.rows(head(features), batch).mean()
        gradients = torch.autograd.grad(loss, leaves)
        return loss.item(), np.concatenate([gradient.flatten().cpu().numpy() for gradient in gradients])

    start = np.concatenate([leaf.detach().flatten().cpu().numpy() for leaf in leaves])
    solution = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 200, "maxcor": 20})
    put(leaves, solution.x)
    task.head(model).load_state_dict({name: tensor.float() for name, tensor in head.state_dict().items()})


def put(leaves: list[Tensor], point: np.ndarray) -> None:
    vector = torch.from_numpy(point).to(leaves[0].device)
    with torch.no_grad():
        for leaf, part in zip(leaves, vector.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.copy_(part.view_as(leaf))

"""Members of the model's class with a low training risk: each is an upper bound of min_F L_tr, and leaves its weights.

The training risk of a run says little about the class it was taken from; a better member of the class shows how much
of it is optimization. Every candidate is evaluated like the run itself (`evaluate`) and in every metric, because the
minimizer of one loss is not the minimizer of another.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Noise, Optimizer, Phase, Progress, Split, Task
from dlcli.training.evaluate import evaluate, reduce
from dlcli.training.parameters import FlatParameters
from dlcli.training.randomness import Batches, FixedNoise, stream
from dlcli.training.run import Learner, Run, State
from dlcli.training.step import take_step

Loss = Callable[[nn.Module, Batch, Noise], Tensor]  # -> mean over the batch


class Witness(NamedTuple):
    """A member of F that exists: its training risk in every metric, and its weights."""

    method: str
    risks: dict[str, float]
    weights: bytes  # safetensors
    greatest: float  # loss of a training example
    seconds: float = 0.0  # what it cost to find and evaluate

    @property
    def sha256(self) -> str:
        return sha256(self.weights).hexdigest()

    def state(self) -> dict[str, Tensor]:
        return safetensors.torch.load(self.weights)


def witness(
    method: str, model: nn.Module, task: Task, train: Split, rows: dict[str, np.ndarray] | None = None
) -> Witness:
    """The model as it stands. rows: its metrics over `train`, where they are known already."""
    weights = safetensors.torch.save({name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()})
    rows = rows or evaluate(model, task, train)
    greatest = float(rows["loss"].max()) if "loss" in rows else math.nan
    return Witness(method, reduce(task, rows), weights, greatest)


def copy_of(model: nn.Module) -> nn.Module:
    """A copy with its own memory, and no gradients attached."""
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data = parameter.data.clone()
        parameter.grad = None
    return twin.eval()


@torch.no_grad()
def recalibrate(model: nn.Module, run: Run) -> bool:
    """Take the running averages of batch normalization anew, over the training set as it is evaluated; False where the
    model has none. They are part of the member, and those of a training are late and have seen augmented inputs.
    """
    layers = [module for module in model.modules() if hasattr(module, "running_mean")]
    momenta = [layer.momentum for layer in layers]
    train, size = run.data.train, run.batches.batch_size
    generator = torch.Generator(train.device).manual_seed(stream(run.seed, "recalibration"))
    order = torch.randperm(len(train), generator=generator, device=train.device)
    for number, examples in enumerate(order.split(size) if layers else (), 1):
        if len(examples) < size and number > 1:
            break
        for layer in layers:
            layer.train()
            layer.momentum = 1 / number  # the mean of all batches
        batch = train.batch(examples)
        run.task.predict(model, batch, FixedNoise(0, len(batch.inputs), run.device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval().momentum = momentum
    return bool(layers)


def risk_of(task: Task) -> Loss:
    """The decomposed risk, as an objective."""
    return lambda model, batch, noise: task.metrics["loss"].rows(task.predict(model, batch, noise), batch).mean()


def continue_training(
    model: nn.Module, run: Run, optimizer: Optimizer, steps: int, stopped: Callable[[], bool]
) -> None:
    """Move `model` down the decomposed risk itself, by the same steps as any run, on the data of `run`: evaluation
    mode, so no dropout and frozen running statistics (they are part of the member), no augmentation, no smoothing, no
    decay of the weights; the learning rate falls to zero as a cosine.
    """
    reference = reference_run(model, run, optimizer, steps)
    while reference.state.step < steps and not stopped():
        take_step(reference)
        reference.state.step += 1


def reference_run(model: nn.Module, run: Run, optimizer: Optimizer, steps: int, alike: str = "") -> Run:
    """What `continue_training` trains. alike: as of a Learner."""

    def cosine(progress: Progress) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress.step / progress.steps))

    parameters = FlatParameters(model)
    risk, chain = run.task.metrics["loss"], run.learners[0].chain
    learner = Learner(
        Phase("reference", "", risk_of(run.task), slope=risk.slope),
        parameters,
        optimizer,
        optimizer.init(parameters),
        cosine,
        chain=chain and chain.over(parameters),
        alike=alike,
    )
    seed = stream(run.seed, "reference")
    return replace(
        run,
        seed=seed,
        model=model,
        learners=(learner,),
        augment=None,
        batches=Batches(len(run.data.train), run.batches.batch_size, seed, run.data.train.device, run.data.train.cuts),
        steps=steps,
        training=run.training._replace(precision="fp32", clip_norm=None),
        state=State(),
    )

"""Runs of one shape trained as one program: weights in rows, one forward and one backward pass for all of them.

Only the gradients are joined. What precedes them (the order of the data, augmentation, noise) and what follows them
(clipping, refusals, the update, logging, checkpoints) is each run's own code on its own row, so a run among others is
the run that it would be alone, may stand at another step than they, and can leave or fail at any of its steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlcli.protocols import Batch
from dlcli.training.loop import gather
from dlcli.training.member_noise import MemberNoise
from dlcli.training.parameters import StackedParameters
from dlcli.training.program import Objective
from dlcli.training.randomness import FreshNoise, stream
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.step import augmented, clip, follow, loss_and_gradients, named, spoilt_by_a_skip

AGREES = 1e-4  # of the gradients of a stack with those of its members alone, relative to their norm


class Stack:
    """Runs of one shape. Their parameters and buffers become rows of common tensors, and stay so after it."""

    def __init__(self, runs: Sequence[Run]):
        self.runs = list(runs)
        self.learners = [run.learners[0] for run in runs]
        first = self.runs[0]
        self.objective = Objective(first.model, self.learners[0].phase)
        self.parameters = StackedParameters([learner.parameters for learner in self.learners])
        place = ".".join(filter(None, ("model", self.learners[0].phase.module)))
        names = [f"{place}.{name}" for name in self.parameters.names]
        self.leaves = dict(zip(names, self.parameters.leaves, strict=True))
        self.constants = stack_constants([run.model for run in runs], self.leaves)
        self.rows = torch.arange(len(self.runs), device=first.device)

    def advance(self, steps: int, stop: Stop) -> dict[int, Exception]:
        """So many steps of every run, or fewer: up to a signal, or the first that raises. What was raised, by row."""
        started, faults = time.perf_counter(), {}
        for _ in range(steps):
            with self.runs[0].products():
                faults = self.step()
            if faults or stop.asks:
                break
        share = (time.perf_counter() - started) / len(self.runs)
        for run in self.runs:
            run.state.seconds["training"] = run.state.seconds.get("training", 0.0) + share
        return faults

    def step(self) -> dict[int, Exception]:
        buffers = [spoilt_by_a_skip(run) for run in self.runs]
        batch, seeds = self.batch(), self.seeds()
        losses, norms = self.gradients(batch, seeds)
        if self.runs[0].device.type == "cpu" or any(run.training.on_nonfinite == "skip" for run in self.runs):
            losses, norms = losses.tolist(), norms.tolist()
        faults: dict[int, Exception] = {}
        for row, (run, learner) in enumerate(zip(self.runs, self.learners, strict=True)):
            own = Batch(*(part[row] for part in batch))
            again = partial(loss_alone, run, own, seeds[row])
            try:
                taken = follow(run, learner, losses[row], norms[row], again, buffers[row])
            except Exception as fault:
                faults[row] = fault
                continue
            gather(run, named(learner.phase.name, taken))
        return faults

    def batch(self) -> Batch:
        """Each run's next batch, (runs, batch, ...)."""
        indices = [run.batches.indices(run.state.step) for run in self.runs]
        first = self.runs[0]
        shared = all(run.data.train is first.data.train and run.augment is None for run in self.runs)
        if shared and isinstance(indices[0], Tensor):
            parts = first.data.train.batch(torch.cat(indices))
            return Batch(*(part.unflatten(0, (len(indices), -1)) for part in parts))
        if shared:  # every run reads the whole set
            parts = first.data.train.batch(indices[0])
            return Batch(*(part.expand(len(indices), *part.shape) for part in parts))
        batches = [augmented(run, run.data.train.batch(each)) for run, each in zip(self.runs, indices, strict=True)]
        return Batch(*map(torch.stack, zip(*batches, strict=True)))

    def seeds(self) -> list[int]:
        """Of the noise of each run's next step."""
        return [stream(run.seed, "noise", run.state.step, 0) for run in self.runs]

    def gradients(self, batch: Batch, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Losses and gradient norms, (runs,) each; the gradients, clipped, are left in each run's own parameters."""
        noise = MemberNoise(seeds, batch.inputs.device)

        def loss(leaves: Any, constants: Any, inputs: Tensor, targets: Tensor, row: Tensor) -> Tensor:
            noise.row = row
            fresh = FreshNoise(len(inputs), inputs.device)
            return functional_call(self.objective, {**leaves, **constants}, (Batch(inputs, targets), fresh))

        with self.runs[0].autocast(), noise:
            losses = vmap(loss, randomness="same")(self.leaves, self.constants, *batch, self.rows)
        self.parameters.take(torch.autograd.grad(losses.sum(), self.parameters.leaves, allow_unused=True))
        norms = torch.linalg.vector_norm(self.parameters.gradients, dim=-1)
        for row, run in enumerate(self.runs):
            clip(self.parameters.gradients[row], norms[row], run.training.clip_norm)
        return losses.detach(), norms


def loss_alone(run: Run, batch: Batch, noise: int) -> Tensor:
    return loss_and_gradients(run, run.learners[0], batch, noise)[0]


def stack_constants(models: Sequence[nn.Module], leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Buffers and frozen parameters of all models by name, (runs, *shape); each model's own become their rows."""
    stacked = {}
    own = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    for name in own[0]:
        if f"model.{name}" not in leaves:
            stacked[f"model.{name}"] = torch.stack([tensors[name].detach() for tensors in own])
            for tensors, row in zip(own, stacked[f"model.{name}"], strict=True):
                tensors[name].data = row
    return stacked


def shape(run: Run) -> tuple[Any, ...]:
    """What runs of one stack have in common. Whether that is enough, `agrees` tells."""
    tensors = {**dict(run.model.named_parameters()), **dict(run.model.named_buffers())}
    return (
        tuple((name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors.items()),
        tuple((learner.phase.name, learner.phase.module, learner.phase.every) for learner in run.learners),
        (run.batches.batch_size, run.batches.batch_size == len(run.data.train), run.data.spec.shape),
        (run.device, run.training.precision, run.training.accumulate),
    )


def can_stack(run: Run) -> bool:
    simple = len(run.learners) == 1 and run.learners[0].phase.every == 1
    return simple and run.training.accumulate == 1 and run.learners[0].program is None


def agrees(stack: Stack) -> bool:
    """Whether the gradients of the next step are those of each run alone; nothing has moved then.

    A model may do what cannot be done for many at once, or differ from the others in what no shape shows.
    """
    runs = stack.runs
    before = [(buffer, buffer.clone()) for run in runs for buffer in run.model.buffers()]
    batch, seeds = stack.batch(), stack.seeds()
    try:
        losses, _ = stack.gradients(batch, seeds)
        together = stack.parameters.gradients.clone()
        put_back(before)
        alone = torch.stack(
            [loss_alone(run, Batch(*(part[row] for part in batch)), seeds[row]) for row, run in enumerate(runs)]
        )
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return False
    finally:
        put_back(before)
    apart = torch.linalg.vector_norm(together - stack.parameters.gradients, dim=-1)
    norms = torch.linalg.vector_norm(stack.parameters.gradients, dim=-1)
    close = (apart <= AGREES * norms) & torch.isclose(losses, alone, rtol=AGREES, atol=1e-6)
    return bool((close | ~torch.isfinite(alone)).all())


def put_back(buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)

"""Runs of one shape trained as one program: weights in rows, one forward and one backward pass for all of them.

Only gradients are joined, and the updates of one rule. What precedes them (the order of the data, augmentation, noise)
and what follows them (clipping, refusals, logging, checkpoints) is each run's own code on its own row, so a run among
others is the run that it would be alone, may stand at another step than they, and can leave or fail at any step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from dlcli.protocols import Batch
from dlcli.training.loop import gather
from dlcli.training.member_noise import MemberNoise
from dlcli.training.parameters import StackedParameters
from dlcli.training.program import refuse
from dlcli.training.randomness import FreshNoise, stream
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.step import (
    augmented,
    clip,
    fit_to_move,
    loss_and_gradients,
    named,
    refuse_nonfinite,
    spoilt_by_a_skip,
)

AGREES = 1e-4  # of the gradients of a stack with those of its members alone, relative to their norm


class Stack:
    """Runs of one shape. Their parameters and buffers become rows of common tensors, and stay so after it."""

    def __init__(self, runs: Sequence[Run]):
        self.runs = list(runs)
        self.learners = [run.learners[0] for run in runs]
        first = self.runs[0]
        self.parameters = StackedParameters([learner.parameters for learner in self.learners])
        names = [".".join(filter(None, (self.learners[0].phase.module, name))) for name in self.parameters.names]
        constants = stack_constants([run.model for run in runs], names)
        self.tensors = (*self.parameters.leaves, *constants.values())  # (runs, *shape) each
        self.places = places(first.model, (*names, *constants))
        self.rows = torch.arange(len(self.runs), device=first.device)
        rules = [learner.alike or row for row, learner in enumerate(self.learners)]
        neighbours = [[row for row, _ in some] for _, some in groupby(enumerate(rules), itemgetter(1))]
        self.joints = [Joint(self, range(rows[0], rows[-1] + 1)) for rows in neighbours if len(rows) > 1]

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
        losses, norms = map(self.read, self.gradients(batch, seeds))
        faults: dict[int, Exception] = {}
        moving: list[int] = []
        for row, (run, learner) in enumerate(zip(self.runs, self.learners, strict=True)):
            with kept(faults, row):
                if fit_to_move(run, learner, losses[row], norms[row], buffers[row]):
                    moving.append(row)
                else:
                    gather(run, named(learner.phase.name, None))
        self.update(moving, faults, batch, seeds)
        totals = self.read(self.parameters.weights.sum(-1))
        for row in moving:
            run, learner = self.runs[row], self.learners[row]
            if row not in faults:
                with kept(faults, row):
                    refuse_nonfinite(run, learner, "weight", totals[row])
                    gather(run, named(learner.phase.name, (losses[row], norms[row])))
        return faults

    def update(self, moving: Sequence[int], faults: dict[int, Exception], batch: Batch, seeds: Sequence[int]) -> None:
        """Move these rows, those of one rule by one update if all of them move."""
        left = set(moving)
        for joint in self.joints:
            if left.issuperset(joint.rows) and joint.update():
                left.difference_update(joint.rows)
        for row in sorted(left):
            run, learner = self.runs[row], self.learners[row]
            again = partial(loss_alone, run, Batch(*(part[row] for part in batch)), seeds[row])
            with kept(faults, row):
                learner.optimizer.update(learner.parameters, learner.memory, run.lr(learner), again)

    def read(self, values: Tensor) -> list[float] | Tensor:
        """(runs,), as numbers where these cost nothing or are needed."""
        needed = any(run.training.on_nonfinite == "skip" for run in self.runs)
        return values.tolist() if values.device.type == "cpu" or needed else values

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

        def loss(tensors: tuple[Tensor, ...], inputs: Tensor, targets: Tensor, row: Tensor) -> Tensor:
            noise.row = row
            with standing_in(self.places, tensors):
                fresh = FreshNoise(len(inputs), inputs.device)
                return self.learners[0].phase.loss(self.runs[0].model, Batch(inputs, targets), fresh)

        with self.runs[0].autocast(), noise:
            losses = vmap(loss, randomness="same")(self.tensors, *batch, self.rows)
        self.parameters.take(torch.autograd.grad(losses.sum(), self.parameters.leaves, allow_unused=True))
        norms = torch.linalg.vector_norm(self.parameters.gradients, dim=-1)
        for row, run in enumerate(self.runs):
            clip(self.parameters.gradients[row], norms[row], run.training.clip_norm)
        return losses.detach(), norms


class Joint:
    """Neighbouring rows of a stack that one rule moves. Its memory of the weights lies in rows as they do; of the rest,
    a count of the steps, every run keeps its own.
    """

    def __init__(self, stack: Stack, rows: range):
        self.rows = rows
        self._runs, self._learners = ([all_of[row] for row in rows] for all_of in (stack.runs, stack.learners))
        self._parameters = stack.parameters.block(rows)
        self._memory, self._counts = {}, []
        self._equal = self._in_step()
        for name, first in self._learners[0].memory.items():
            kept = torch.stack([learner.memory[name] for learner in self._learners])
            for learner, row in zip(self._learners, kept, strict=True):
                learner.memory[name] = row
            each = first.shape == self._learners[0].parameters.weights.shape
            self._memory[name] = kept if each else kept[0]
            if not each:
                self._counts.append(kept)
                self._equal &= bool((kept == kept[0]).all())

    def update(self) -> bool:
        """Move all rows at once, unless they stand at different steps or learning rates; whether that was done."""
        rates = {run.lr(learner) for run, learner in zip(self._runs, self._learners, strict=True)}
        if not self._equal or len(rates) > 1 or not self._in_step():
            return False
        self._learners[0].optimizer.update(self._parameters, self._memory, rates.pop(), refuse)
        for counts in self._counts:
            counts[1:] = counts[0]
        return True

    def _in_step(self) -> bool:
        """Equal numbers of updates have equal counts, whatever a rule counts."""
        return len({(run.state.step, run.state.skipped, run.state.rollbacks) for run in self._runs}) == 1


@contextmanager
def kept(faults: dict[int, Exception], row: int) -> Iterator[None]:
    """A run that raises costs the others nothing."""
    try:
        yield
    except Exception as fault:
        faults[row] = fault


def loss_alone(run: Run, batch: Batch, noise: int) -> Tensor:
    return loss_and_gradients(run, run.learners[0], batch, noise)[0]


def stack_constants(models: Sequence[nn.Module], leaves: Sequence[str]) -> dict[str, Tensor]:
    """Buffers and frozen parameters of all models by name, (runs, *shape); each model's own become their rows."""
    stacked = {}
    own = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    for name in [name for name in own[0] if name not in leaves]:
        stacked[name] = torch.stack([tensors[name].detach() for tensors in own])
        for tensors, row in zip(own, stacked[name], strict=True):
            tensors[name].data = row
    return stacked


def places(model: nn.Module, names: Sequence[str]) -> list[list[tuple[dict[str, Any], str]]]:
    """Where the modules of a model hold each of these parameters and buffers, which several may share."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    held = [
        (tensor, (tensors, key))
        for module in model.modules()
        for tensors in (module._parameters, module._buffers)
        for key, tensor in tensors.items()
    ]
    return [[place for tensor, place in held if tensor is own[name]] for name in names]


@contextmanager
def standing_in(places: list[list[tuple[dict[str, Any], str]]], tensors: Sequence[Tensor]) -> Iterator[None]:
    """These tensors in place of a model's own: `functional_call` without its checks, a tenth of a small step."""
    own = [tensors_of[key] for (tensors_of, key), *_ in places]
    put(places, tensors)
    try:
        yield
    finally:
        put(places, own)


def put(places: list[list[tuple[dict[str, Any], str]]], tensors: Sequence[Tensor]) -> None:
    for some, tensor in zip(places, tensors, strict=True):
        for tensors_of, key in some:
            tensors_of[key] = tensor


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

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
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from dlcli.protocols import Batch
from dlcli.training.joint import joints
from dlcli.training.loop import gather
from dlcli.training.member_noise import MemberNoise
from dlcli.training.parameters import StackedParameters
from dlcli.training.program import Record, captured, cuda_graph
from dlcli.training.randomness import FreshNoise, stream
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.standing_in import places, stack_constants, standing_in
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
        first, self.draws = self.runs[0], False
        self.parameters = StackedParameters([learner.parameters for learner in self.learners])
        names = [".".join(filter(None, (self.learners[0].phase.module, name))) for name in self.parameters.names]
        constants = stack_constants([run.model for run in runs], names)
        self.tensors = (*self.parameters.leaves, *constants.values())  # (runs, *shape) each
        self.places = places(first.model, (*names, *constants))
        self.rows = torch.arange(len(self.runs), device=first.device)
        self.waits = first.device.type == "cpu" or any(run.training.on_nonfinite == "skip" for run in runs)
        exact = torch.float32 if first.device.type == "mps" else torch.float64
        self.sums = torch.zeros(2, len(self.runs), dtype=exact, device=first.device)  # of losses, of gradient norms
        self.joints = joints(self.runs, self.parameters)
        chain = self.learners[0].chain
        self.chain = chain and chain.over(self.parameters)

    def advance(self, steps: int, stop: Stop) -> dict[int, Exception]:
        """So many steps of every run, or fewer: up to a signal, or the first that raises. What was raised, by row."""
        started, faults = time.perf_counter(), {}
        self.sums.zero_()
        self.taken = [0] * len(self.runs)
        for batch in self.batches(steps):
            with self.runs[0].products():
                faults = self.step(batch)
            if faults or stop.asks:
                break
        self.tell()
        share = (time.perf_counter() - started) / len(self.runs)
        for run in self.runs:
            run.state.seconds["training"] = run.state.seconds.get("training", 0.0) + share
        return faults

    def step(self, batch: Batch) -> dict[int, Exception]:
        buffers, seeds = [spoilt_by_a_skip(run) for run in self.runs], self.seeds()
        measured = self.gradients(batch, seeds)
        losses, norms = map(self.read, measured)
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
            if row not in faults:
                with kept(faults, row):
                    refuse_nonfinite(self.runs[row], self.learners[row], "weight", totals[row])
        self.count([row for row in moving if row not in faults], measured)
        return faults

    def count(self, rows: list[int], measured: tuple[Tensor, Tensor]) -> None:
        """A step of these rows; what was measured is added up for all of them at once, and told at the end of a leg."""
        for row in rows:
            self.runs[row].state.step += 1
            self.taken[row] += 1
        both = torch.stack(measured)
        if len(rows) == len(self.runs):
            self.sums += both
        else:
            self.sums[:, rows] += both[:, rows]

    def tell(self) -> None:
        """Let each run know what its steps have measured, as `loop.gather` does after each."""
        losses, norms = map(self.read, self.sums)
        for row, (run, learner) in enumerate(zip(self.runs, self.learners, strict=True)):
            if self.taken[row]:
                totals = named(learner.phase.name, (losses[row], norms[row])) | {"steps": self.taken[row]}
                for name, total in totals.items():
                    run.state.window[name] = run.state.window.get(name, 0) + total

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
        return values.tolist() if self.waits else values

    def batches(self, steps: int) -> Iterator[Batch]:
        """Each run's next ones, (runs, batch, ...) each."""
        first = self.runs[0]
        indices = [run.batches.ahead(run.state.step, steps) for run in self.runs]
        shared = all(run.data.train is first.data.train and run.augment is None for run in self.runs)
        if shared and isinstance(indices[0], Tensor):
            for chosen in torch.stack(indices, 1):  # (runs, batch)
                yield Batch(*(part.unflatten(0, chosen.shape) for part in first.data.train.batch(chosen.flatten())))
        elif shared:  # every run reads the whole set
            parts = first.data.train.batch(indices[0])
            yield from repeat(Batch(*(part.expand(len(self.runs), *part.shape) for part in parts)), steps)
        else:
            for step in range(steps):
                chosen = [own[step] if isinstance(own, Tensor) else own for own in indices]
                own = (run.data.train.batch(some) for run, some in zip(self.runs, chosen, strict=True))
                yield Batch(*map(torch.stack, zip(*map(augmented, self.runs, own), strict=True)))

    def seeds(self) -> list[int]:
        """Of the noise of each run's next step."""
        return [stream(run.seed, "noise", run.state.step, 0) for run in self.runs]

    def gradients(self, batch: Batch, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Losses and gradient norms, (runs,) each; the gradients, clipped, are left in each run's own parameters."""
        losses = self.written_out(batch) if self.chain else self.recorded(batch, seeds)
        norms = torch.linalg.vector_norm(self.parameters.gradients, dim=-1)
        for row, run in enumerate(self.runs):
            clip(self.parameters.gradients[row], norms[row], run.training.clip_norm)
        return losses, norms

    def written_out(self, batch: Batch) -> Tensor:
        """Losses, whose gradients the chain leaves in place."""
        products = self.runs[0].type_of_products(self.parameters.weights.dtype)
        return self.chain.gradients(self.learners[0].phase.slope, batch, products)

    def recorded(self, batch: Batch, seeds: Sequence[int]) -> Tensor:
        """Losses, whose gradients autograd finds."""
        noise = MemberNoise(seeds, batch.inputs.device)

        def loss(tensors: tuple[Tensor, ...], inputs: Tensor, targets: Tensor, row: Tensor) -> Tensor:
            noise.row = row
            with standing_in(self.places, tensors):
                fresh = FreshNoise(len(inputs), inputs.device)
                return self.learners[0].phase.loss(self.runs[0].model, Batch(inputs, targets), fresh)

        with self.runs[0].autocast(), noise:
            losses = vmap(loss, randomness="same")(self.tensors, *batch, self.rows)
        self.parameters.take(torch.autograd.grad(losses.sum(), self.parameters.leaves, allow_unused=True))
        self.draws = noise.drawn
        return losses.detach()

    def capture(self, record: Record = cuda_graph) -> None:
        """Let gradients be a single launch from now on, unless the runs draw numbers of their own within a step."""
        batch, seeds = next(self.batches(1)), self.seeds()
        eager, before = (
            self.gradients,
            [(buffer, buffer.clone()) for run in self.runs for buffer in run.model.buffers()],
        )
        replayed = captured(lambda *parts: eager(Batch(*parts), seeds), record)
        try:
            eager(batch, seeds)
            if not self.draws:
                replayed(*batch)
                self.gradients = lambda batch, seeds: replayed(*batch)
        except RuntimeError:  # what waits for a number cannot be recorded; the eager form stays
            return
        finally:
            put_back(before)


@contextmanager
def kept(faults: dict[int, Exception], row: int) -> Iterator[None]:
    """A run that raises costs the others nothing."""
    try:
        yield
    except Exception as fault:
        faults[row] = fault


def loss_alone(run: Run, batch: Batch, noise: int) -> Tensor:
    return loss_and_gradients(run, run.learners[0], batch, noise)[0]


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
    batch, seeds = next(stack.batches(1)), stack.seeds()
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

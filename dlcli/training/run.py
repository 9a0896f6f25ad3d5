"""What a run is made of: the built parts, and the state that a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from dlcli.protocols import AVERAGE, Augmentation, Batch, Data, Optimizer, Phase, Progress, Schedule, Task
from dlcli.settings import Checkpoint, Training
from dlcli.training.backpropagation import Chain
from dlcli.training.device import tf32
from dlcli.training.parameters import FlatParameters
from dlcli.training.randomness import Batches
from dlcli.training.ranks import ALONE, Ranks

Rows = Mapping[str, np.ndarray]  # metric -> (n,) float64


class Learner(NamedTuple):
    """One phase with everything that moves its part of the model."""

    phase: Phase
    parameters: FlatParameters
    optimizer: Optimizer
    memory: dict[str, Tensor]  # the optimizer's state
    schedule: Schedule
    program: Callable[[Batch, float], tuple[Tensor, Tensor, Tensor]] | None = None  # see `program.Program`
    chain: Chain | None = None  # what computes its gradients in place of autograd, where it can
    alike: str = ""  # the same where one update can move the rows of several runs; empty: this run's moves alone

    def lr(self, progress: Progress) -> float:
        """The learning rate that schedule and phase give the step to come."""
        return self.phase.lr * self.optimizer.lr * self.schedule(progress)

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Parts of `vector` (size,) by the name of the weight of the whole model that lies there."""
        prefix = f"{self.phase.module}." if self.phase.module else ""
        return {f"{prefix}{name}": view for name, view in self.parameters.views(vector).items()}


@dataclass
class State:
    """Where a run stands, beside its tensors. Plain JSON."""

    step: int = 0
    evaluated: int = 0  # the step of the last evaluation
    stretch: int = 1  # evaluations are so many times as rare as planned, because the first took longer than training
    window: dict[str, float] = field(default_factory=dict)  # sums since the last log point
    validation: list[tuple[int, float]] = field(default_factory=list)  # (step, validation risk)
    best: tuple[int, float] | None = None  # (step, validation risk) of the best checkpoint
    seconds: dict[str, float] = field(default_factory=dict)  # wall time by purpose
    skipped: int = 0  # turns of a phase that were left out, because a loss or gradient was not finite
    skipped_in_a_row: int = 0
    rollbacks: int = 0  # returns to an older checkpoint, each of which lowered `lr_scale`
    lr_scale: float = 1.0  # of every learning rate

    @property
    def best_step(self) -> int:
        """Whose checkpoint is kept besides the newest."""
        return self.best[0] if self.best else self.step


@dataclass
class Run:
    """Everything that training needs, built and on the device."""

    seed: int
    device: torch.device
    data: Data
    task: Task
    model: nn.Module
    learners: tuple[Learner, ...]
    augment: Augmentation | None
    batches: Batches
    steps: int
    evaluate_every: int  # steps
    training: Training
    checkpoint: Checkpoint
    state: State = field(default_factory=State)
    ranks: Ranks = ALONE  # that train it together
    program: Any = None  # the `program.Choice` that was made for its steps
    measured: dict[str, tuple[int, Rows]] = field(default_factory=dict)  # last evaluation of a split: at step, its rows
    adaptive: bool = False  # evaluations become rarer where they would take longer than the steps between them

    def progress(self) -> Progress:
        return Progress(self.state.step, self.steps, self.batches.epoch_steps, tuple(self.state.validation))

    def batch(self) -> Batch:
        """That of the step to come; where data stay on disk, those behind it are read meanwhile."""
        step = self.state.step
        later = (self.batches.indices(each) for each in range(step + 1, self.steps))
        return self.data.train.batch(self.batches.indices(step), later)

    def lr(self, learner: Learner) -> float:
        """The learning rate of the step to come."""
        return self.state.lr_scale * learner.lr(self.progress())

    def autocast(self) -> AbstractContextManager[Any]:
        """Of a forward pass."""
        if self.training.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def type_of_products(self, weights: torch.dtype) -> torch.dtype:
        """That in which an affine layer multiplies under `autocast`, given the type of its weights."""
        return torch.bfloat16 if self.training.precision == "bf16" else weights

    def products(self) -> AbstractContextManager[Any]:
        """Of a step: how precisely matrices are multiplied."""
        return tf32() if self.training.precision == "tf32" else nullcontext()

    def generator(self, seed: int) -> Generator:
        return Generator(self.device).manual_seed(seed)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps, by file and name. Where ranks hold parts of it, all of them must ask."""
        model, optimizer = dict(self.model.state_dict()), {}
        for learner in self.learners:
            memory = dict(learner.memory)
            if learner.parameters.sharded:
                like, whole = learner.parameters.weights, learner.parameters.gather
                model |= learner.views(whole(like))
                memory = {name: whole(each) if each.shape == like.shape else each for name, each in memory.items()}
            if AVERAGE in memory:  # it is the model's file that others read
                model |= learner.views(memory.pop(AVERAGE))
                memory["weights"] = learner.parameters.weights
            optimizer |= {f"{learner.phase.name}/{name}": tensor for name, tensor in memory.items()}
        return {"model": model, "optimizer": optimizer}

    def exchange(self) -> None:
        """Let the weights that are evaluated change places with those that move, where they are not the same."""
        for learner in self.learners:
            if AVERAGE in learner.memory:
                weights, average = learner.parameters.weights, learner.memory[AVERAGE]
                moving = weights.clone()
                weights.copy_(average)
                average.copy_(moving)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """The model with the weights that are evaluated, for a while."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @property
    def sharded(self) -> bool:
        """Whether each rank holds a part of the weights."""
        return any(learner.parameters.sharded for learner in self.learners)

    @property
    def averages(self) -> bool:
        return any(AVERAGE in learner.memory for learner in self.learners)

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Put a verified checkpoint back, in place: the flat layout of the parameters stays."""
        with torch.no_grad():
            for stem, named in self.tensors().items():
                for name, tensor in named.items():
                    tensor.copy_(tensors[stem][name])
        self.state = State(
            step=state["step"],
            evaluated=state.get("evaluated", state["step"]),
            stretch=state.get("stretch", 1),
            window=state["window"],
            validation=[(step, math.nan if risk is None else risk) for step, risk in state["validation"]],
            best=None if state["best"] is None else tuple(state["best"]),
            seconds=state["seconds"],
            skipped=state["skipped"],
            skipped_in_a_row=state["skipped_in_a_row"],
            rollbacks=state["rollbacks"],
            lr_scale=state["lr_scale"],
        )

    def align(self) -> None:
        """Let every rank stand where rank 0 does. Of a run that will be cut, nobody else has whole tensors to fill."""
        if not self.training.sharded:
            for named in self.tensors().values():
                self.ranks.follow(named.values())
        state = self.ranks.tell(self.plain_state())
        if self.ranks.rank > 0:
            self.restore(self.tensors(), state)

    def plain_state(self) -> dict[str, Any]:
        """The state as strict JSON, which has no NaN: a validation risk that is not finite becomes null."""
        validation = [(step, risk if math.isfinite(risk) else None) for step, risk in self.state.validation]
        return {**asdict(self.state), "validation": validation}

"""Risks of one fixed function: evaluation mode, every example once, float32 or better, summed in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, DataSpec, Split, Task
from dlcli.training.randomness import FixedNoise
from dlcli.training.ranks import ALONE, Ranks

PREDICTIONS = 1000  # of a forward pass: large enough to be fast
NUMBERS_ON_CPU, NUMBERS = 400_000, 2**24  # of its inputs: few enough for the caches of a core, and for any memory
SHOWN = 64  # examples of a picture


class Cut(Exception):
    """An evaluation was left because a stop was asked for; nothing is known of it."""


def never() -> bool:
    return False


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """One fixed function for a while: no dropout, no statistics of a batch."""
    was_training = model.training
    if was_training:  # to tell each module takes as long as a small forward pass
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    task: Task,
    split: Split,
    chunk: int | None = None,
    collect: Callable[[Tensor], None] | None = None,
    draw: int = 0,
    stopped: Callable[[], bool] = never,
    ranks: Ranks = ALONE,
) -> dict[str, np.ndarray]:
    """Per-example rows of every metric of the task, each (n,) float64. `collect` is handed each chunk's predictions.

    n is the size of the split; of a task that draws, `task.drawn` at most, spread evenly over the split.
    chunk: examples of a forward pass.
    draw: of the noise, for tasks whose predictions are random; every risk that is compared has the same one.
    stopped: asked before each chunk; raises Cut once it is true.
    ranks: share the chunks out; each of them has every row in the end, to the bit what one process finds.
    """
    chunk = chunk or chunk_of(task.spec, split.device)
    rows: dict[str, list[Tensor]] = {name: [] for name in task.metrics}
    size = count(task, split)
    ours = ranks.mine(list(chunks(split, size, chunk)))
    with evaluating(model):
        for piece, (start, examples) in enumerate(ours, 1):
            if stopped():
                raise Cut
            batch = split.batch(examples, (later for _, later in ours[piece:]))
            noise = FixedNoise(start, len(batch.inputs), batch.inputs.device, draw)
            prediction = task.predict(model, batch, noise)
            if collect is not None:
                collect(prediction)
            for name, metric in task.metrics.items():
                rows[name].append(metric.rows(prediction, batch).double().cpu())
    starts = [start for start, _ in ours]
    return {name: ranks.whole(starts, parts, size).numpy() for name, parts in rows.items()}


@torch.inference_mode()
def evaluate_real(task: Task, train: Split, test: Split) -> dict[str, np.ndarray]:
    """The rows of training examples in place of drawn ones, held against the test split: what is to be reached."""
    rows: dict[str, list[Tensor]] = {name: [] for name in task.metrics}
    size, chunk = min(count(task, train), count(task, test)), chunk_of(task.spec, test.device)
    for (_, some), (_, others) in zip(chunks(train, size, chunk), chunks(test, size, chunk), strict=True):
        drawn, given = train.batch(some).inputs, test.batch(others)
        for name, metric in task.metrics.items():
            rows[name].append(metric.rows(drawn, given))
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in rows.items()}


@torch.inference_mode()
def evaluate_afterwards(model: nn.Module, task: Task, test: Split) -> dict[str, np.ndarray]:
    """Per-example rows of what the task evaluates once, at the end."""
    rows: dict[str, list[Tensor]] = {}
    with evaluating(model):
        for start, examples in chunks(test, count(task, test), chunk_of(task.spec, test.device)):
            batch = test.batch(examples)
            noise = FixedNoise(start, len(batch.inputs), batch.inputs.device)
            for name, part in task.afterwards(model, batch, noise).items():
                rows.setdefault(name, []).append(part)
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in rows.items()}


def chunk_of(spec: DataSpec, device: torch.device) -> int:
    """How many examples go forward together. One of a text makes a prediction at each position."""
    predictions = spec.shape[0] if spec.causal else 1
    numbers = NUMBERS_ON_CPU if device.type == "cpu" else NUMBERS
    return max(1, min(PREDICTIONS // predictions, numbers // prod(spec.shape)))


def in_chunks(split: Split, chunk: int) -> Iterator[Batch]:
    """A whole split, so many examples at a time."""
    for start in range(0, len(split), chunk):
        yield split.batch(slice(start, start + chunk))


def count(task: Task, split: Split) -> int:
    """How many examples of a split an evaluation reads."""
    return min(task.drawn, len(split)) or len(split)


def chunks(split: Split, size: int, chunk: int) -> Iterator[tuple[int, Tensor | slice]]:
    """`size` examples of a split, some at a time: how many were read before, and which are next."""
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        if size == len(split):
            yield start, slice(start, stop)
        else:  # evenly spread, because a split may be sorted
            yield start, torch.arange(start, stop, device=split.device) * len(split) // size


def reduce(task: Task, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The value of every metric over the whole split."""
    return {name: metric.reduce(rows[name]) for name, metric in task.metrics.items()}


@torch.inference_mode()
def pictures(model: nn.Module, task: Task, split: Split) -> Mapping[str, np.ndarray]:
    """What the task shows of the present weights, (height, width, 3) uint8 by name; the same noise each time."""
    with evaluating(model):
        return task.pictures(model, split, FixedNoise(0, SHOWN, next(model.parameters()).device))

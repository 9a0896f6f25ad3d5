"""Risks of one fixed function: evaluation mode, every example once, float32 or better, summed in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.protocols import Split, Task
from dlcli.training.randomness import FixedNoise

CHUNK = 1000  # predictions per forward pass; large enough to be fast, small enough for any memory
SHOWN = 64  # examples of a picture


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    task: Task,
    split: Split,
    chunk: int = CHUNK,
    collect: Callable[[Tensor], None] | None = None,
    draw: int = 0,
) -> dict[str, np.ndarray]:
    """Per-example rows of every metric of the task, each (n,) float64. `collect` is handed each chunk's predictions.

    draw: of the noise, for tasks whose predictions are random; every risk that is compared has the same one.
    """
    if task.spec.causal:  # an example makes a prediction at each position
        chunk = max(1, chunk // task.spec.shape[0])
    was_training = model.training
    model.eval()
    rows: dict[str, list[Tensor]] = {name: [] for name in task.metrics}
    for start in range(0, len(split), chunk):
        batch = split.batch(slice(start, start + chunk))
        noise = FixedNoise(start, len(batch.inputs), batch.inputs.device, draw)
        prediction = task.predict(model, batch, noise)
        if collect is not None:
            collect(prediction)
        for name, metric in task.metrics.items():
            rows[name].append(metric.rows(prediction, batch))
    model.train(was_training)
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in rows.items()}


def reduce(task: Task, rows: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: metric.reduce(rows[name]) for name, metric in task.metrics.items()}


def risks(model: nn.Module, task: Task, split: Split, chunk: int = CHUNK) -> dict[str, float]:
    """The value of every metric over the whole split."""
    return reduce(task, evaluate(model, task, split, chunk))


@torch.inference_mode()
def pictures(model: nn.Module, task: Task, split: Split) -> Mapping[str, np.ndarray]:
    """What the task shows of the present weights, (height, width, 3) uint8 by name; the same noise each time."""
    was_training = model.training
    model.eval()
    found = task.pictures(model, split, FixedNoise(0, SHOWN, next(model.parameters()).device))
    model.train(was_training)
    return found

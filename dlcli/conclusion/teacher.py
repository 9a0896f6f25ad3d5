"""The network that made the targets, as a member of the class of whoever learns from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlcli.protocols import DataSpec, Network
from dlcli.training.references import Witness, copy_of, witness
from dlcli.training.run import Run


def taught(run: Run, config: dict[str, Any]) -> Witness | None:
    """None where there is no teacher, or the class is not known to hold it: fewer or narrower layers, another
    activation between them, more layers that do not pass on what they get.
    """
    teacher, declared = run.data.teacher, run.task.architecture(run.model)
    if teacher is None or config["model"].get("activation") != teacher.activation:
        return None
    widths = [len(biases) for _, biases in teacher.layers]
    fits = len(declared.hidden) >= len(widths) - 1 and all(
        ours >= theirs for ours, theirs in zip(declared.hidden, widths, strict=False)
    )
    deeper = len(declared.hidden) > len(widths) - 1
    if not fits or (deeper and not declared.rectified) or run.task.spec.outputs != widths[-1]:
        return None
    model = copy_of(run.model)
    model.embed({name: part.to(run.device) for name, part in state(teacher, run.task.spec).items()})
    return witness("the teacher itself", model, run.task, run.data.train)


def state(teacher: Network, spec: DataSpec) -> dict[str, Tensor]:
    """The parameters of the teacher by the names of a perceptron, in the numbers that a model reads and predicts."""
    layers = [tuple(torch.from_numpy(part) for part in layer) for layer in teacher.layers]
    mean, scale = (torch.tensor(part, dtype=torch.float64) for part in (spec.mean, spec.scale))
    (weights, biases), (last, shift) = layers[0], layers[-1]
    layers[0] = weights * scale, biases + (weights * mean).sum(1)
    if not spec.classes:
        target_mean = torch.tensor(spec.target_mean, dtype=torch.float64)
        layers[-1] = last / spec.target_scale, (shift - target_mean) / spec.target_scale
    names = [*(f"body.{number}" for number in range(len(layers) - 1)), "head"]
    found = {}
    for name, (inner, outer) in zip(names, layers, strict=True):
        found |= {f"{name}.weight": inner.float(), f"{name}.bias": outer.float()}
    return found

"""The task that predicts the target of each input: one model, one phase, a risk per example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Slope, Split


class Supervised(NamedTuple):
    spec: DataSpec
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]
    undefined = ""
    random = False
    drawn = 0

    def predict(self, model: nn.Module, batch: Batch, noise: Noise) -> Tensor:
        """Raw scores or numbers, (batch, spec.outputs)."""
        return model(batch.inputs)

    def head(self, model: nn.Module) -> nn.Linear | None:
        return model.head

    def architecture(self, model: nn.Module) -> Architecture:
        return Architecture() if model.head is None else model.architecture

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        return ()

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def sample(self, model: nn.Module, count: int, noise: Noise) -> Tensor:
        raise UsageError(
            f"a model that predicts the targets of {self.spec.name} has no examples to draw",
            "sample a run of a generative model (vae, flow, gan, ebm) or of a language model",
        )

    def pictures(self, model: nn.Module, split: Split, noise: Noise) -> Mapping[str, np.ndarray]:
        return {}


def supervised(
    spec: DataSpec,
    outputs: int,
    objective: Callable[[Tensor, Batch], Tensor],
    metrics: Mapping[str, Metric],
    slope: Slope | None = None,
) -> Supervised:
    """One phase that moves the whole model down `objective`, a mean over the batch, which may be smoothed.

    The metrics are not: the risk that is decomposed is the plain one, whatever was trained on. slope: of the objective.
    """

    def loss(model: nn.Module, batch: Batch, noise: Noise) -> Tensor:
        return objective(model(batch.inputs), batch)

    return Supervised(spec._replace(outputs=outputs), (Phase("train", "", loss, slope=slope),), metrics)


def averaged(rows: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The mean of a loss per example, as an objective."""
    return lambda prediction, batch, **settings: rows(prediction, batch, **settings).mean()


def require_classes(spec: DataSpec, task: str) -> None:
    if not spec.classes:
        raise UsageError(
            f"task={task} needs classes, and the targets of data set {spec.name} are numbers",
            "use task=regression, or task=auto, which chooses by the data",
        )
    if len(spec.classes) == 1:
        raise UsageError(
            f"data set {spec.name} has a single class, {spec.classes[0]}: there is nothing to tell apart",
            "check which column or folder gives the class",
        )


def refuse_smoothing(loss: str, label_smoothing: float) -> None:
    if label_smoothing:
        raise UsageError(
            f"task.label_smoothing={label_smoothing:g} has no meaning for the loss {loss}",
            "set task.label_smoothing=0, or a loss of probabilities or squares",
        )

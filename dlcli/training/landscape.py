"""The loss on a line or a plane through the last weights: how wide the valley is in which training has ended.

Separate from `diagnostics`, which goes along with training: this is looked at once, after it. Weights are put back to
the bit, buffers are not touched, because the model is one fixed function (evaluation mode) throughout.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.protocols import Batch
from dlcli.training.diagnostics import EXAMPLES
from dlcli.training.evaluate import evaluating
from dlcli.training.randomness import FixedNoise
from dlcli.training.run import Learner, Run

POINTS = {"line": 51, "plane": 21}  # along each direction, from -1 to 1; odd, so that one is the weights themselves
TINY = 1e-10  # beside the length of a direction within a filter


class Slice(NamedTuple):
    steps: np.ndarray  # (points,) multiples of each direction
    losses: np.ndarray  # (points,) of a line, (points, points) of a plane, the first direction down

    @property
    def rise(self) -> float:
        """Loss at one step to either side along the first direction, above that of the weights."""
        middle = len(self.steps) // 2
        line = self.losses if self.losses.ndim == 1 else self.losses[:, middle]
        return float((line[0] + line[-1]) / 2 - line[middle])


def slices(run: Run) -> dict[str, Slice]:
    """By phase, of its objective on the first examples of the training split, as `training.landscape` says."""
    if run.training.landscape == "none":
        return {}
    batch = run.data.train.batch(slice(min(EXAMPLES, len(run.data.train))))
    return {learner.phase.name: cut(run, learner, batch, run.training.landscape) for learner in run.learners}


def cut(run: Run, learner: Learner, batch: Batch, shape: str) -> Slice:
    """shape: line or plane. Source: Li et al. 2018, arXiv:1712.09913, section 4."""
    weights, steps = learner.parameters.weights, np.linspace(-1, 1, POINTS[shape])
    generator = torch.Generator().manual_seed(0)
    directions = [direction(learner, generator) for _ in range(2 if shape == "plane" else 1)]
    before, losses = weights.clone(), []
    noise = FixedNoise(0, len(batch.inputs), run.device)
    try:
        with evaluating(run.model), torch.no_grad():
            for multiples in product(steps.tolist(), repeat=len(directions)):
                moves = (multiple * each for multiple, each in zip(multiples, directions, strict=True))
                weights.copy_(sum(moves, before))
                losses.append(learner.phase.loss(run.model, batch, noise).item())
    finally:
        weights.copy_(before)
    return Slice(steps, np.array(losses).reshape([len(steps)] * len(directions)))


def direction(learner: Learner, generator: torch.Generator) -> Tensor:
    """(size,) random, each filter (row of a matrix) as long as that of the weights; vectors, such as biases, stay.

    So a network whose filters are scaled by a normalization behind them has the same slice.
    """
    parameters = learner.parameters
    drawn = torch.randn(len(parameters.weights), generator=generator).to(parameters.weights)
    own = parameters.views(parameters.weights)
    for name, part in parameters.views(drawn).items():
        if part.dim() < 2:
            part.zero_()
            continue
        across = tuple(range(1, part.dim()))
        lengths = [torch.linalg.vector_norm(each, dim=across, keepdim=True) for each in (own[name], part)]
        part.mul_(lengths[0] / (lengths[1] + TINY))
    return drawn

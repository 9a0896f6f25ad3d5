"""What is known of min_F L_tr without a search: the exact minimum of classes that declare one, and floors that follow
from the data, from the width of the last layer, and from the number of pieces that a network of one input can have.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.conclusion.solvers import AS_NUMBERS, SOLVERS, Problem
from dlcli.decomposition import certificates
from dlcli.decomposition.interpolation import full_rank, memorization
from dlcli.decomposition.least_squares import bottleneck_floor
from dlcli.decomposition.optimum import CLOSED, Optimum
from dlcli.decomposition.pieces import pieces, piecewise_floor
from dlcli.protocols import Architecture, Bound, Metric
from dlcli.training.evaluate import CHUNK
from dlcli.training.references import Witness, copy_of, witness
from dlcli.training.refit import GREATEST_REFIT, features
from dlcli.training.run import Run

FEWEST_SECONDS = 10.0  # of the processor, that a solver gets however short the training was
PATIENCE = 20  # times as long where the budget is not quick
GREATEST_PIECES = 2000  # examples for which the n^2 table of the dynamic programme is made
GREATEST_RANK = 2000  # examples for which the rank of the features is looked at


class Exact(NamedTuple):
    """The minimum of a class that is convex or hidden convex, and the member that reaches its upper end."""

    optimum: Optimum
    rung: Witness

    @property
    def closed(self) -> bool:
        """Whether nothing is left to look for."""
        return self.optimum.attained is False or self.rung.risks["loss"] - self.optimum.low <= CLOSED * (
            1 + abs(self.optimum.low)
        )


def exact_member(run: Run, affordable: float) -> Exact | None:
    """None where the class declares nothing, no solver fits the loss, or it would cost more work than is affordable."""
    solver, head = SOLVERS.get(run.task.metrics["loss"]), run.task.head(run.model)
    declared = architecture(run)
    if solver is None or not (declared.frozen or declared.affine):
        return None
    started, n, classes = time.perf_counter(), len(run.data.train), len(run.data.spec.classes)
    wide = head.in_features if declared.frozen else math.prod(run.data.spec.shape)
    if n * wide > GREATEST_REFIT or solver.work(n, wide, classes) > affordable:
        return None
    model = copy_of(run.model)
    inputs = features(model, run.data.train) if declared.frozen else flat_inputs(run)
    targets = targets_of(run)
    most = max(1, classes - 1) if classes else targets[0].size
    rank = head.in_features if declared.affine and head.in_features < min(wide, most) else None
    seconds = max(FEWEST_SECONDS, run.state.seconds.get("training", 0.0))
    if not math.isfinite(affordable):
        seconds *= PATIENCE
    solved = solver.solve(Problem(inputs.cpu().numpy(), targets, classes, rank, seconds))
    weights, bias = (torch.from_numpy(np.asarray(part)).float() for part in (solved.weights.T, solved.bias))
    model.place(weights.to(run.device), bias.to(run.device))
    rung = witness(solved.optimum.method, model, run.task, run.data.train)
    return Exact(solved.optimum, rung._replace(seconds=time.perf_counter() - started))


def architecture(run: Run) -> Architecture:
    """What the model says of its class; nothing where its last layer is not free."""
    return Architecture() if run.task.head(run.model) is None else run.model.architecture


def flat_inputs(run: Run) -> Tensor:
    n, train = len(run.data.train), run.data.train
    return torch.cat([train.batch(slice(i, i + CHUNK)).inputs.flatten(1) for i in range(0, n, CHUNK)]).double()


def targets_of(run: Run) -> np.ndarray:
    return run.data.train.batch(slice(None)).targets.cpu().numpy()


def bounds_of_class(run: Run, found: Exact | None) -> list[Bound]:
    """Of the decomposed loss: the ends of an exact solver, and what architecture and targets prove."""
    bounds = [] if found is None else exact_bounds(found)
    head, as_numbers = run.task.head(run.model), AS_NUMBERS.get(run.task.metrics["loss"])
    if head is None or as_numbers is None:
        return bounds
    targets, declared = as_numbers(targets_of(run), len(run.data.spec.classes)), architecture(run)
    if head.in_features < targets.shape[1]:
        value, method = bottleneck_floor(targets, head.in_features), f"last layer reads {head.in_features} features"
        bounds.append(Bound("lower", value, "certified", f"rank of the predictions: the {method}"))
    n, numbers = len(targets), math.prod(run.data.spec.shape)
    if declared.breakpoints is not None and numbers == 1 and n <= GREATEST_PIECES:
        most = pieces(declared.hidden, declared.breakpoints)
        floor = piecewise_floor(flat_inputs(run).cpu().numpy()[:, 0], targets, most).floor
        method = f"dynamic programme over functions of {most} linear pieces"
        bounds.append(Bound("lower", floor, "certified", method))
    if head.in_features + 1 >= n and n <= GREATEST_RANK:
        rank = full_rank(features(copy_of(run.model), run.data.train).flatten(1).cpu().numpy(), targets)
        bounds += [] if rank is None else [rank]
    if declared.hidden and declared.breakpoints and declared.hidden[0] >= n and len(declared.hidden) == 1:
        memorized = memorization(flat_inputs(run).cpu().numpy(), targets, declared.hidden[0])
        bounds += [] if memorized is None else [memorized]
    return bounds


def exact_bounds(found: Exact) -> list[Bound]:
    """The lower end; and the upper one only where no member reaches it, as else the member itself is the upper end."""
    lower, upper = found.optimum.bounds()
    return [lower, upper] if found.optimum.attained is False else [lower]


def margins(rung: Witness, metric: Metric, free_head: bool) -> Bound | None:
    """A member whose training margins are all positive bounds what scaling it approaches."""
    bound = certificates.score_scaling(np.array([rung.greatest]), metric.unit, free_head)
    return bound and bound._replace(witness=rung.sha256)

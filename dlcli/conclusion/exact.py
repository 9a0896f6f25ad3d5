"""What is known of min_F L_tr without a search: the exact minimum of classes that declare one, and floors that follow
from the data, from the width of the last layer, and from the number of pieces that a network of one input can have.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.conclusion.solvers import AS_NUMBERS, SOLVERS, Problem, newton
from dlcli.decomposition import certificates
from dlcli.decomposition.interpolation import full_rank, memorization
from dlcli.decomposition.least_squares import bottleneck_floor, ridge
from dlcli.decomposition.linear_vae import linear_vae
from dlcli.decomposition.optimum import CLOSED, Optimum
from dlcli.decomposition.pieces import pieces, piecewise_floor
from dlcli.decomposition.relu_dual import relu_minimum
from dlcli.metrics import numeric
from dlcli.protocols import Architecture, Bound, Metric
from dlcli.tasks.units import log_volume
from dlcli.training.evaluate import chunk_of, in_chunks
from dlcli.training.polish import Penalty
from dlcli.training.references import Witness, copy_of, witness
from dlcli.training.refit import GREATEST_REFIT, features
from dlcli.training.run import Run

FEWEST_SECONDS = 10.0  # of the processor, that a solver gets however short the training was
PATIENCE = 20  # times as long where the budget is not quick
GREATEST_PIECES = 2000  # examples for which the n^2 table of the dynamic programme is made
GREATEST_DUAL = 300  # examples for which the convex dual of a ReLU network is solved
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
    started, declared, model = time.perf_counter(), run.task.architecture(run.model), copy_of(run.model)
    optimum = None
    if declared.latents:
        optimum = principal_components(run, declared, model, affordable)
    elif declared.frozen or declared.affine:
        optimum = linear_map(run, declared, model, affordable)
    if optimum is None:
        return None
    rung = witness(optimum.method, model, run.task, run.data.train)
    return Exact(optimum, rung._replace(seconds=time.perf_counter() - started))


def principal_components(run: Run, declared: Architecture, model: nn.Module, affordable: float) -> Optimum | None:
    """The optimum, after `model` was made the member that reaches it. None too where the latents hold all variance,
    as there is no minimum.
    """
    n, size = len(run.data.train), math.prod(run.data.spec.shape)
    if n * size > GREATEST_REFIT or newton(n, size, 0) > affordable:
        return None
    try:
        found = linear_vae(flat_inputs(run).cpu().numpy(), declared.latents)
    except ValueError:
        return None
    weights, bias, variance = found.weights
    model.place(*(torch.from_numpy(part).to(model.shared) for part in (weights, bias)), float(variance))
    volume = log_volume(run.task.spec)
    return found._replace(low=found.low + volume, high=found.high + volume)


def linear_map(run: Run, declared: Architecture, model: nn.Module, affordable: float) -> Optimum | None:
    """Likewise for the last layer, or for all of them together."""
    solver, head = SOLVERS.get(run.task.metrics["loss"]), run.task.head(run.model)
    if solver is None:
        return None
    n, classes = len(run.data.train), len(run.data.spec.classes)
    wide = head.in_features if declared.frozen else math.prod(run.data.spec.shape)
    if n * wide > GREATEST_REFIT or solver.work(n, wide, classes) > affordable:
        return None
    inputs = features(model, run.task, run.data.train) if declared.frozen else flat_inputs(run)
    targets = targets_of(run)
    most = max(1, classes - 1) if classes else targets[0].size
    rank = head.in_features if declared.affine and head.in_features < min(wide, most) else None
    seconds = max(FEWEST_SECONDS, run.state.seconds.get("training", 0.0))
    if not math.isfinite(affordable):
        seconds *= PATIENCE
    solved = solver.solve(Problem(inputs.cpu().numpy(), targets, classes, rank, seconds))
    weights, bias = (torch.from_numpy(np.asarray(part)).float() for part in (solved.weights.T, solved.bias))
    model.place(weights.to(run.device), bias.to(run.device))
    return solved.optimum


def flat_inputs(run: Run) -> Tensor:
    """(n, numbers) float64"""
    chunk = chunk_of(run.task.spec, run.device)
    return torch.cat([batch.inputs.flatten(1) for batch in in_chunks(run.data.train, chunk)]).double()


def targets_of(run: Run) -> np.ndarray:
    return run.data.train.targets.cpu().numpy()


def bounds_of_class(run: Run, found: Exact | None) -> list[Bound]:
    """Of the decomposed loss: the ends of an exact solver, and what architecture and targets prove."""
    bounds = [] if found is None else exact_bounds(found)
    head, as_numbers = run.task.head(run.model), AS_NUMBERS.get(run.task.metrics["loss"])
    if head is None or as_numbers is None:
        return bounds
    targets, declared = as_numbers(targets_of(run), len(run.data.spec.classes)), run.task.architecture(run.model)
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
        rank = full_rank(features(copy_of(run.model), run.task, run.data.train).flatten(1).cpu().numpy(), targets)
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


def least_objective(run: Run, penalty: Penalty) -> Bound | None:
    """What no member of the class undercuts in the mean squared error plus the penalty: exact for ridge regression, and
    for the ReLU network of one input number and one hidden layer, whatever its width.
    """
    declared, n = run.task.architecture(run.model), len(run.data.train)
    if run.task.metrics["loss"] != numeric.SQUARED_ERROR or not penalty.rate:
        return None
    targets = targets_of(run).reshape(n, -1).astype(float)
    count, found = targets.shape[1], None
    if declared.frozen and n * run.model.head.in_features <= GREATEST_REFIT:
        inputs = features(copy_of(run.model), run.task, run.data.train).cpu().numpy()
        inputs = inputs if penalty.matrices else np.column_stack([inputs, np.ones(n)])
        found, scale = ridge(inputs, targets, count * penalty.rate / 2, bias=penalty.matrices), 1 / count
    one_number = math.prod(run.data.spec.shape) == count == len(declared.hidden) == 1
    if one_number and declared.rectified and not penalty.matrices and n <= GREATEST_DUAL:
        inputs = np.column_stack([flat_inputs(run).cpu().numpy(), np.ones(n)])
        found, scale = relu_minimum(inputs, targets, n * penalty.rate / 2, output_bias=True), 2 / n
    if found is None:
        return None
    lower, _ = found.bounds()
    narrow = declared.hidden and declared.hidden[0] < found.evidence["width"]  # then it is a bound, and no minimum
    return lower._replace(value=scale * found.low, kind="certified" if narrow else lower.kind)

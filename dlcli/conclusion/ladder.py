"""The ladder of upper bounds of min_F L_tr: the run itself, what quick finds beside it, what larger budgets add."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlcli import build
from dlcli.conclusion.effort import Work, evaluations_for, work
from dlcli.conclusion.exact import Exact, exact_member, least_objective, margins, targets_of
from dlcli.conclusion.pool import Pool
from dlcli.conclusion.search import FEWEST, NEGLIGIBLE, STANDARD, exhaustive, standard
from dlcli.conclusion.teacher import taught
from dlcli.decomposition.floors import rescaling
from dlcli.errors import CheckpointError
from dlcli.metrics import multiclass
from dlcli.protocols import AVERAGE, Bound
from dlcli.training import checkpoint
from dlcli.training.directory import RunDirectory
from dlcli.training.evaluate import chunk_of, in_chunks
from dlcli.training.polish import NO_PENALTY, Penalty, polish
from dlcli.training.references import Witness, continue_training, copy_of, recalibrate, witness
from dlcli.training.refit import can_refit, refit_head
from dlcli.training.run import Run

Config = dict[str, Any]
CONTINUED, REFITTED = 0.45, 0.25  # shares of what quick may spend
LOOKED_AT, RECALIBRATED = 6, 2  # evaluations that quick makes of what there is, and more for running averages
AT_ONCE = 5e8  # work of an exact solver that no run minds: a tenth of a second
LONG = 5.0  # seconds in which somebody who waits wants to be told something
UNTIL = {
    "quick": "at most as long as training took",
    "standard": "some 20 times as long as training took",
    "exhaustive": "until more work moves nothing",
}
DECOUPLED = {"adamw", "lion", "muon"}  # whose decay is no penalty of an objective

ITSELF = "the run itself"


class Objective(NamedTuple):
    """The best minimizer that was found of what the run really minimized."""

    rung: Witness
    before: float  # value of that objective at the run's weights
    after: float
    least: Bound | None  # what no member of the class undercuts in it


class Ladder(NamedTuple):
    rungs: list[Witness]  # the run itself is the first
    exact: Exact | None = None
    objective: Objective | None = None


def climb(
    run: Run,
    config: Config,
    directory: RunDirectory,
    pool: Pool,
    own: dict[str, Any],
    stopped: Callable[[], bool],
    say: Callable[[str], object],
) -> Ladder:
    """Everything that the budget allows. pool: what earlier runs have left. own: rows of the run's own weights over the
    training set. say: told what takes long. Nothing here moves `run.model`.
    """
    budget = config["decompose"]["budget"]
    first = witness(ITSELF, run.model, run.task, run.data.train, own)
    if budget == "none" or run.task.undefined:
        return Ladder([first])
    rungs, price = [first], work(run)
    if budget != "quick" or run.state.seconds.get("training", 0.0) >= LONG:
        say(f"class  looking for better members, {UNTIL[budget]}")
    found = exact_member(run, max(price.training, AT_ONCE) if budget == "quick" else float("inf"))
    if found is not None:
        rungs.append(found.rung)
    teacher = taught(run, config)
    if teacher is not None:
        rungs.append(teacher)
    rungs += timed(quick(run, directory, price, found is None or not found.closed, stopped), say)
    if budget == "quick" or (found is not None and found.closed):
        objective = None if budget == "quick" else own_objective(run, config, price, stopped)
        return Ladder(rungs, found, objective)
    extend(run, rungs, timed(standard(run, config, price, list(rungs), pool, stopped), say))
    if budget == "exhaustive":
        extend(run, rungs, timed(exhaustive(run, config, price, list(rungs), stopped), say))
    objective = own_objective(run, config, price, stopped)
    return Ladder(rungs + ([objective.rung] if objective else []), found, objective)


def extend(run: Run, rungs: list[Witness], more: Iterator[Witness]) -> None:
    """Add what comes, until nothing is left to gain."""
    while not any(settles(run, rung) for rung in rungs):
        rung = next(more, None)
        if rung is None:
            return
        rungs.append(rung)


def settles(run: Run, rung: Witness) -> bool:
    """Whether it is at the floor of the loss, or approaches it by scaling its scores."""
    metric = run.task.metrics["loss"]
    reached = metric.floor is not None and rung.risks["loss"] - metric.floor <= NEGLIGIBLE
    return reached or margins(rung, metric, run.task.head(run.model) is not None) is not None


def timed(rungs: Iterator[Witness], say: Callable[[str], object]) -> Iterator[Witness]:
    """Each with the seconds it took, and told at once where these were many."""
    while True:
        started = time.perf_counter()
        rung = next(rungs, None)
        if rung is None:
            return
        seconds = time.perf_counter() - started
        if seconds >= LONG:
            say(f"found  train loss {rung.risks['loss']:.4g} after {seconds:.0f} s: {rung.method}")
        yield rung._replace(seconds=seconds)


def quick(
    run: Run, directory: RunDirectory, price: Work, search: bool, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """At most the work of the training: checkpoints and their mean, running averages taken anew, scores rescaled,
    continued training, its last layer refit.

    search: whether members are looked for at all, or only looked at.
    """
    model, task, train = copy_of(run.model), run.task, run.data.train
    final = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, weights in kept_weights(run, directory):
        model.load_state_dict(weights)
        yield witness(name, model, task, train)
    model.load_state_dict(final)
    spare = max(0.0, price.training - LOOKED_AT * price.evaluation)
    if search and spare and recalibrate(model, run):
        spare = max(0.0, spare - RECALIBRATED * price.evaluation)
        yield witness("running averages of batch normalization taken anew", model, task, train)
        model.load_state_dict(final)
    if search and rescale(model, run):
        yield witness("scores rescaled, biases refit (convex)", model, task, train)
        model.load_state_dict(final)
    steps, evaluations = int(CONTINUED * spare / price.step), int(REFITTED * spare / price.refit)
    method = "final weights"
    if search and steps and not stopped():
        continue_training(model, run, build.reference_optimizer(), steps, stopped)
        method = f"training continued {steps} steps, lr to 0, no regularizers"
        yield witness(method, model, task, train)
    if search and evaluations and can_refit(task.head(model), task, train) and not stopped():
        refit_head(model, task, train, build.reference_minimizer(), evaluations)
        yield witness(f"{method}; last layer refit (convex, float64)", model, task, train)


@torch.no_grad()
def rescale(model: nn.Module, run: Run) -> bool:
    """Give the last layer the best common factor and the best biases, where its scores are those of a cross-entropy."""
    head = run.task.head(model)
    if head is None or run.task.metrics["loss"] != multiclass.CROSS_ENTROPY:
        return False
    batches = in_chunks(run.data.train, chunk_of(run.task.spec, run.device))
    scores = torch.cat([model(batch.inputs) for batch in batches]).double().cpu().numpy()
    factor, biases = rescaling(scores, targets_of(run))
    head.weight.mul_(factor)
    head.bias.mul_(factor).add_(torch.from_numpy(biases).to(head.bias))
    return True


def kept_weights(run: Run, directory: RunDirectory) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Where the final ones are an average, those that it is of; those of the checkpoint with the best validation risk,
    unless they are the final ones, and the mean of both.

    Not of all that are kept: which ones these are depends on whether the run was ever stopped.
    """
    if run.averages:  # they have changed places (`Run.exchange`)
        moving = [learner.views(learner.memory[AVERAGE]) for learner in run.learners if AVERAGE in learner.memory]
        yield "the moving weights beside the average", dict(ChainMap(*moving, run.model.state_dict()))
    best = run.state.best[0] if run.state.best else run.state.step
    path = checkpoint.path_of(directory.checkpoints, best)
    if best == run.state.step or not path.exists():
        return
    with suppress(CheckpointError):
        weights = checkpoint.load(path, checkpoint.expect(run.tensors())).tensors["model"]
        yield "checkpoint 'best on validation'", weights
        final = run.model.state_dict()
        mean = {
            name: ((weights[name].double() + final[name].cpu().double()) / 2).to(weights[name].dtype)
            for name in weights
        }
        yield "mean of the weights of the checkpoints 'best on validation' and 'last'", mean


def own_objective(run: Run, config: Config, price: Work, stopped: Callable[[], bool]) -> Objective | None:
    """The minimizer of what the run minimized, where that is another function of the weights than the decomposed risk:
    smoothed labels, decay as a penalty. None where it is the same, random (dropout, augmentation), or no function at
    all (SAM, decay beside the rule).
    """
    penalty, smoothed = decay(config), bool(config["task"].get("label_smoothing"))
    noisy = config["model"].get("dropout") or run.augment is not None or config["optimizer"]["name"] == "sam"
    beside = penalty.rate and config["optimizer"]["name"] in DECOUPLED
    evaluations = evaluations_for(STANDARD["surrogate"], price)
    if (
        noisy
        or beside
        or len(run.task.phases) > 1
        or not (penalty.rate or smoothed)
        or evaluations < FEWEST
        or stopped()
    ):
        return None
    started, model, loss = time.perf_counter(), copy_of(run.model), run.task.phases[0].loss
    reached = polish(model, run.task, run.data.train, build.reference_minimizer(), evaluations, stopped, loss, penalty)
    name = f"minimizer of the run's own objective, L-BFGS in float64, {reached.evaluations} evaluations"
    rung = witness(name, model, run.task, run.data.train)._replace(seconds=time.perf_counter() - started)
    return Objective(rung, reached.before, reached.after, least_objective(run, penalty))


def decay(config: Config) -> Penalty:
    rate = config["optimizer"].get("weight_decay") or 0.0
    return Penalty(rate, config["optimizer"].get("decay") == "matrices") if rate else NO_PENALTY

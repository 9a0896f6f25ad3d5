"""The ladder of upper bounds of min_F L_tr: which members of the class are looked for, and for how much work."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlcli import build
from dlcli.conclusion.effort import Work, evaluations_for, work
from dlcli.conclusion.exact import Exact, exact_member, least_objective, margins
from dlcli.conclusion.pool import Known, Pool, Relation
from dlcli.protocols import Bound
from dlcli.training import checkpoint
from dlcli.training.directory import RunDirectory
from dlcli.training.polish import NO_PENALTY, Penalty, polish
from dlcli.training.randomness import stream
from dlcli.training.references import Witness, continue_training, copy_of, witness
from dlcli.training.refit import can_refit, refit_head
from dlcli.training.run import Run

Config = dict[str, Any]
CONTINUED, REFITTED = 0.45, 0.25  # shares of what quick may spend
AT_ONCE = 5e8  # work of an exact solver that no run minds: a tenth of a second
FEWEST = 20  # evaluations with which a polish is worth its name
SMALL, MANY, FEW = 100_000, 20, 5  # parameters up to which there are many restarts, else few
STANDARD = {"polish": 4.0, "restarts": 10.0, "narrower": 1.0, "surrogate": 2.0}  # times the work of the training
STEPPED = 0.25  # share of the work of a restart that is steps on batches; the rest is polish
DECOUPLED = {"adamw", "lion", "muon"}  # whose decay is no penalty of an objective
MOVED, DOUBLINGS = 0.01, 8  # share by which a ladder moves that is not done, and its greatest number of doublings
NEGLIGIBLE = 1e-9  # loss below which there is nothing left to gain

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
    run: Run, config: Config, directory: RunDirectory, pool: Pool, own: dict[str, Any], stopped: Callable[[], bool]
) -> Ladder:
    """Everything that the budget allows. pool: what earlier runs have left. own: rows of the run's own weights over the
    training set. Nothing here moves `run.model`.
    """
    budget = config["decompose"]["budget"]
    first = witness(ITSELF, run.model, run.task, run.data.train, own)
    if budget == "none" or run.task.undefined:
        return Ladder([first])
    rungs, price = [first], work(run)
    found = exact_member(run, max(price.training, AT_ONCE) if budget == "quick" else float("inf"))
    if found is not None:
        rungs.append(found.rung)
    rungs += timed(quick(run, directory, price, found is None or not found.closed, stopped))
    if budget == "quick" or (found is not None and found.closed):
        objective = None if budget == "quick" else own_objective(run, config, price, stopped)
        return Ladder(rungs, found, objective)
    extend(run, rungs, timed(standard(run, config, price, list(rungs), pool, stopped)))
    if budget == "exhaustive":
        extend(run, rungs, timed(exhaustive(run, config, price, list(rungs), stopped)))
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


def timed(rungs: Iterator[Witness]) -> Iterator[Witness]:
    """Each with the seconds it took."""
    while True:
        started = time.perf_counter()
        rung = next(rungs, None)
        if rung is None:
            return
        yield rung._replace(seconds=time.perf_counter() - started)


def best(rungs: list[Witness]) -> Witness:
    return min(rungs, key=lambda rung: rung.risks["loss"])


def quick(
    run: Run, directory: RunDirectory, price: Work, search: bool, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """At most the work of the training: the best checkpoint, continued training, its last layer refit.

    search: whether members are looked for at all, or only looked at.
    """
    model, task, train = copy_of(run.model), run.task, run.data.train
    final = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, weights in best_weights(run, directory).items():
        model.load_state_dict(weights)
        yield witness(f"checkpoint '{name}'", model, task, train)
    model.load_state_dict(final)
    spare = max(0.0, price.training - 3 * price.evaluation)
    steps, evaluations = int(CONTINUED * spare / price.step), int(REFITTED * spare / price.refit)
    method = "final weights"
    if search and steps and not stopped():
        continue_training(model, run, build.reference_optimizer(), steps, stopped)
        method = f"training continued {steps} steps, lr to 0, no regularizers"
        yield witness(method, model, task, train)
    if search and evaluations and can_refit(task.head(model), task, train) and not stopped():
        refit_head(model, task, train, evaluations)
        yield witness(f"{method}; last layer refit (convex, float64)", model, task, train)


def best_weights(run: Run, directory: RunDirectory) -> dict[str, dict[str, Tensor]]:
    """The weights with the best validation risk, unless they are the final ones or no longer there."""
    if run.state.best is None or run.state.best[0] == run.state.step:
        return {}
    path = checkpoint.path_of(directory.checkpoints, run.state.best[0])
    if not path.is_dir():
        return {}
    return {"best on validation": checkpoint.load(path, checkpoint.expect(run.tensors())).tensors["model"]}


def standard(
    run: Run, config: Config, price: Work, rungs: list[Witness], pool: Pool, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """Full-batch minimization from the best member so far, from smaller ones, and from fresh initial weights."""
    known = pool.best("the class itself")
    if known is not None:
        model = copy_of(run.model)
        model.load_state_dict(known.state)
        found = witness(f"earlier runs: {known.words}", model, run.task, run.data.train)
        if found.sha256 not in {rung.sha256 for rung in rungs}:
            rungs.append(found)
            yield found
    start = best(rungs)
    polishing = evaluations_for(STANDARD["polish"], price)
    yield from polished(run, loaded(run, start), polishing, start.method, stopped)
    yield from grown(run, config, price, pool, stopped)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    count = MANY if parameters <= SMALL else FEW
    yield from restarts(run, config, price, range(count), STANDARD["restarts"] / count, stopped)


def exhaustive(
    run: Run, config: Config, price: Work, rungs: list[Witness], stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """More restarts, each with more work, and the best polished on, until a doubling of the work moves nothing."""
    done = MANY
    least, share = best(rungs), STANDARD["restarts"] / MANY
    for doubling in range(1, DOUBLINGS + 1):
        before, effort = least.risks["loss"], 2.0**doubling
        model = loaded(run, least)
        polishing = polished(run, model, evaluations_for(effort * STANDARD["polish"], price), least.method, stopped)
        count = MANY if doubling == 1 else MANY // 2
        fresh = restarts(run, config, price, range(done, done + count), effort * share, stopped)
        for rung in itertools.chain(polishing, fresh):
            least = min(least, rung, key=lambda each: each.risks["loss"])
            yield rung
        done += count
        if stopped() or before - least.risks["loss"] <= MOVED * abs(before) or abs(least.risks["loss"]) < NEGLIGIBLE:
            return


def polished(
    run: Run, model: nn.Module, evaluations: int, method: str, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    if evaluations >= FEWEST and not stopped():
        reached = polish(model, run.task, run.data.train, evaluations, stopped)
        name = f"{method}; full-batch L-BFGS in float64, {reached.evaluations} evaluations"
        yield witness(name, model, run.task, run.data.train)


def restarts(
    run: Run, config: Config, price: Work, numbers: range, share: float, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """Fresh initial weights, trained and polished for this share of the work of the training each."""
    steps = int(STEPPED * share * price.effort / price.step)
    evaluations = evaluations_for((1 - STEPPED) * share, price)
    for number in numbers:
        if stopped():
            return
        model = fresh(run, config, number)
        continue_training(model, run, build.reference_optimizer(), steps, stopped)
        name = f"restart {number + 1}, {steps} steps"
        if evaluations >= FEWEST:
            yield from polished(run, model, evaluations, name, stopped)
        else:
            yield witness(name, model, run.task, run.data.train)


def fresh(run: Run, config: Config, number: int, **changes: Any) -> nn.Module:
    """A model of the class, or with `changes` of one beside it, with initial weights of its own."""
    torch.default_generator.manual_seed(stream(run.seed, "restart", number))
    config = config | {"model": config["model"] | changes}
    return build.build_model(config, run.task.spec, run.data).to(run.device).eval()


def grown(run: Run, config: Config, price: Work, pool: Pool, stopped: Callable[[], bool]) -> Iterator[Witness]:
    """The best narrower and the best shallower member of earlier runs, or one that is trained here, put into the class
    as the same function, and polished on with the units that this adds: nested classes do not get worse.
    """
    hidden = run.task.architecture(run.model).hidden
    smaller: dict[Relation, dict[str, int]] = {}
    if hidden and hidden[0] > 1:
        smaller["narrower"] = {"width": hidden[0] // 2}
    if run.task.architecture(run.model).rectified and len(hidden) > 1:
        smaller["shallower"] = {"depth": len(hidden) - 1}
    for number, (relation, changes) in enumerate(smaller.items()):
        if stopped():
            return
        seed = MANY + FEW + number
        found = pool.best(relation) or trained(run, config, price, seed, changes, stopped)
        model = fresh(run, config, seed)
        model.embed(found.state)
        name = f"{relation} member embedded: {found.words}"
        yield witness(name, model, run.task, run.data.train)
        yield from polished(run, model, evaluations_for(STANDARD["narrower"], price), name, stopped)


def trained(
    run: Run, config: Config, price: Work, seed: int, changes: dict[str, int], stopped: Callable[[], bool]
) -> Known:
    """A member of the class beside the run's, with `changes` of its settings."""
    model, share = fresh(run, config, seed, **changes), STANDARD["narrower"]
    continue_training(model, run, build.reference_optimizer(), int(share / 2 * price.effort / price.step), stopped)
    if evaluations_for(share, price) >= FEWEST:
        polish(model, run.task, run.data.train, evaluations_for(share, price), stopped)
    return Known(dict(model.state_dict()), ", ".join(f"{name} {value}" for name, value in changes.items()))


def loaded(run: Run, rung: Witness) -> nn.Module:
    model = copy_of(run.model)
    model.load_state_dict(rung.state())
    return model


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
    reached = polish(model, run.task, run.data.train, evaluations, stopped, loss, penalty)
    name = f"minimizer of the run's own objective, L-BFGS in float64, {reached.evaluations} evaluations"
    rung = witness(name, model, run.task, run.data.train)._replace(seconds=time.perf_counter() - started)
    return Objective(rung, reached.before, reached.after, least_objective(run, penalty))


def decay(config: Config) -> Penalty:
    rate = config["optimizer"].get("weight_decay") or 0.0
    return Penalty(rate, config["optimizer"].get("decay") == "matrices") if rate else NO_PENALTY

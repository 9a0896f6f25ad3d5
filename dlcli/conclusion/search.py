"""What budgets above quick look for: polished members, smaller ones put into the class, fresh initial weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from dlcli import build
from dlcli.conclusion.effort import Work, evaluations_for
from dlcli.conclusion.pool import Known, Pool, Relation
from dlcli.training.polish import polish
from dlcli.training.randomness import stream
from dlcli.training.references import Witness, continue_training, copy_of, witness
from dlcli.training.run import Run
from dlcli.training.together import continue_together

Config = dict[str, Any]
FEWEST = 20  # evaluations with which a polish is worth its name
SMALL, MANY, FEW = 100_000, 20, 5  # parameters up to which there are many restarts, else few
STEPPED = 0.25  # share of the work of a restart that is steps on batches; the rest is polish
STANDARD = {"polish": 4.0, "restarts": 10.0, "narrower": 1.0, "surrogate": 2.0}  # times the work of the training
MOVED, DOUBLINGS = 0.01, 8  # share by which a ladder moves that is not done, and its greatest number of doublings
NEGLIGIBLE = 1e-9  # loss below which there is nothing left to gain


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


def best(rungs: list[Witness]) -> Witness:
    return min(rungs, key=lambda rung: rung.risks["loss"])


def loaded(run: Run, rung: Witness) -> nn.Module:
    model = copy_of(run.model)
    model.load_state_dict(rung.state())
    return model


def restarts(
    run: Run, config: Config, price: Work, numbers: range, share: float, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    """Fresh initial weights, trained as one program and polished one by one; this share of the work of the training
    for each.
    """
    steps = int(STEPPED * share * price.effort / price.step)
    evaluations = evaluations_for((1 - STEPPED) * share, price)
    models = [fresh(run, config, number) for number in numbers]
    continue_together(models, run, build.reference_optimizer, steps, stopped)
    for number, model in zip(numbers, models, strict=True):
        if stopped():
            return
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


def polished(
    run: Run, model: nn.Module, evaluations: int, method: str, stopped: Callable[[], bool]
) -> Iterator[Witness]:
    if evaluations >= FEWEST and not stopped():
        reached = polish(model, run.task, run.data.train, build.reference_minimizer(), evaluations, stopped)
        name = f"{method}; full-batch L-BFGS in float64, {reached.evaluations} evaluations"
        yield witness(name, model, run.task, run.data.train)


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
    evaluations = evaluations_for(share, price)
    if evaluations >= FEWEST:
        polish(model, run.task, run.data.train, build.reference_minimizer(), evaluations, stopped)
    return Known(dict(model.state_dict()), ", ".join(f"{name} {value}" for name, value in changes.items()))

"""The three terms of each loss of a concluded run: bounds gathered, circumstances noted, the population side beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcli.conclusion.evaluation import Evaluated, decomposed, sampling_of
from dlcli.conclusion.exact import bounds_of_class, margins, targets_of
from dlcli.conclusion.ladder import Ladder
from dlcli.conclusion.pool import Pool
from dlcli.conclusion.search import loaded
from dlcli.decomposition import certificates, population
from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import Decomposition, Surrogate, decompose
from dlcli.decomposition.floors import canonical_conflicts, constant_prediction
from dlcli.decomposition.intervals import Interval, Sampling, sampled
from dlcli.protocols import Batch, Bound, Split
from dlcli.training.evaluate import chunk_of, evaluate, in_chunks
from dlcli.training.randomness import FixedNoise
from dlcli.training.run import Run

Config = dict[str, Any]
View = Callable[[Tensor], Tensor]  # inputs -> what is told apart of them
LOOKED_AT = 1000  # examples together
REGULARIZERS = (
    ("optimizer", "weight_decay"),
    ("model", "dropout"),
    ("task", "label_smoothing"),
    ("task", "free_bits"),
)


def decompose_metrics(
    run: Run, config: Config, evaluated: Evaluated, ladder: Ladder, pool: Pool, bootstrap: bool
) -> dict[str, Decomposition]:
    bounds = bounds_of_run(run, ladder)
    noted, sampling = circumstances(run, config), sampling_of(run, "test", bootstrap)
    parts = {}
    for name in decomposed(run.task):
        rows = evaluated.rows["train"][name], evaluated.rows["test"][name]
        tried = bounds[name] + beyond(pool.bounds.get(name), float(np.mean(rows[0])), bounds[name])
        part = decompose(
            *rows,
            tried,
            loss=name,
            unit=run.task.metrics[name].unit,
            circumstances=noted,
            sampling=sampling,
            bayes=bayes_risk(run, name),
            matched_noise=matched_noise(run, name, float(rows[1].mean())),
        )
        parts[name] = replace(
            part,
            ledger_version=pool.version,
            surrogate=surrogate(name, ladder),
            **population_side(run, name, part, ladder, sampling),
        )
    return parts


def bounds_of_run(run: Run, ladder: Ladder) -> dict[str, list[Bound]]:
    """By metric: from the loss, the data and the class, then the rungs of the ladder as they were reached."""
    targets, groups = targets_of(run), repeated_inputs(run)
    free_head, found = run.task.head(run.model) is not None, {}
    declared = run.task.architecture(run.model)
    seen = None if declared.canonical is None else digests(run.data.train, declared.canonical)
    for name, metric in decomposed(run.task).items():
        bounds = [certificates.nonnegativity(metric), certificates.label_conflicts(groups, targets, metric)]
        if seen is not None:
            bounds.append(canonical_conflicts(seen, targets, metric, declared.invariance))
        if name == "loss":
            bounds += [*run.task.bounds(run.model, run.data.train), *bounds_of_class(run, ladder.exact)]
        if free_head:
            bounds.append(constant_prediction(targets, metric))
        if name == "loss":
            scaled = (margins(rung, metric, free_head) for rung in ladder.rungs)
            bounds.append(next(filter(None, scaled), None))
        for rung in ladder.rungs[1:]:
            kind = "certified"
            if name == "loss" and ladder.exact is not None and rung is ladder.exact.rung and ladder.exact.closed:
                kind = "exact"
            bounds.append(
                Bound("upper", rung.risks[name], kind, rung.method, True, witness=rung.sha256, seconds=rung.seconds)
            )
        found[name] = [bound for bound in bounds if bound is not None]
    return found


def beyond(found: Bound | None, train: float, bounds: list[Bound]) -> list[Bound]:
    """What another run has reached, where it is better than everything of this one."""
    own = min([train, *(bound.value for bound in bounds if bound.side == "upper" and bound.kind != "heuristic")])
    return [found] if found is not None and found.value < own else []


def surrogate(name: str, ladder: Ladder) -> Surrogate | None:
    if ladder.objective is None:
        return None
    rung = ladder.objective.rung
    return Surrogate(rung.risks[name], rung.method, *ladder.objective[1:])


def population_side(run: Run, name: str, part: Decomposition, ladder: Ladder, sampling: Sampling) -> dict[str, Any]:
    """Risks on the distribution: an interval of the best of the class for the 0-1 error, the terms of Bottou & Bousquet
    where the generator and the minimizer are known. Label noise makes the training set another distribution.
    """
    found: dict[str, Any] = {}
    if part.test.ci is None or run.data.facts["label_noise"]["asked"]:
        return found
    if part.test.unit == "fraction":
        low = part.approximation.low
        found["best_in_class"] = population.best_in_class(low, part.test.ci[1], len(run.data.train), 1.0)
    exact = ladder.exact
    if part.bayes is not None and name == "loss" and exact is not None and exact.closed and exact.optimum.attained:
        rows = evaluate(loaded(run, exact.rung), run.task, run.data.test)[name]
        minimizer = sampled(rows, part.test.unit, sampling).ci
        if minimizer is not None:
            best = Interval(part.bayes, minimizer[1])
            found["excess"] = population.excess(Interval(*part.test.ci), part.bayes, best, Interval(*minimizer))
    return found


def bayes_risk(run: Run, name: str) -> float | None:
    """The least risk of any function, where the generator is known; sources state it for the default loss only."""
    usual = {"cross_entropy", "logistic"} if run.data.spec.classes else {"squared_error"}
    loss = run.task.metrics[name].rows.__name__
    if name == "loss" and loss == "negative_log_likelihood":  # of the examples themselves
        return run.data.facts["truth"].get("entropy")
    if name == "loss" and loss not in usual:
        return None
    return run.data.facts["truth"].get(f"bayes_{name}")


def repeated_inputs(run: Run) -> list[np.ndarray]:
    """Groups of training examples with one input; the data set's facts tell whether there is anything to look for."""
    if not run.data.facts["duplicates"]["train"]:
        return []
    return certificates.repeated(digests(run.data.train))


def digests(split: Split, view: View = lambda inputs: inputs) -> np.ndarray:
    """(n, 32): a hash of each input, or of what a model sees of it, because these need not fit into memory; two inputs
    of one SHA-256 are not known to exist.
    """
    found = [
        sha256(row).digest()
        for batch in in_chunks(split, LOOKED_AT)
        for row in view(batch.inputs).contiguous().cpu().numpy()
    ]
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(split), -1)


@torch.inference_mode()
def matched_noise(run: Run, name: str, clean: float) -> float | None:
    """The test risk under the label noise of the training set: labels redrawn uniformly with that probability.

    An exact expectation over the noise: (1 - noise) * clean risk + noise * mean over the classes of the risk with that
    class as every target.
    """
    noise = run.data.facts["label_noise"]["asked"]
    if not noise:
        return None
    of_classes, chunk = [], chunk_of(run.task.spec, run.device)
    run.model.eval()
    for number, batch in enumerate(in_chunks(run.data.test, chunk)):
        noise_of_examples = FixedNoise(number * chunk, len(batch.inputs), run.device)
        prediction = run.task.predict(run.model, batch, noise_of_examples)
        for label in range(len(run.data.spec.classes)):
            relabelled = Batch(batch.inputs, torch.full_like(batch.targets, label))
            of_classes.append(run.task.metrics[name].rows(prediction, relabelled).double().cpu())
    return (1 - noise) * clean + noise * torch.cat(of_classes).mean().item()


def circumstances(run: Run, config: Config) -> Circumstances:
    return Circumstances(
        label_noise=run.data.facts["label_noise"]["asked"],
        duplicates=run.data.facts["duplicates"]["train_test"],
        selected_on="validation" if config["schedule"]["name"] == "plateau" else "",
        overlap=run.data.facts["duplicates"]["validation_test"],
        one_pass=run.steps <= run.batches.epoch_steps,
        regularizers=regularizers(config),
    )


def regularizers(config: Config) -> tuple[str, ...]:
    """What the run minimized beside the decomposed loss, in words."""
    found = []
    for group, setting in REGULARIZERS:
        value = config[group].get(setting)
        if value:
            found.append(f"{setting.replace('_', ' ')} {value:g}")
    if config["task"].get("beta", 1) != 1:
        found.append(f"beta {config['task']['beta']:g}")
    if config["augmentation"]["name"] != "none":
        found.append("augmentation")
    if config["optimizer"]["name"] == "sam":
        found.append("sharpness (SAM)")
    return tuple(found)

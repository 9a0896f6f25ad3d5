"""What follows training: risks of the final weights, the three terms of their test risk, and where both are kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcli import build
from dlcli.decomposition import certificates, record
from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import Decomposition, decompose
from dlcli.decomposition.diagnose import diagnose
from dlcli.evaluation import Evaluated, decomposed, evaluate_splits, keep_rows, refuse_nonfinite, risk_estimates
from dlcli.exhibit import exhibit
from dlcli.protocols import Batch, Bound, Task
from dlcli.report.summary import NOT_COMPARED, flatten, summarize
from dlcli.training import checkpoint
from dlcli.training.directory import RunDirectory
from dlcli.training.durable import replace
from dlcli.training.loop import spending
from dlcli.training.randomness import FixedNoise
from dlcli.training.references import Witness, witnesses
from dlcli.training.run import Run
from dlcli.training.tracker import Tracker

Config = dict[str, Any]
REGULARIZERS = (
    ("optimizer", "weight_decay"),
    ("model", "dropout"),
    ("task", "label_smoothing"),
    ("task", "free_bits"),
)
SHARE_OF_TRAINING = 0.5  # steps of continued training, as a share of the run's: its cost stays below that of the run


def conclude(
    run: Run, config: Config, directory: RunDirectory, tracker: Tracker, stopped: Callable[[], bool]
) -> dict[str, Any]:
    """Evaluate, decompose, keep. Returns the content of summary.json, which is written last.

    This is the first and only time that the test split is read.
    """
    with spending(run, "evaluation"):
        evaluated = evaluate_splits(run)
        refuse_nonfinite(evaluated)
        keep_rows(directory, evaluated)
    with spending(run, "decomposition"):
        ladder = climb(run, config, directory, stopped)
        parts = {} if run.task.undefined else decompose_metrics(run, config, evaluated, ladder)
        keep_witnesses(directory, ladder, parts)
    summary = summarize(
        run={
            "id": config_id(config, run),
            "name": config["name"],
            "seed": config["seed"],
            "tags": config["tags"],
            "path": str(directory.path),
            "step": run.state.step,
            "weights": {"kind": "last", "step": run.state.step, "sha256": ladder[0].sha256},
            "best": run.state.best and {"step": run.state.best[0], "validation_loss": run.state.best[1]},
        },
        data=run.data.facts,
        function_class={**build.class_key(config, run.task), "parameters": count_parameters(run)},
        keys=keys(run, config),
        risks=risk_estimates(run, evaluated, parts),
        decomposition={name: record.to_json(part) for name, part in parts.items()},
        diagnosis=diagnosis(run.task, parts),
        timing=run.state.seconds,
        warnings=data_warnings(run),
    )
    with spending(run, "tracking"):
        exhibit(run, config, tracker, evaluated.decisions, summary)
    summary["timing"] = dict(run.state.seconds)
    directory.write_summary(summary)
    return summary


def climb(run: Run, config: Config, directory: RunDirectory, stopped: Callable[[], bool]) -> list[Witness]:
    """The ladder of upper bounds; the run itself is its first rung."""
    quick = config["decompose"]["budget"] != "none" and not run.task.undefined
    steps = round(SHARE_OF_TRAINING * run.steps) if quick else 0
    rungs = witnesses(run, best_weights(run, directory) if quick else {}, build.reference_optimizer(), steps, stopped)
    return list(rungs if quick else itertools.islice(rungs, 1))


def best_weights(run: Run, directory: RunDirectory) -> dict[str, dict[str, Tensor]]:
    """The weights with the best validation risk, unless they are the final ones or no longer there."""
    if run.state.best is None or run.state.best[0] == run.state.step:
        return {}
    path = checkpoint.path_of(directory.checkpoints, run.state.best[0])
    if not path.is_dir():
        return {}
    return {"best on validation": checkpoint.load(path, checkpoint.expect(run.tensors())).tensors["model"]}


def decompose_metrics(
    run: Run, config: Config, evaluated: Evaluated, ladder: list[Witness]
) -> dict[str, Decomposition]:
    targets = run.data.train.batch(slice(None)).targets.cpu().numpy()
    groups = repeated_inputs(run)
    parts = {}
    for name, metric in decomposed(run.task).items():
        train, test = evaluated.rows["train"][name], evaluated.rows["test"][name]
        bounds = [certificates.nonnegativity(metric), certificates.label_conflicts(groups, targets, metric)]
        if name == "loss":
            free_head = run.task.head(run.model) is not None
            bounds += [
                certificates.score_scaling(train, metric.unit, free_head),
                *run.task.bounds(run.model, run.data.train),
            ]
        for rung in ladder[1:]:
            bounds.append(Bound("upper", rung.risks[name], "certified", rung.method, witness=rung.sha256))
        parts[name] = decompose(
            train,
            test,
            [bound for bound in bounds if bound is not None],
            loss=name,
            unit=metric.unit,
            circumstances=circumstances(run, config),
            bayes=bayes_risk(run, name),
            matched_noise=matched_noise(run, name, float(test.mean())),
        )
    return parts


def diagnosis(task: Task, parts: Mapping[str, Decomposition]) -> str:
    if task.undefined:
        return f"The decomposition is not defined: {task.undefined}."
    return diagnose(parts["loss"], parts.get("error"))


def bayes_risk(run: Run, name: str) -> float | None:
    """The least risk of any function, where the generator is known; sources state it for the default loss only."""
    usual = {"cross_entropy", "logistic"} if run.data.spec.classes else {"squared_error"}
    if name == "loss" and run.task.metrics[name].rows.__name__ not in usual:
        return None
    return run.data.facts["truth"].get(f"bayes_{name}")


def repeated_inputs(run: Run) -> list[np.ndarray]:
    """Groups of training examples with one input; the data set's facts tell whether there is anything to look for."""
    if not run.data.facts["duplicates"]["train"]:
        return []
    return certificates.repeated(run.data.train.batch(slice(None)).inputs.cpu().numpy())


@torch.inference_mode()
def matched_noise(run: Run, name: str, clean: float) -> float | None:
    """The test risk under the label noise of the training set: labels redrawn uniformly with that probability.

    An exact expectation over the noise: (1 - noise) * clean risk + noise * mean over the classes of the risk with that
    class as every target.
    """
    noise = run.data.facts["label_noise"]["asked"]
    if not noise:
        return None
    of_classes = []
    for start in range(0, len(run.data.test), 1000):
        batch = run.data.test.batch(slice(start, start + 1000))
        run.model.eval()
        noise_of_examples = FixedNoise(start, len(batch.inputs), run.device)
        prediction = run.task.predict(run.model, batch, noise_of_examples)
        for label in range(len(run.data.spec.classes)):
            relabelled = Batch(batch.inputs, torch.full_like(batch.targets, label))
            of_classes.append(run.task.metrics[name].rows(prediction, relabelled).double().cpu())
    return (1 - noise) * clean + noise * torch.cat(of_classes).mean().item()


def circumstances(run: Run, config: Config) -> Circumstances:
    return Circumstances(
        label_noise=run.data.facts["label_noise"]["asked"],
        duplicates=run.data.facts["duplicates"]["train_test"],
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


def keep_witnesses(directory: RunDirectory, ladder: list[Witness], parts: dict[str, Decomposition]) -> None:
    """The weights behind each upper end, by their hash; the run's own are in its checkpoints."""
    wanted = {part.upper.witness for part in parts.values()}
    for rung in ladder[1:]:
        if rung.sha256 in wanted:
            path = directory.path / "witnesses" / f"{rung.sha256[:16]}.safetensors"
            path.parent.mkdir(exist_ok=True)
            replace(path, rung.weights)


def data_warnings(run: Run) -> list[dict[str, str]]:
    return [{"code": "data", "text": note} for note in run.data.facts["notes"]]


def keys(run: Run, config: Config) -> dict[str, str]:
    """Equal keys mean an equal min_F L_tr: the class of functions, the training examples, the loss."""
    metric = next(iter(run.task.metrics.values()))  # "loss" where there is one
    return {
        "class": build.class_key(config, run.task)["id"],
        "data": run.data.facts["train_sha256"],
        "loss": f"{metric.rows.__name__} ({metric.unit})",
    }


def config_id(config: Config, run: Run) -> str:
    """A name for one configuration, whatever directory it runs in."""
    settings = [item for item in sorted(flatten(config).items()) if item[0] not in NOT_COMPARED]
    return f"{config['model']['name']}-{run.data.spec.name}-{sha256(repr(settings).encode()).hexdigest()[:8]}"


def count_parameters(run: Run) -> int:
    return sum(parameter.numel() for parameter in run.model.parameters())

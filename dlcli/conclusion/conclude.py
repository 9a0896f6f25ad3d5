"""What follows training: risks of the final weights, the three terms of their test risk, and where both are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from dlcli import build
from dlcli.conclusion.effort import worth_a_bootstrap
from dlcli.conclusion.evaluation import evaluate_splits, float64_difference, keep_rows, refuse_nonfinite, risk_estimates
from dlcli.conclusion.exact import targets_of
from dlcli.conclusion.exhibit import exhibit
from dlcli.conclusion.ladder import climb
from dlcli.conclusion.pool import Pool
from dlcli.conclusion.terms import decompose_metrics
from dlcli.decomposition import record
from dlcli.decomposition.decompose import Decomposition
from dlcli.decomposition.diagnose import diagnose
from dlcli.decomposition.drawn import judge_drawn
from dlcli.errors import StorageError
from dlcli.protocols import Task
from dlcli.report.page import write_page
from dlcli.report.summary import NOT_COMPARED, flatten, summarize
from dlcli.study import study
from dlcli.training.directory import RunDirectory, read_environment
from dlcli.training.durable import replace_all
from dlcli.training.loop import spending
from dlcli.training.references import Witness
from dlcli.training.run import Run
from dlcli.training.tracker import Tracker

Config = dict[str, Any]
HOPELESS = 100  # times the loss of the best constant prediction
ROOM = 64 * 2**20  # bytes of witnesses that end no interval
PRECISE = 1e-5  # difference of a risk to that in float64, relative to 1 + |L|, that needs no word


def conclude(
    run: Run,
    config: Config,
    directory: RunDirectory,
    tracker: Tracker,
    stopped: Callable[[], bool],
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Evaluate, decompose, keep. Returns the content of summary.json, which is written last, but for the page.

    This is the first and only time that the test split is read. say: told what takes long.
    """
    with spending(run, "evaluation"):
        evaluated = evaluate_splits(run, stopped)
        refuse_nonfinite(evaluated)
        keep_rows(directory, evaluated)
        difference = float64_difference(run)
    bootstrap = worth_a_bootstrap(run, config["decompose"]["budget"])
    with spending(run, "decomposition"):
        pool = Pool(run, config, keys(run, config))
        ladder = climb(run, config, directory, pool, evaluated.rows["train"], stopped, say)
        parts = {} if run.task.undefined else decompose_metrics(run, config, evaluated, ladder, pool, bootstrap)
        keep_witnesses(directory, ladder.rungs, parts)
    risks = risk_estimates(run, evaluated, parts, bootstrap)
    summary = summarize(
        run={
            "id": config_id(config, run),
            "name": config["name"],
            "seed": config["seed"],
            "tags": config["tags"],
            "path": str(directory.path),
            "step": run.state.step,
            "weights": {
                "kind": "average" if run.averages else "last",
                "step": run.state.step,
                "sha256": ladder.rungs[0].sha256,
            },
            "float64_difference": difference,
            "steps": read_environment(directory.path).get("step"),
            "best": run.state.best and {"step": run.state.best[0], "validation_loss": run.state.best[1]},
        },
        data=run.data.facts,
        function_class={
            **build.class_key(config, run.task),
            "parameters": count_parameters(run),
            "subclasses": pool.subclasses,
        },
        keys=keys(run, config),
        risks=risks,
        decomposition={name: record.to_json(part) for name, part in parts.items()},
        diagnosis=diagnosis(run.task, parts, risks),
        timing=run.state.seconds,
        warnings=[*warnings(run, pool), *divergence(run, risks), *imprecision(difference, risks)],
    )
    concluded = {
        "path": str(directory.path), "status": "done", "reason": "", "config": flatten(config), "summary": summary
    }  # fmt: skip
    with spending(run, "tracking"):
        drawn = exhibit(run, config, tracker, evaluated.decisions, concluded)
    summary["timing"] = dict(run.state.seconds)
    directory.write_summary(summary)
    if parts:
        pool.enter(summary, directory)
    with suppress(StorageError):  # the page says nothing that is not on the disk already
        write_page(directory.path, study([concluded]), [concluded], drawn)
    return summary


def diagnosis(task: Task, parts: Mapping[str, Decomposition], risks: Mapping[str, Mapping[str, Any]]) -> str:
    if task.undefined:
        drawn, real = (
            {name: risk["value"] for name, risk in risks.get(split, {}).items()} for split in ("test", "real")
        )
        return f"The decomposition is not defined: {task.undefined}. {judge_drawn(drawn, real)}".rstrip()
    return diagnose(parts["loss"], parts.get("error"))


def keep_witnesses(directory: RunDirectory, ladder: list[Witness], parts: dict[str, Decomposition]) -> None:
    """The weights of each rung, by their hash; the run's own are in its checkpoints. Those behind an upper end are kept
    whatever their size, the others as long as there is room for them.
    """
    ends, room, kept = {part.upper.witness for part in parts.values()}, ROOM, {}
    for rung in ladder[1:]:
        if rung.sha256 not in ends:
            room -= len(rung.weights)
            if room < 0:
                continue
        path = directory.path / "witnesses" / f"{rung.sha256[:16]}.safetensors"
        path.parent.mkdir(exist_ok=True)
        kept[path] = rung.weights
    replace_all(kept)


def warnings(run: Run, pool: Pool) -> list[dict[str, str]]:
    facts = run.data.facts
    found = [{"code": "data", "text": text} for text in (*facts["notes"], *facts["warnings"])]
    state = run.state
    if state.skipped:
        found.append(
            {"code": "skipped", "text": f"{state.skipped} turns were skipped: their gradients were not finite"}
        )
    if state.rollbacks:
        text = (
            f"training diverged {state.rollbacks} times and went on from an older checkpoint with {state.lr_scale:g} lr"
        )
        found.append({"code": "rollbacks", "text": text})
    return found + ([{"code": "ledger", "text": f"no other runs were asked: {pool.fault}"}] if pool.fault else [])


def divergence(run: Run, risks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Whether the weights are far worse than none at all, though every number on the way was finite."""
    loss = run.task.metrics.get("loss")
    constant = loss and loss.constant_risk(targets_of(run))
    if not constant or risks["train"]["loss"]["value"] <= HOPELESS * constant:
        return []
    text = (
        f"training diverged: the train loss is {risks['train']['loss']['value'] / constant:.0f} times that of the best "
        "constant prediction; try a lower optimizer.lr or training.clip_norm=1"
    )
    return [{"code": "diverged", "text": text}]


def imprecision(difference: float | None, risks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Whether the risks depend on the number format they were computed in."""
    if difference is None or difference <= PRECISE * (1 + abs(risks["train"]["loss"]["value"])):
        return []
    text = f"the train loss moves by {difference:.1e} if it is computed in float64: smaller differences mean nothing"
    return [{"code": "imprecise", "text": text}]


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

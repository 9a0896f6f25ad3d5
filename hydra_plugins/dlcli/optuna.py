"""`hydra/sweeper=optuna`: a search over settings by the validation risk, with optuna's ask and tell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.dlcli.parallel import returned


class OptunaSweeper(Sweeper):
    """Trial n lies in the folder trial-n. One that was stopped goes on with its settings when the sweep is resumed."""

    def __init__(self, trials: int, at_once: int, seed: int, pruner: str, startup: int):
        self.trials, self.at_once, self.seed, self.pruner = trials, at_once, seed, (pruner, startup)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.root = hydra_context.config_loader, Path(task_function.root)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from optuna.trial import TrialState

        from dlcli.config.search import space

        axes, fixed = space(arguments)
        study, ended = self.study(), []
        drawn = {axis.key: distribution(axis) for axis in axes}
        for trial in study.trials:
            if trial.state.is_finished():
                ended.append(returned(self.texts(trial, fixed), earlier(self.root / folder(trial))))
        waiting = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
        try:
            while waiting or len(study.trials) < self.trials:
                fresh = range(min(self.at_once, self.trials - len(study.trials)))
                batch = [waiting.pop(0)] if waiting else [study.ask(drawn) for _ in fresh]
                texts = [self.texts(trial, fixed) for trial in batch]
                for trial, words in zip(batch, texts, strict=True):
                    self.loader.job_folders[tuple(words)] = folder(trial)
                jobs = self.launcher.launch(texts, initial_job_idx=batch[0].number)
                for trial, job in zip(batch, jobs, strict=True):
                    state, outcome = None, job.return_value.state
                    risk = validation_risk(self.root / folder(trial)) if outcome == "done" else None
                    if risk is None:
                        state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
                    study.tell(trial.number, risk, state)
                ended += jobs
        finally:
            record(study, axes, self.root)
        tell_best(study)
        return [ended]

    def study(self) -> Any:
        import optuna

        from dlcli.sweeps.pruning import PRUNER, STUDY, storage

        study = optuna.create_study(storage=storage(self.root), study_name=STUDY, load_if_exists=True)
        study.set_user_attr(PRUNER, self.pruner)  # the jobs read it
        # Of another seed than at the start of the sweep, or a resumed search would draw its first trials again.
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        return study

    def texts(self, trial: Any, fixed: Sequence[str]) -> list[str]:
        return [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]


def distribution(axis: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.whole:
        return IntDistribution(axis.low, axis.high, log=axis.log, step=1 if axis.log else axis.step)
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def folder(trial: Any) -> str:
    from dlcli.sweeps.pruning import TRIAL

    return f"{TRIAL}{trial.number:04d}"


def validation_risk(run_dir: Path) -> float | None:
    """What is searched for the least of; None where there is no validation split."""
    from dlcli.report.summary import read_summary

    risks = read_summary(run_dir)["risks"].get("validation", {})
    return risks["loss"]["value"] if "loss" in risks else None


def earlier(run_dir: Path) -> Any:
    """The outcome of a trial that had ended before the sweep was resumed."""
    from dlcli.report.summary import read_object
    from dlcli.sweeps import Outcome, is_complete

    if is_complete(run_dir):
        return Outcome(run_dir.name, "done", 0.0)
    status = read_object(run_dir / "status.json") or {}
    state = "pruned" if status.get("state") == "pruned" else "failed"
    return Outcome(run_dir.name, state, 0.0, status.get("reason", ""))


def record(study: Any, axes: Sequence[Any], root: Path) -> None:
    """Leave search.json, from which the page draws the search."""
    from dlcli.training import strict_json
    from dlcli.training.durable import replace

    trials = [
        {
            "run": folder(trial),
            "state": trial.state.name.lower(),
            "loss": trial.value,
            "settings": trial.params,
        }
        for trial in study.trials
    ]
    kinds = {axis.key: "word" if axis.choices else "log" if axis.log else "number" for axis in axes}
    found = {"settings": kinds, "trials": trials, "importance": importance(study)}
    replace(root / "search.json", strict_json.dump_lines(found))


def importance(study: Any) -> dict[str, float]:
    """Share of the variance of the validation loss that each setting explains; empty where too few trials tell it.

    Source: Hutter et al. 2014, functional ANOVA.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in complete(study)}
    if len(values) < 4:
        return {}
    return {
        key: float(share)
        for key, share in get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)).items()
    }


def complete(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def tell_best(study: Any) -> None:
    done = complete(study)
    if done:
        best = min(done, key=lambda trial: trial.value)
        shown = " ".join(f"{key}={value}" for key, value in best.params.items())
        print(
            f"\nbest   {folder(best)} of {len(study.trials)} trials: validation loss {best.value:.4g} with {shown}",
            flush=True,
        )

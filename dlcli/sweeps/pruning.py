"""Whether a search goes on with a run: at each evaluation the pruner of its study is told the validation risk.

The study lies in a file of the sweep's folder, which every process that works on the sweep sees.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dlcli.errors import Pruned
from dlcli.training.progress import ProgressDisplay

JOURNAL, STUDY, PRUNER = "optuna.journal", "dlcli", "pruner"  # the file, the study in it, what it says of its pruner
TRIAL = "trial-"  # and a number: the name of a folder


def quiet_display(folder: Path) -> ProgressDisplay:
    """What the job of a sweep tells its progress to: the sweep prints one line per job."""
    return Judged(folder) if (folder.parent / JOURNAL).is_file() else ProgressDisplay(lines=False)


class Judged(ProgressDisplay):
    """Raises Pruned where the run does worse than others did after as many epochs."""

    def __init__(self, folder: Path):
        super().__init__(lines=False)
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder,)

    def evaluated(self, step: int, epoch: float, values: dict[str, float]) -> None:
        super().evaluated(step, epoch, values)
        risk = values.get("risk/validation/loss", math.nan)
        if step < self._total and math.isfinite(risk) and prunes(self._folder, round(epoch), risk):
            raise Pruned(f"validation loss {risk:.4g} at epoch {epoch:g}: worse than other trials had there", "")


def prunes(folder: Path, epoch: int, risk: float) -> bool:
    import optuna

    kept = storage(folder.parent)
    study = optuna.load_study(study_name=STUDY, storage=kept, sampler=optuna.samplers.RandomSampler())
    study.pruner = pruner(*study.user_attrs[PRUNER])
    number = int(folder.name.removeprefix(TRIAL))
    found = kept.get_trial_id_from_study_id_trial_number(kept.get_study_id_from_name(STUDY), number)
    trial = optuna.trial.Trial(study, found)
    if epoch not in study.trials[number].intermediate_values:  # a resumed run may tell it again
        trial.report(risk, epoch)
    return trial.should_prune()


def storage(root: Path) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(root / JOURNAL)))


def pruner(name: str, startup: int) -> Any:
    """startup: trials that run to their end first."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=startup)
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.NopPruner()

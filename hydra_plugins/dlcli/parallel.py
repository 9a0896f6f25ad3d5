"""What the launchers of other processes share: a job becomes plain data, and a place carries it out."""

import importlib
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from dlcli import config as configs


class ParallelLauncher(Launcher):
    """Launchers say by `place(jobs)` where jobs run (see dlcli/sweeps/dispatch.py); how they fare is the same there."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.sweep, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        setup_globals()
        jobs = [self.job(number, list(texts)) for number, texts in enumerate(job_overrides, initial_job_idx)]
        outcomes = self.carry_out(jobs, max(self.sweep.total, jobs[-1].number))
        return [returned(list(texts), outcome) for texts, outcome in zip(job_overrides, outcomes, strict=True)]

    def carry_out(self, jobs: Sequence[Any], total: int) -> Sequence[Any]:
        from dlcli.sweeps.dispatch import dispatch

        place = self.place(jobs)
        # To import torch elsewhere takes longer; the last brings the quantiles for few runs.
        for needed_at_the_end in ("dlcli.study", "dlcli.report.charts", "scipy.special"):
            importlib.import_module(needed_at_the_end)
        return dispatch(jobs, place, self.sweep.root, total)

    def job(self, number: int, overrides: list[str]) -> Any:
        loader, known = self.hydra_context.config_loader, tuple(overrides)
        if known in loader.checked:
            return self.sweep.job(number + 1, loader.job_folders[known], loader.checked[known])
        config = loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        return self.sweep.job(number + 1, config.hydra.sweep.subdir, configs.plain_checked(own))


def returned(overrides: list[str], outcome: Any) -> JobReturn:
    ended = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)  # a failure is an outcome
    ended.return_value = outcome
    return ended

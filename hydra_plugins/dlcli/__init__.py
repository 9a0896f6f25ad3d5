"""The launcher that runs the jobs of a sweep one after the other in this process; Hydra finds it by this folder."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class SerialLauncher(Launcher):
    """Differs from Hydra's own: no lines and files beside dlcli's. What a job raises ends the sweep."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        setup_globals()
        return [self.job(number, list(overrides)) for number, overrides in enumerate(job_overrides, initial_job_idx)]

    def job(self, number: int, overrides: list[str]) -> JobReturn:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        ended = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if ended.status is JobStatus.FAILED:  # a signal, or a bug of ours: whatever a job itself can do is an outcome
            raise ended._return_value  # without the underscore, Hydra tells of it on stderr first
        return ended

"""`hydra/launcher=slurm`: each job of a sweep is a job of Slurm, through submitit."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_plugins.dlcli.parallel import ParallelLauncher


class SlurmLauncher(ParallelLauncher):
    def __init__(self, slots: int, engine: str, parameters: DictConfig):
        self.slots, self.engine, self.parameters = slots, engine, parameters

    def place(self, jobs: Sequence[Any]) -> Any:
        from dlcli.sweeps.clusters import Slurm

        asked = {name: value for name, value in OmegaConf.to_container(self.parameters).items() if value is not None}
        return Slurm(self.sweep.root, self.slots, self.engine, asked)

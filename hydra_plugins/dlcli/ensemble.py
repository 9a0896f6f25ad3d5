"""`hydra/launcher=ensemble`: jobs that differ in numbers only are trained as one program, some on each core."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.dlcli.parallel import ParallelLauncher
from hydra_plugins.dlcli.process import shares_of


class EnsembleLauncher(ParallelLauncher):
    def __init__(self, slots: int | str):
        self.slots = slots

    def place(self, jobs: Sequence[Any]) -> Any:
        from dlcli.sweeps.stacks import Stacks
        from dlcli.training.cores import allowed_cores

        gpus = shares_of(jobs)
        return Stacks(jobs, (len(gpus) or allowed_cores()) if self.slots == "auto" else self.slots, gpus)

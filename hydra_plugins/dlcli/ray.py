"""`hydra/launcher=ray`: each job of a sweep is a task of Ray."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.dlcli.parallel import ParallelLauncher


class RayLauncher(ParallelLauncher):
    def __init__(self, slots: int, address: str | None, cpus: float, gpus: float):
        self.slots, self.address, self.cpus, self.gpus = slots, address, cpus, gpus

    def place(self, jobs: Sequence[Any]) -> Any:
        from dlcli.sweeps.clusters import Ray

        return Ray(self.slots, self.address, self.cpus, self.gpus)

"""`hydra/launcher=ray`: each job of a sweep is a task of Ray."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.dlcli.parallel import ParallelLauncher


class RayLauncher(ParallelLauncher):
    def __init__(self, slots: int, address: str | None, cpus: float, gpus: float):
        self.slots, self.address, self.cpus, self.gpus = slots, address, cpus, gpus

    def place(self, jobs: Sequence[Any]) -> Any:
        from dlcli.sweeps.clusters import Ray

        self.cluster = Ray(self.slots, self.address, self.cpus, self.gpus)
        return self.cluster

    def carry_out(self, jobs: Sequence[Any], total: int) -> Sequence[Any]:
        outcomes = super().carry_out(jobs, total)
        if jobs[-1].number == total:
            self.cluster.leave()
        return outcomes

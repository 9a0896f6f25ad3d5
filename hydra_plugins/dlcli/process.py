"""`hydra/launcher=process`: each job of a sweep in a process of its own on this machine, several at once."""

from collections.abc import Sequence
from typing import Any

from dlcli.training.cores import visible_gpus
from hydra_plugins.dlcli.parallel import ParallelLauncher


class ProcessLauncher(ParallelLauncher):
    def __init__(self, slots: int | str, per_gpu: int):
        self.slots, self.per_gpu = slots, per_gpu

    def place(self, jobs: Sequence[Any]) -> Any:
        from dlcli.sweeps.processes import Processes
        from dlcli.training.cores import allowed_cores

        shares = shares_of(jobs) * self.per_gpu
        slots = (len(shares) or max(1, allowed_cores() // devices_of(jobs))) if self.slots == "auto" else self.slots
        return Processes(slots, shares)


def devices_of(jobs: Sequence[Any]) -> int:
    """That a job is for."""
    return max(job.config["training"]["devices"] for job in jobs)


def shares_of(jobs: Sequence[Any]) -> list[str]:
    """Of this machine's GPUs, one for each job that may have its own; none where the jobs run on CPUs."""
    asked = any(job.config["training"]["device"] in ("auto", "cuda") for job in jobs)
    return shared_out(visible_gpus() if asked else [], devices_of(jobs))


def shared_out(gpus: Sequence[str], devices: int) -> list[str]:
    """Values of CUDA_VISIBLE_DEVICES, one for each job that runs at once and is itself for so many devices."""
    if len(gpus) < devices:
        return [",".join(gpus)] if gpus else []  # the run then says that it lacks some
    return [",".join(gpus[start : start + devices]) for start in range(0, len(gpus) - devices + 1, devices)]

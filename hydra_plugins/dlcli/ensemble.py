"""`hydra/launcher=ensemble`: jobs that differ in numbers only are trained as one program, in this process."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.dlcli.parallel import ParallelLauncher


class EnsembleLauncher(ParallelLauncher):
    def carry_out(self, jobs: Sequence[Any], total: int) -> Sequence[Any]:
        from dlcli.sweeps.ensemble import carry_out

        return carry_out(jobs, self.sweep.root, total)

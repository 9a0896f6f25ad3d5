"""What Hydra's launchers are given to call for each job of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig

from dlcli import config as configs
from dlcli import sweeps
from dlcli.errors import Interrupted


class SweepTask(NamedTuple):
    """Plain data, so that a launcher can carry it to another process."""

    root: Path
    total: int  # jobs
    argv: tuple[str, ...]
    plugins: tuple[str, ...]

    def __call__(self, config: Any) -> sweeps.Outcome:
        """Carry the job out here. Launchers of dlcli that run several at once take `job` and `dispatch` instead."""
        node = HydraConfig.get()
        job = self.job(node.job.num + 1, node.sweep.subdir, configs.plain_checked(config))
        try:
            outcome = sweeps.run_job(job)
        except Interrupted as fault:
            raise sweeps.interrupted(self.root, self.total - job.number + 1, fault) from None
        print(sweeps.line(job.number, self.total, outcome, Path(job.folder)), flush=True)
        return outcome

    def job(self, number: int, folder: str, config: dict[str, Any]) -> sweeps.Job:
        """number: from 1; folder: its name; config: checked."""
        if config["pictures"] == "auto":  # they take seconds, and the page of the sweep has those of all runs
            config = config | {"pictures": "never"}
        return sweeps.Job(number, str(self.root / folder), config, self.argv, self.plugins)

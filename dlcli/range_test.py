"""The learning-rate range test: the rate grows with every step, and the loss tells where it helps and where it harms.

Source: Smith 2017, arXiv:1506.01186, section 3.3; with a geometric growth, as is usual since.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dlcli.build import build
from dlcli.errors import Diverged, UsageError
from dlcli.protocols import Progress
from dlcli.training import device
from dlcli.training.faults import machine_faults
from dlcli.training.step import take_step

MEMORY = 0.95  # of the running mean of the loss, per step
SETTLED = 20  # steps that this is a mean of
DIVERGED = 4.0  # times the least mean loss so far, where that is above zero


class Range(NamedTuple):
    rates: np.ndarray  # (steps,) learning rate of each step
    losses: np.ndarray  # (steps,) of the batch of the next step, on which the step has not moved yet
    means: np.ndarray  # (steps,) running mean of the losses, without the bias of its start
    diverged: bool  # the test ended before the greatest rate

    @property
    def steepest(self) -> float:
        """The rate around which the mean loss falls fastest, per factor of the rate: a good rate for a whole run.

        Looked for where the mean has forgotten its start, and up to its least value; slopes are taken over a tenth of
        the range, because those between neighbours are noise.
        """
        last = int(self.means.argmin())
        reach = max(1, len(self.means) // 20)
        centres = np.arange(min(SETTLED, last // 2) + reach, last - reach + 1)
        if not len(centres):
            return float(self.rates[last // 2])
        logs = np.log(self.rates)
        falls = self.means[centres + reach] - self.means[centres - reach]
        return float(self.rates[centres[(falls / (logs[centres + reach] - logs[centres - reach])).argmin()]])

    @property
    def least(self) -> float:
        """The rate at which the mean loss is least: beyond it the steps begin to undo one another."""
        return float(self.rates[self.means.argmin()])


def range_test(config: dict[str, Any], low: float, high: float, steps: int) -> Range:
    """Train with a rate that grows from `low` to `high`, writing nothing. UsageError for a game of several losses."""
    with machine_faults():
        device.threads(config["training"]["threads"])
        run = build(config)
        if len(run.task.phases) > 1:
            raise UsageError(
                f"model={config['model']['name']} trains several losses against one another: no one of them must fall",
                "sweep over the rate instead: dlcli train -m optimizer.lr=0.0001,0.001",
            )
        (learner,) = run.learners

        def rate(progress: Progress) -> float:
            return low * (high / low) ** (progress.step / (steps - 1))

        scale = learner.phase.lr * learner.optimizer.lr
        run.learners = (learner._replace(schedule=lambda progress: rate(progress) / scale),)
        run.model.train()
        rates, losses, means, mean, diverged = [], [], [], 0.0, False
        for step in range(steps + 1):
            run.state.step = step
            try:
                loss = float(take_step(run)[f"{learner.phase.name}/running_loss"])
            except Diverged:
                diverged = True
                break
            if not math.isfinite(loss):
                diverged = True
                break
            if step > 0:
                mean = MEMORY * mean + (1 - MEMORY) * loss
                rates.append(rate(run.progress()._replace(step=step - 1)))
                losses.append(loss)
                means.append(mean / (1 - MEMORY**step))
                diverged = means[-1] > DIVERGED * min(means) > 0
                if diverged:
                    break
    if not rates:
        raise Diverged(f"the loss is not finite after a first step of {low:g}", "start lower, with --low")
    return Range(np.array(rates), np.array(losses), np.array(means), diverged)

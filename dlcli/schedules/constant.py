"""Schedules that stay at the base learning rate, at once or after a rise."""

from __future__ import annotations

from dlcli.protocols import Progress, Schedule
from dlcli.registry import register
from dlcli.schedules.ramp import rise, warmup_steps
from dlcli.schema import Probability


@register("schedule", "constant")
def constant() -> Schedule:
    """The same learning rate throughout."""

    def factor(progress: Progress) -> float:
        return 1.0

    return factor


@register("schedule", "warmup")
def warmup(*, warmup: Probability) -> Schedule:
    """A linear rise over the first share of the run, constant after it."""

    def factor(progress: Progress) -> float:
        return rise(progress.step, warmup_steps(progress, warmup))

    return factor

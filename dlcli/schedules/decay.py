"""Schedules that fall from the base learning rate over the run: in steps, linearly, as half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable

from dlcli.protocols import Progress, Schedule
from dlcli.registry import register
from dlcli.schedules.ramp import rise, warmup_steps
from dlcli.schema import Count, Probability, Share


@register("schedule", "step")
def step(*, every: Count, factor: Share) -> Schedule:
    """The learning rate is multiplied by a factor every few epochs."""

    def current(progress: Progress) -> float:
        return factor ** (progress.step // (every * progress.epoch_steps))

    return current


@register("schedule", "linear")
def linear(*, warmup: Probability, final: Probability) -> Schedule:
    """A linear fall to the final share of the learning rate, after a linear rise if one is wanted."""
    return _falling(lambda share: 1.0 - share, warmup, final)


@register("schedule", "cosine")
def cosine(*, warmup: Probability, final: Probability) -> Schedule:
    """Half a cosine down to the final share of the learning rate (Loshchilov and Hutter 2016, without restarts)."""
    return _falling(lambda share: 0.5 * (1.0 + math.cos(math.pi * share)), warmup, final)


def _falling(shape: Callable[[float], float], warmup: float, final: float) -> Schedule:
    """`shape` goes from 1 to 0 as the share of the fall that is done goes from 0 to 1."""

    def factor(progress: Progress) -> float:
        start = warmup_steps(progress, warmup)
        if progress.step < start:
            return rise(progress.step, start)
        share = (progress.step - start) / max(1, progress.steps - start)
        return final + (1.0 - final) * shape(min(1.0, share))

    return factor

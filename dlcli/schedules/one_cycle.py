"""One rise and one fall over the whole run."""

from __future__ import annotations

import math
from typing import Literal

from dlcli.protocols import Progress, Schedule
from dlcli.registry import register
from dlcli.schema import NonNegative, Probability, Share


@register("schedule", "one_cycle")
def one_cycle(
    *, rise: Probability, initial: Share, final: NonNegative, anneal: Literal["cosine", "linear"]
) -> Schedule:
    """One rise to the learning rate and one fall far below it (Smith and Topin 2017).

    Differs: momentum is not cycled against the learning rate, and the fall is one piece (as fastai's) where the paper
    ends with a short phase of its own.
    """

    def factor(progress: Progress) -> float:
        peak = max(0.0, rise * progress.steps - 1)
        end = max(peak + 1, progress.steps - 1)
        if progress.step <= peak and peak > 0:
            return _between(initial, 1.0, progress.step / peak, anneal)
        return _between(1.0, final, min(1.0, (progress.step - peak) / (end - peak)), anneal)

    return factor


def _between(start: float, end: float, share: float, anneal: str) -> float:
    weight = share if anneal == "linear" else 0.5 * (1.0 - math.cos(math.pi * share))
    return start + (end - start) * weight

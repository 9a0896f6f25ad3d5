"""A schedule that listens to the validation risk, yet has no state: it replays the history it is given."""

from __future__ import annotations

import math

from dlcli.protocols import Progress, Schedule
from dlcli.registry import register
from dlcli.schema import Natural, Probability, Share


@register("schedule", "plateau")
def plateau(*, factor: Share, patience: Natural, threshold: Probability, final: Probability) -> Schedule:
    """The learning rate is multiplied by a factor whenever the validation risk has stopped improving.

    An improvement is a fall by more than `threshold` times the size of the best risk so far, also where risks are
    negative. A risk that is not a number is no improvement.
    """

    def current(progress: Progress) -> float:
        scale, best, waited = 1.0, math.inf, 0
        for _, risk in progress.validation:
            needed = best - threshold * abs(best) if math.isfinite(best) else best
            best, waited = (risk, 0) if risk < needed else (best, waited + 1)
            if waited > patience:
                scale, waited = max(final, scale * factor), 0
        return scale

    return current

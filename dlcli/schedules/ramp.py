"""The linear rise that several schedules begin with."""

from __future__ import annotations

from dlcli.protocols import Progress


def warmup_steps(progress: Progress, share: float) -> int:
    return round(share * progress.steps)


def rise(step: int, length: int) -> float:
    """The factor of update `step` of a rise over `length` updates; the one after them has the full rate.

    The first update already moves: 1 / (length + 1), not 0.
    """
    return min(1.0, (step + 1) / (length + 1))

"""What looking for members costs, counted and never timed, so that a run on a busy machine finds the same ones.

The unit of work is one example passed forward and backward by a model of one parameter, about a fifth of a nanosecond;
a step and an evaluation also cost what they take beside the numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from dlcli.decomposition.intervals import GREATEST_BOOTSTRAP, RESAMPLES
from dlcli.training.run import Run

OVERHEAD = 2e6  # of a step or an evaluation, in units of work: half a millisecond
POLISHING = 1e7  # likewise of a value and gradient over the whole training set
REFIT, FLOAT64, FORWARD = 7, 2, 1 / 3  # work of a number in a refit, in float64, and going forward only
LEAST = 5e9  # work of a training, where it was shorter: about a second
MOST_EVALUATIONS = 2000  # of one polish
INTERVALS_SHARE = 0.2  # of the training, that quick may spend on intervals
LIBRARY, DRAW, INTERVALS = 5e9, 65, 3  # work of importing the bootstrap, of a number that it draws; how many it makes


class Work(NamedTuple):
    """What things cost for one run."""

    training: float
    step: float
    evaluation: float
    gradient: float  # of the whole training set, float64
    refit: float
    bootstrap: float  # of the intervals of the test risks

    @property
    def effort(self) -> float:
        """What the budgets above quick are multiples of."""
        return max(self.training, LEAST)


def work(run: Run) -> Work:
    parameters = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
    n, m, head = len(run.data.train), min(len(run.data.test), GREATEST_BOOTSTRAP), run.task.head(run.model)
    step = OVERHEAD + parameters * run.batches.batch_size
    last = 0 if head is None else head.in_features * head.out_features
    return Work(
        training=run.steps * step,
        step=step,
        evaluation=OVERHEAD + FORWARD * parameters * n,
        gradient=POLISHING + FLOAT64 * parameters * n,
        refit=OVERHEAD + REFIT * last * n,
        bootstrap=LIBRARY + INTERVALS * DRAW * m * (RESAMPLES + m),
    )


def evaluations_for(share: float, price: Work) -> int:
    """Of value and gradient over the whole training set, for so many times the work of the training."""
    return min(MOST_EVALUATIONS, int(share * price.effort / price.gradient))


def worth_a_bootstrap(run: Run, budget: str) -> bool:
    """Whether intervals may take the time of one: quick stays below the training, all in all."""
    price = work(run)
    return budget in ("standard", "exhaustive") or price.bootstrap <= INTERVALS_SHARE * price.training

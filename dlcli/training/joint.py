"""One update for several runs of a stack. The only part of a stack that knows what a rule remembers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from dlcli.training.parameters import Block, StackedParameters
from dlcli.training.program import refuse
from dlcli.training.run import Run


def joints(runs: Sequence[Run], parameters: StackedParameters) -> list[Joint]:
    """Neighbours of one rule, wherever there are some. parameters: those of the runs, in their order."""
    found, start = [], 0
    for alike, some in groupby(runs, key=lambda run: run.learners[0].alike):
        rows = range(start, start + len(list(some)))
        if alike and len(rows) > 1:
            found.append(Joint(rows, runs[rows.start : rows.stop], parameters.block(rows)))
        start = rows.stop
    return found


class Joint:
    """Neighbouring rows of a stack that one rule moves. Its memory of the weights lies in rows as they do; of the rest,
    a count of the steps, every run keeps its own.
    """

    def __init__(self, rows: range, runs: Sequence[Run], parameters: Block):
        """rows: of a stack, in which these runs lie."""
        self.rows = rows
        self._runs, self._learners = runs, [run.learners[0] for run in runs]
        self._parameters = parameters
        self._memory, self._counts = {}, []
        self._equal = self._in_step()
        for name, first in self._learners[0].memory.items():
            kept = torch.stack([learner.memory[name] for learner in self._learners])
            for learner, row in zip(self._learners, kept, strict=True):
                learner.memory[name] = row
            each = first.shape == self._learners[0].parameters.weights.shape
            self._memory[name] = kept if each else kept[0]
            if not each:
                self._counts.append(kept)
                self._equal &= bool((kept == kept[0]).all())

    def update(self) -> bool:
        """Move all rows at once, unless they stand at different steps or learning rates; whether that was done."""
        rates = {run.lr(learner) for run, learner in zip(self._runs, self._learners, strict=True)}
        if not self._equal or len(rates) > 1 or not self._in_step():
            return False
        self._learners[0].optimizer.update(self._parameters, self._memory, rates.pop(), refuse)
        for counts in self._counts:
            counts[1:] = counts[0]
        return True

    def _in_step(self) -> bool:
        """Equal numbers of updates have equal counts, whatever a rule counts."""
        return len({(run.state.step, run.state.skipped, run.state.rollbacks) for run in self._runs}) == 1

"""A function of the weights of a module, brought down by a rule that looks at it as often as it likes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from torch import Tensor, nn

from dlcli.protocols import Optimizer
from dlcli.training.evaluate import never
from dlcli.training.parameters import FlatParameters


class Reached(NamedTuple):
    before: float
    after: float
    evaluations: int


class _Spent(Exception):
    """There are no evaluations left."""


def descend(
    module: nn.Module,
    objective: Callable[[list[Tensor]], tuple[Tensor, Sequence[Tensor]]],
    rule: Optimizer,
    evaluations: int,
    stopped: Callable[[], bool] = never,
) -> Reached:
    """One long step of `rule`, in the precision of `module`, which is left at the best point that was looked at.

    objective: its value and its gradients, given the parameters of `module`. It is asked for `evaluations` times at
    most (1 or more), and no more once `stopped` is true.
    """
    parameters, values = FlatParameters(module), []
    best = math.inf, parameters.weights.clone()

    def again() -> Tensor:
        nonlocal best
        if len(values) == evaluations or (values and stopped()):
            raise _Spent
        value, gradients = objective(parameters.leaves)
        parameters.take(gradients)
        values.append(value.item())
        if values[-1] < best[0]:
            best = values[-1], parameters.weights.clone()
        return value

    with suppress(_Spent):
        rule.update(parameters, rule.init(parameters), rule.lr, again)
    parameters.weights.copy_(best[1])
    return Reached(values[0], best[0], len(values))

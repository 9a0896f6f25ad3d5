"""L-BFGS: Newton's direction from the last few changes of weights and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dlcli.optimizers.decay import WeightDecay
from dlcli.optimizers.line_search import Point, strong_wolfe
from dlcli.protocols import Parameters
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Positive


@register("optimizer", "lbfgs", gradient="exact")
class Lbfgs:
    """L-BFGS on the full training set, with a strong Wolfe line search (Liu and Nocedal 1989).

    One step takes `iterations` iterations, each with one or more evaluations of the full batch; it ends early where no
    component of the gradient exceeds `tolerance` or rounding leaves nothing to gain. `lr` is the first length that the
    search tries, 1 being Newton's. A single run only, and it waits for the device at every evaluation.
    """

    full_batch = True

    def __init__(
        self,
        *,
        lr: Positive,
        iterations: Count,
        history: Count,
        tolerance: NonNegative,
        weight_decay: NonNegative,
        decay: Literal["all", "matrices"],
    ) -> None:
        self.lr = lr
        self.iterations = iterations
        self.history = history
        self.tolerance = tolerance
        self.decay = WeightDecay(weight_decay, decay)

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        assert parameters.weights.dim() == 1, "a line search cannot serve a stack of runs"
        shape = self.history, *parameters.weights.shape
        return {
            "steps": parameters.weights.new_zeros(shape),  # rings: the pair number i lies in row i % history
            "changes": parameters.weights.new_zeros(shape),
            "pairs": torch.zeros((), dtype=torch.int64),  # on the host, where it is read
            "oldest": torch.zeros((), dtype=torch.int64),  # pairs before this one are forgotten
        }

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: float, again: Callable[[], Tensor]) -> None:
        weights = parameters.weights
        here = Point(0.0, self._objective(parameters, again()), 0.0, self.decay.gradients(parameters).clone())
        for _ in range(self.iterations):
            if lr == 0 or not here.gradient.abs().max() > self.tolerance:  # nan too: the trainer reports it
                break
            direction = newton_direction(here.gradient, state)
            slope = torch.dot(direction, here.gradient).item()
            if slope >= 0:  # the pairs no longer describe this function: start over from the gradient
                state["oldest"].copy_(state["pairs"])
                direction = -here.gradient
                slope = torch.dot(direction, here.gradient).item()
            fresh = bool(state["pairs"] == state["oldest"])
            trial = lr * min(1.0, 1 / here.gradient.abs().sum().item()) if fresh else lr
            home = weights.clone()

            def evaluate(length: float, home: Tensor = home, direction: Tensor = direction) -> Point:
                torch.add(home, direction, alpha=length, out=weights)
                value = self._objective(parameters, again())
                gradient = self.decay.gradients(parameters).clone()
                return Point(length, value, torch.dot(direction, gradient).item(), gradient)

            there = strong_wolfe(evaluate, here._replace(length=0.0, slope=slope), trial)
            torch.add(home, direction, alpha=there.length, out=weights)
            if there.length > 0:
                self._remember(state, direction * there.length, there.gradient - here.gradient)
            elif fresh:
                break  # no descent along the gradient itself: this is as low as the precision goes
            else:
                state["oldest"].copy_(state["pairs"])
            here = there

    def _objective(self, parameters: Parameters, loss: Tensor) -> float:
        if not self.decay.active:
            return loss.item()
        decayed = parameters.weights[: self.decay.size(parameters)]
        return loss.item() + 0.5 * self.decay.rate * torch.dot(decayed, decayed).item()

    def _remember(self, state: dict[str, Tensor], step: Tensor, change: Tensor) -> None:
        """Keep the pair, unless the curvature along it is not positive (rounding, or another dropout mask)."""
        if torch.dot(step, change) > 1e-10 * torch.dot(change, change):
            row = int(state["pairs"]) % self.history
            state["steps"][row], state["changes"][row] = step, change
            state["pairs"].add_(1)


def newton_direction(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Minus the inverse Hessian of the remembered pairs, times `gradient` (Nocedal and Wright 2006, algorithm 7.4)."""
    history, pairs = len(state["steps"]), int(state["pairs"])
    newest_first = range(pairs - 1, max(pairs - history, int(state["oldest"])) - 1, -1)
    remembered = [(state["steps"][i % history], state["changes"][i % history]) for i in newest_first]
    direction, shares = -gradient, []
    for step, change in remembered:
        shares.append(torch.dot(step, direction) / torch.dot(step, change))
        direction.addcmul_(change, shares[-1], value=-1)
    for step, change in remembered[:1]:
        direction.mul_(torch.dot(step, change) / torch.dot(change, change))
    for (step, change), share in zip(reversed(remembered), reversed(shares), strict=True):
        direction.addcmul_(step, share - torch.dot(change, direction) / torch.dot(step, change))
    return direction

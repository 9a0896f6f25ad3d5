"""An average of the weights, kept beside any update rule: smoother than where the last step happens to end."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, zeros

from dlcli.protocols import AVERAGE, Optimizer, Parameters

RAMP = 10  # early on the window is a tenth of the updates so far: the random first weights are soon forgotten


class Averaging:
    """`rule`, and an exponential moving average of the weights after each of its updates.

    Source: Polyak & Juditsky 1992 (SIAM J. Control Optim. 30); as a moving one e.g. Tarvainen & Valpola 2017,
    arXiv:1703.01780. Differs: the window grows with the updates up to that of `decay`, so that no bias is corrected.
    """

    def __init__(self, rule: Optimizer, decay: float):
        """decay: share of the average that an update keeps, in the long run."""
        self.rule, self.decay = rule, decay
        self.lr, self.full_batch = rule.lr, rule.full_batch

    def init(self, parameters: Parameters) -> dict[str, Tensor]:
        weights = parameters.weights
        return self.rule.init(parameters) | {AVERAGE: weights.clone(), "updates": zeros((), device=weights.device)}

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: float, again: Callable[[], Tensor]) -> None:
        self.rule.update(parameters, state, lr, again)
        rate = (1 / (1 + state["updates"] / RAMP)).clamp(min=1 - self.decay)
        state[AVERAGE].lerp_(parameters.weights, rate)
        state["updates"] += 1

"""A second set of weights that follows the first: an exponential moving average, kept as buffers.

Buffers are saved with the model and moved by no optimizer, so an interrupted run goes on with the average it had.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

RAMP = 10  # early on the window is a tenth of the updates so far: the random first weights are soon forgotten


class Averaged(nn.Module):
    """`module` is a frozen twin of the module that is followed, with every weight an average over the updates.

    Source: Polyak & Juditsky 1992; for generators Yazıcı et al. 2018, arXiv:1806.04498.
    Differs: the first update copies the weights, and the window grows with the updates up to that of `decay`, so that
    no correction of a bias is needed. Other state than weights (running means, singular vectors) is copied.
    """

    def __init__(self, followed: nn.Module, decay: float):
        """decay: share of the average that an update keeps, in the long run."""
        super().__init__()
        self.module = copy.deepcopy(followed)
        for part in self.module.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.detach().clone())
        self.decay = decay
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def follow(self, followed: nn.Module) -> None:
        rate = (1 / (1 + self.updates / RAMP)).clamp(min=1 - self.decay)
        weights = {name for name, _ in followed.named_parameters()}
        present = followed.state_dict()
        for name, average in self.module.state_dict().items():
            if name in weights:
                average.lerp_(present[name], rate)
            else:
                average.copy_(present[name])
        self.updates += 1

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)

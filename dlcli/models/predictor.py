"""The form of every supervised model: features, then one linear layer."""

from __future__ import annotations

from torch import Tensor, nn


class Predictor(nn.Module):
    """head(body(inputs)).

    Because the head is a plain linear layer, minimizing a convex loss over it alone, with the body held, is a convex
    problem; the decomposition uses that.
    """

    def __init__(self, body: nn.Module, features: int, outputs: int):
        super().__init__()
        self.body = body  # (batch, *spec.shape) -> (batch, features)
        self.head = nn.Linear(features, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))  # (batch, outputs)

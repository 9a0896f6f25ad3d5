"""The form of every supervised model: features, then one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.protocols import Architecture

UNKNOWN = Architecture()


class Predictor(nn.Module):
    """head(body(inputs)).

    Because the head is a plain linear layer, minimizing a convex loss over it alone, with the body held, is a convex
    problem; the decomposition uses that.
    """

    def __init__(self, body: nn.Module, features: int, outputs: int, architecture: Architecture = UNKNOWN):
        super().__init__()
        self.architecture = architecture
        self.body = body  # (batch, *spec.shape) -> (batch, features)
        self.head = nn.Linear(features, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))  # (batch, outputs)

    @torch.no_grad()
    def place(self, weights: Tensor, bias: Tensor) -> None:
        """Make the model this map of its features: weights (outputs, features), bias (outputs,)."""
        self.head.weight.copy_(weights)
        self.head.bias.copy_(bias)


def dense_sequence(model: nn.Module) -> list[nn.Module]:
    """What flattened inputs pass, one module behind the other, to become outputs; empty where a model is more."""
    plain = isinstance(model, Predictor) and type(model).forward is Predictor.forward
    body = [*model.body] if plain and isinstance(model.body, nn.Sequential) else []
    return [*body[1:], model.head] if body and type(body[0]) is nn.Flatten else []

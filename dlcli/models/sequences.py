"""How inputs are read as a sequence of steps, and features off one: shared by recurrent models and transformers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dlcli.protocols import DataSpec, Normalization

Readout = Literal["last", "mean", "all"]


class Steps(nn.Module):
    """(batch, *shape) numbers -> (batch, length, features).

    Signals are read sample by sample, tables feature by feature, images row by row or pixel by pixel.
    """

    def __init__(self, shape: tuple[int, ...], read: Literal["rows", "pixels"]):
        super().__init__()
        self.table = len(shape) == 1
        self.rows = len(shape) == 3 and read == "rows"
        if self.table:
            self.length, self.features = shape[0], 1
        elif self.rows:
            self.length, self.features = shape[1], shape[0] * shape[2]
        else:
            self.length, self.features = torch.Size(shape[1:]).numel(), shape[0]

    def forward(self, inputs: Tensor) -> Tensor:
        if self.table:
            return inputs.unsqueeze(2)
        if self.rows:
            return inputs.transpose(1, 2).flatten(2)  # (batch, height, channels * width)
        return inputs.flatten(2).transpose(1, 2)


def ordered(steps: Tensor) -> Tensor:
    """(batch, length, ...) with the steps of each sequence in one order, whatever they came in."""
    flat = steps.flatten(2) if steps.ndim > 2 else steps.unsqueeze(2)
    for feature in reversed(range(flat.shape[2])):  # the first feature last, as stable sorting keeps what was before
        order = flat[..., feature].argsort(dim=1, stable=True)
        flat = flat.gather(1, order.unsqueeze(2).expand_as(flat))
    return flat


class EachPosition(nn.Module):
    """A normalization applied to every position by itself: (batch, length, width) to the same.

    The features of a position are the channels, so that nothing leaks from the positions behind it.
    """

    def __init__(self, normalization: Normalization, width: int):
        super().__init__()
        self.inner = normalization.after(width, 0)

    def forward(self, features: Tensor) -> Tensor:
        if isinstance(self.inner, nn.Identity):  # to flatten what a recurrence gives is to copy it
            return features
        return self.inner(features.flatten(0, 1)).view(features.shape)


class ReadOut(nn.Module):
    """(batch, length, width) -> (batch, features): the last position, the mean of all, or all side by side.

    Of a sequence that was read in both directions, `last` takes what each half of the width saw last.
    """

    def __init__(self, readout: Readout, bidirectional: bool = False):
        super().__init__()
        self.readout, self.bidirectional = readout, bidirectional

    def forward(self, features: Tensor) -> Tensor:
        if self.readout == "mean":
            return features.mean(1)
        if self.readout == "all":
            return features.flatten(1)
        if not self.bidirectional:
            return features.transpose(0, 1)[-1]  # a recurrence takes its gradient in this order, and else copies it
        half = features.shape[2] // 2
        return torch.cat([features[:, -1, :half], features[:, 0, half:]], dim=1)


def read_out(spec: DataSpec, readout: Readout, length: int, width: int, bidirectional: bool) -> tuple[nn.Module, int]:
    """The module between the positions and the head, and how many features it leaves.

    A causal model predicts at every position, so its positions are left as they are.
    """
    if spec.causal:
        return nn.Identity(), width
    return ReadOut(readout, bidirectional), width * (length if readout == "all" else 1)

"""A text as examples: windows of tokens, each to be continued by one token at every position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from dlcli.protocols import Batch


@dataclass(frozen=True)
class Windows:
    """A text cut into windows that touch, so that every token but the first is predicted once.

    A text can be cut in `cuts` ways, as many as a window has tokens; example i of cut k has the index
    i + k * len(self), and starts k tokens later. The examples of cut 0 are the split itself: what is evaluated.
    Training draws a cut anew for each epoch, so that it meets every window of the text.
    """

    text: Tensor  # (len * length + 1,) int32
    length: int
    contiguous = True

    @property
    def cuts(self) -> int:
        return self.length

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.length

    @property
    def device(self) -> torch.device:
        return self.text.device

    @property
    def targets(self) -> Tensor:
        return self.batch(slice(None)).targets

    def batch(self, indices: Tensor | slice, then: Iterable[Tensor | slice] = ()) -> Batch:
        if isinstance(indices, slice):
            indices = torch.arange(len(self), device=self.text.device)[indices]
        starts = (indices % len(self)) * self.length + indices // len(self)
        starts.clamp_(max=len(self.text) - 1 - self.length)  # a later cut has no room for its last window
        places = starts[:, None] + torch.arange(self.length + 1, device=self.text.device)
        tokens = self.text[places].long()  # (batch, length + 1)
        return Batch(tokens[:, :-1], tokens[:, 1:])

    def to(self, device: Any) -> Windows:
        return Windows(self.text.to(device), self.length)

    def sha256(self) -> str:
        return sha256(f"{self.length}:".encode() + self.text.numpy().tobytes()).hexdigest()


def windows(text: Tensor, length: int) -> Windows:
    """The whole windows of a text; the rest, shorter than a window, is left out."""
    return Windows(text[: (len(text) - 1) // length * length + 1], length)

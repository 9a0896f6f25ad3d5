"""Every random draw is a function of (seed, purpose, counters), so that a resumed run draws what the unbroken one did.

Streams of different purposes are independent: evaluating more often, or adding augmentation, changes no batch and no
initial weight, and two optimizers with one seed see the same weights and the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from dlcli.protocols import Visit

BLOCK = 250  # examples whose evaluation noise is drawn together; a divisor of the chunks of an evaluation


def stream(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit seed for one draw of one purpose: "weights", "order", "noise", "augmentation" ..."""
    key = f"{seed}:{purpose}:{counters}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") >> 1


def seed_noise(device: torch.device, seed: int) -> None:
    """Reseed what dropout and other in-model noise draw from.

    Reseeding one generator costs about three microseconds; `torch.manual_seed` visits every device and costs hundreds.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


class FreshNoise(NamedTuple):
    """Noise of a training step, from the generator that `seed_noise` has seeded; satisfies `protocols.Noise`."""

    examples: int
    device: torch.device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.examples, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.examples, *shape, device=self.device)


class FixedNoise:
    """Noise that belongs to examples: a function of their position in the split, the order of the calls, and `draw`.

    Drawn for whole blocks of examples, on the CPU: neither the batching nor the device changes a number. It does not
    depend on the run, so that risks of two runs share it (common random numbers). Satisfies `protocols.Noise`.
    """

    def __init__(self, start: int, examples: int, device: torch.device, draw: int = 0):
        """For the examples start, start + 1, ... of a split. draw: which of independent draws."""
        self.start, self.examples, self.device, self.draw = start, examples, device, draw
        self.calls = 0

    def normal(self, *shape: int) -> Tensor:
        return self._cut(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._cut(torch.rand, shape)

    def _cut(self, distribution: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        first, last = self.start // BLOCK, (self.start + self.examples - 1) // BLOCK
        seeds = [stream(self.draw, "evaluation", self.calls, block) for block in range(first, last + 1)]
        self.calls += 1
        blocks = [distribution(BLOCK, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        begin = self.start - first * BLOCK
        return torch.cat(blocks)[begin : begin + self.examples].to(self.device)


class Batches:
    """Which examples each step reads: a fresh permutation per epoch, cut into whole batches.

    Differs: the remainder that fills no batch is left out of that epoch (another one each time), so that every step
    has the same shape. Evaluation always sees every example. A text that falls into examples in several ways (`cuts`,
    see `protocols.Split`) is cut anew for each epoch.
    """

    def __init__(self, examples: int, batch_size: int, seed: int, device: torch.device, cuts: int = 1):
        assert 1 <= batch_size <= examples
        self.examples, self.batch_size, self.seed, self.device = examples, batch_size, seed, device
        self.cuts, self.epoch_steps = cuts, examples // batch_size
        self._epoch, self._order = -1, torch.empty(0)

    def indices(self, step: int) -> Tensor | slice:
        """(batch_size,) indices into the training set for the step with this number, counted from 0."""
        ahead = self.ahead(step, 1)
        return ahead if isinstance(ahead, slice) else ahead[0]

    def ahead(self, step: int, steps: int) -> Tensor | slice:
        """`indices` of so many steps, (steps, batch_size); where each reads all examples, those of any of them."""
        if self.batch_size == self.examples:
            return slice(None)
        parts = []
        while steps > 0:
            epoch, position = divmod(step, self.epoch_steps)
            some = min(steps, self.epoch_steps - position)
            begin, end = position * self.batch_size, (position + some) * self.batch_size
            parts.append(self._order_of(epoch)[begin:end].view(some, self.batch_size))
            step, steps = step + some, steps - some
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            # Drawn on the CPU whatever the device, so that the order of the data does not depend on it.
            generator = torch.Generator().manual_seed(stream(self.seed, "order", epoch))
            order = torch.randperm(self.examples, generator=generator)
            if self.cuts > 1:
                order += self.examples * torch.randint(self.cuts, (1,), generator=generator)
            self._epoch, self._order = epoch, order.to(self.device)
        return self._order

    def visit(self, step: int) -> Visit:
        """What an augmentation may know of the step with this number."""
        return Visit(self.indices(step), step // self.epoch_steps)

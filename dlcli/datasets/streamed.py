"""Splits whose inputs stay on disk: what a batch needs is read by threads, before the step that it is for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcli.datasets.on_disk import OnDisk
from dlcli.datasets.resident import Statistics, affine, labels_of, ready
from dlcli.protocols import Batch, Examples

AHEAD = 2  # batches that are read while another is trained on
PIECE = 32  # examples that a thread reads at a time: the first batch, too, is then the work of all
THREADS = 8  # at most; decoders of pictures leave the interpreter to the others


@dataclass(frozen=True)
class Streamed:
    """The same numbers as `Resident` has, to the bit. Targets are resident: they are small, and asked for alone."""

    inputs: OnDisk
    targets: Tensor  # (n,) int64 or (n, targets) float32
    statistics: Statistics
    target_device: Any = "cpu"
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(threads()))
    begun: dict[bytes, list[Future]] = field(default_factory=dict)  # by the rows of a batch, oldest first
    cuts = 1
    contiguous = False
    device = torch.device("cpu")  # of the indices: to read those of an accelerator would wait for its queue

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: Tensor | slice, then: Iterable[Tensor | slice] = ()) -> Batch:
        rows = self.rows(indices)
        pieces = self.begin(rows)
        for later in islice(then, AHEAD):
            self.begin(self.rows(later))
        while len(self.begun) > AHEAD + 1:  # those that nobody came for
            self.begun.pop(next(iter(self.begun)))
        self.begun.pop(rows.tobytes(), None)
        inputs = torch.cat([piece.result() for piece in pieces])
        if self.inputs.dtype == np.uint8:  # as in `Resident`: two roundings, never a fused one
            factor, shift = (part.to(inputs.device) for part in affine(self.statistics, self.inputs.ndim))
            inputs = inputs.float().mul_(factor).add_(shift)
        return Batch(inputs, self.targets[torch.from_numpy(rows)].to(self.target_device))

    def rows(self, indices: Tensor | slice) -> np.ndarray:
        return np.arange(len(self))[indices] if isinstance(indices, slice) else indices.cpu().numpy()

    def begin(self, rows: np.ndarray) -> list[Future]:
        """Read a batch in the background, unless that is under way."""
        key = rows.tobytes()
        if key not in self.begun:
            size = max(PIECE, -(-len(rows) // (4 * THREADS)))
            pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
            self.begun[key] = [self.pool.submit(self.read, piece) for piece in pieces]
        return self.begun[key]

    def read(self, rows: np.ndarray) -> Tensor:
        """(k, *item) uint8, or float32 standardized; on the device."""
        return carried(torch.from_numpy(self.stored(rows)), torch.device(self.target_device))

    def stored(self, rows: np.ndarray | slice) -> np.ndarray:
        """What `Resident` would hold in memory."""
        inputs = np.asarray(self.inputs[rows])
        return inputs if inputs.dtype == np.uint8 else ready(inputs, self.statistics)

    def to(self, device: Any) -> Streamed:
        return replace(self, target_device=device, begun={})

    def parts(self) -> tuple[Tensor, ...]:
        """What `Resident` has beside the inputs."""
        return (self.targets, *(affine(self.statistics, self.inputs.ndim) if self.inputs.dtype == np.uint8 else ()))


def streamed(examples: Examples, statistics: Statistics) -> Streamed:
    return Streamed(examples.inputs, labels_of(examples.targets), statistics)


def threads() -> int:
    return min(THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def carried(host: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, made beside what it is computing; the thread that asks waits for it, nobody else."""
    if device.type != "cuda":
        return host.to(device)
    side = torch.cuda.Stream(device)
    with torch.cuda.stream(side):
        moved = host.pin_memory().to(device, non_blocking=True)
        side.synchronize()
    moved.record_stream(torch.cuda.default_stream(device))  # its memory is not given away while that stream reads
    return moved

"""Several processes that train one run together: each passes its share of every batch, and all know the sums.

Data parallelism is one sum of the vector `FlatParameters.gradients` per turn, so there is no DistributedDataParallel
here and no hook in autograd: micro-batches, line searches and SAM, which ask for gradients several times a step, get
those of the whole batch, and every rank takes the same step with the same numbers. Differs: the sum begins when the
backward pass has ended, where DDP overlaps the two. Weights are alike on all ranks and never sent.

Batch normalization sees the share of its rank, as it sees a micro-batch; its running statistics are those of rank 0,
which the others take over before an evaluation. Noise (dropout, latent draws) is independent on each rank.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from dlcli.errors import DistributedError, UsageError
from dlcli.protocols import Batch

LOST = "the ranks lost each other"


class Ranks(NamedTuple):
    """The place of this process among those of a run. Alone, every method gives back what it is given."""

    rank: int = 0
    size: int = 1

    @property
    def apart(self) -> tuple[int, ...]:
        """What tells the draws of this rank from those of rank 0."""
        return (self.rank,) if self.rank else ()

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """This rank's part of a batch, and its share of the examples: parts differ by one example at most."""
        if self.size == 1:
            return batch, 1.0
        examples = len(batch.inputs)
        start, stop = (examples * rank // self.size for rank in (self.rank, self.rank + 1))
        return Batch(*(tensor[start:stop] for tensor in batch)), (stop - start) / examples

    def add(self, *tensors: Tensor) -> None:
        """Put the sums over all ranks in place; the same bits on each."""
        if self.size > 1:
            with together():
                for tensor in tensors:
                    distributed.all_reduce(tensor)

    def agree(self, number: int | None) -> int | None:
        """The greatest number that any rank has."""
        if self.size == 1:
            return number
        greatest = torch.tensor(number or 0)  # on the CPU: an accelerator would be waited for
        with together():
            distributed.all_reduce(greatest, distributed.ReduceOp.MAX)
        return int(greatest) or None

    def mine(self, pieces: Sequence[Any]) -> Sequence[Any]:
        """This rank's pieces of work; all of them where there are fewer than ranks."""
        return pieces[self.rank :: self.size] if len(pieces) >= self.size else pieces

    def whole(self, starts: Sequence[int], parts: Sequence[Tensor], count: int) -> Tensor:
        """(count, ...), put together from what everybody made of the pieces that `mine` gave: rows from `start` on."""
        if sum(map(len, parts)) == count:
            return torch.cat(list(parts))
        found = parts[0].new_zeros(count, *parts[0].shape[1:])
        for start, part in zip(starts, parts, strict=True):
            found[start : start + len(part)] = part
        self.add(found)  # zeros elsewhere, so the numbers keep their bits
        return found

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Take over what rank 0 has, in place."""
        if self.size > 1:
            with together():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)

    def tell(self, value: Any) -> Any:
        """What rank 0 calls this with, plain JSON."""
        if self.size == 1:
            return value
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        self.follow([length])
        if self.rank > 0:
            content = torch.empty(int(length), dtype=torch.uint8)
        self.follow([content])
        return json.loads(bytes(content.tolist()))


ALONE = Ranks()


def here() -> Ranks:
    """Those of this process."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return ALONE


def started() -> bool:
    """Whether a launcher, of dlcli or `torchrun`, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def join(accelerator: bool, timeout: float) -> Ranks:
    """Meet the other ranks. Raises DistributedError where they do not come within `timeout` seconds."""
    if accelerator:
        see_one_gpu()
    backend = "cpu:gloo,cuda:nccl" if accelerator else "gloo"
    with together():
        distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return here()


def leave() -> None:
    """Part in peace, all of them at the same point; after a failure nobody waits for anybody."""
    if here().size > 1:
        distributed.destroy_process_group()


def see_one_gpu() -> None:
    """Let the GPU of this rank be the only one, before the first is touched: all else is then as with one process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if len(names) > 1 or place > 0:
        if place >= len(names):
            raise UsageError(f"there are {len(names)} GPUs for more ranks than that", "lower training.devices")
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place]


@contextmanager
def together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise parted(error) from error


def parted(error: RuntimeError) -> DistributedError:
    """What a call that waits for other ranks means when it fails."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    first = re.sub(r"^\[\S+:\d+\] |\. This is typically caused by.*", "", first)  # a line of gloo's source, its guess
    return DistributedError(f"{LOST}: {first}"[:200], "continue with: dlcli resume RUN_DIR")

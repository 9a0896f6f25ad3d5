"""How many runs may be trained at once: as many as memory and open files allow, and only where that pays."""

from __future__ import annotations

import os
import resource
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlcli.training.ensemble import can_stack
from dlcli.training.evaluate import evaluating
from dlcli.training.randomness import FreshNoise
from dlcli.training.run import Run

# Beyond this the matrices of one run keep a core busy, and a stack gains a tenth at most; below 20 million it is up to
# three times as fast (benchmarks/ensemble.py). Counted, not timed, so that a busy machine trains the same stacks.
MOST_WORK = 1e8  # floating-point operations of a step on a CPU
SHARE = 0.25  # of the free memory
COPIES = 4  # of what a forward pass makes: it, its gradient, and what is laid out anew for all runs
FILES = 8  # that a run has open, at the worst
OTHER_FILES = 128


class Footprint(NamedTuple):
    """What a step of a run takes, counted in the layers with weights; near enough for powers of two."""

    operations: float
    memory: int  # bytes


def room(run: Run) -> int:
    """How many runs like this one may be under way together; 1: a stack would gain nothing."""
    if not can_stack(run):
        return 1
    needed = footprint(run)
    if run.device.type == "cpu" and needed.operations > MOST_WORK:
        return 1
    files = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES) // FILES
    return max(1, min(files, int(SHARE * free_memory(run.device) / needed.memory)))


@torch.no_grad()
def footprint(run: Run) -> Footprint:
    operations, activations = 0, 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal operations, activations
        if isinstance(layer, nn.RNNBase):  # each weight is used, and each gate kept, in every step of every example
            steps = output[0].shape[:2].numel()
            weights = [weight for weight in layer.parameters() if weight.dim() == 2]
            operations += 6 * steps * sum(weight.numel() for weight in weights)
            activations += output[0].element_size() * steps * sum(len(weight) for weight in weights)
        elif isinstance(output, Tensor):
            activations += output.nbytes
            for weight in layer.parameters(recurse=False):
                if weight.dim() >= 2:  # forward, and backward to the inputs and to the weights, 2 operations each
                    operations += 6 * weight.numel() * output.numel() // weight.shape[0]

    layers = [module for module in run.model.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    batch = run.data.train.batch(run.batches.indices(run.state.step))
    try:
        with evaluating(run.model):
            run.learners[0].phase.loss(run.model, batch, FreshNoise(len(batch.inputs), run.device))
    finally:
        for hook in hooks:
            hook.remove()
    kept = sum(tensor.nbytes for named in run.tensors().values() for tensor in named.values())
    return Footprint(operations, 2 * kept + COPIES * (activations + batch.inputs.nbytes))


def free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

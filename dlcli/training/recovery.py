"""What a fault in training is answered with: a return to the last good checkpoint, or advice that was tried out."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

import torch

from dlcli.errors import Diverged, MemoryShortage
from dlcli.training import checkpoint
from dlcli.training.directory import RunDirectory
from dlcli.training.faults import machine_faults
from dlcli.training.loop import Course
from dlcli.training.ranks import ALONE
from dlcli.training.run import Run
from dlcli.training.step import augmented, loss_and_gradients, micro_batches
from dlcli.training.tracker import Tracker

MOST_ROLLBACKS = 3
LOWER = 0.5  # factor of the learning rate at each return
MOST_PARTS = 1024


def train_on(
    fit: Callable[[], Course[None]], run: Run, directory: RunDirectory, tracker: Tracker, warn: Callable[[str], None]
) -> Course[None]:
    """Follow the course that `fit` begins until it ends well; after a divergence it goes on from the last good
    checkpoint, if the settings allow that.

    Raises Diverged, naming the last good checkpoint; MemoryShortage, with what would fit.
    """
    while True:
        try:
            with machine_faults():
                return (yield from fit())
        except Diverged as fault:
            roll_back(run, directory, fault, warn)
            run.align()
            tracker.cut_back(run.state.step)
        except MemoryShortage as shortage:
            hint = "" if run.sharded else advice(run, shortage)  # what is tried out needs all ranks
            raise MemoryShortage(shortage.message, hint or shortage.hint) from shortage


def roll_back(run: Run, directory: RunDirectory, fault: Diverged, warn: Callable[[str], None]) -> None:
    """Put the newest good checkpoint back, with a lower learning rate. Raises `fault` where that is not to be done."""
    before = run.state
    if run.training.on_nonfinite != "rollback" or before.rollbacks >= MOST_ROLLBACKS:
        newest = next(iter(checkpoint.checkpoints(directory.checkpoints)), None)
        last = f"the last good checkpoint is {newest.name}" if newest else "no checkpoint had been saved"
        tried = f" after {before.rollbacks} returns with a lower learning rate" if before.rollbacks else ""
        raise Diverged(f"{fault.message}{tried}; {last}", fault.hint) from fault
    loaded = checkpoint.load_newest(directory.checkpoints, checkpoint.expect(run.tensors()), warn)
    run.restore(loaded.tensors, loaded.state)
    run.state.rollbacks, run.state.lr_scale = before.rollbacks + 1, before.lr_scale * LOWER
    warn(f"{fault.message}; back to step {loaded.step} with {run.state.lr_scale:g} of the learning rate")


def advice(run: Run, shortage: MemoryShortage) -> str:
    """The fewest micro-batches that fit into memory, tried out; empty if none do."""
    error: BaseException | None = shortage
    while error is not None:  # the frames of the failed step hold its tensors
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__
    parts = run.training.accumulate
    while parts < min(MOST_PARTS, run.batches.batch_size):
        parts *= 2
        if fits(run, parts):
            size = -(-run.batches.batch_size // parts)
            return (
                f"training.accumulate={parts} fits here (tried) and keeps the batch of {run.batches.batch_size}; "
                f"training.batch_size={size} fits too"
            )
    return ""


def fits(run: Run, parts: int) -> bool:
    """Whether gradients can be had when a batch is cut into so many parts. No weight moves."""
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    whole = replace(run, training=run.training._replace(accumulate=1), ranks=ALONE)
    try:
        with machine_faults():
            batch = augmented(run, run.data.train.batch(run.batches.indices(run.state.step)))
            first, _ = next(micro_batches(batch, parts))
            for learner in run.learners:
                loss_and_gradients(whole, learner, first, 0)
    except MemoryShortage:
        return False
    return True

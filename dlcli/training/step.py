"""One training step: every phase takes its turn on the same batch. This is the only place that calls `backward`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dlcli.errors import Diverged
from dlcli.protocols import Batch
from dlcli.training.randomness import seed_noise, stream
from dlcli.training.run import Learner, Run


def take_step(run: Run) -> dict[str, Tensor]:
    """Move every phase's parameters once, on the batch of step `run.state.step`.

    Returns the loss and the gradient norm of each phase as 0-dimensional tensors on the device.
    Raises Diverged before the update, so that the weights stay finite.
    """
    step = run.state.step
    batch = run.data.train.batch(run.batches.indices(step))
    if run.augment is not None:
        generator = run.generator(stream(run.seed, "augmentation", step))
        batch = batch._replace(inputs=run.augment(batch.inputs, generator))
    measured = {}
    for turn, learner in enumerate(run.learners):
        noise = stream(run.seed, "noise", step, turn)

        def evaluate(learner: Learner = learner, noise: int = noise) -> Tensor:
            return loss_and_gradients(run, learner, batch, noise)

        loss = evaluate()
        norm = torch.linalg.vector_norm(learner.parameters.gradients)
        _refuse_nonfinite(run, learner, loss, norm)
        _clip(learner, norm, run.training.clip_norm)
        lr = learner.optimizer.lr * learner.schedule(run.progress())
        with torch.no_grad():
            learner.optimizer.update(learner.parameters, learner.memory, lr, evaluate)
        measured[f"{learner.phase.name}/running_loss"] = loss
        measured[f"{learner.phase.name}/gradient_norm"] = norm
    return measured


def loss_and_gradients(run: Run, learner: Learner, batch: Batch, noise: int) -> Tensor:
    """Mean loss of the batch; its gradient is left in `learner.parameters.gradients`.

    The same noise seed gives the same dropout masks, so a line search sees one function. With `accumulate` the batch
    passes in parts, each weighted by its share of the examples.
    """
    seed_noise(run.device, noise)
    learner.parameters.zero()
    total = torch.zeros((), device=run.device)
    for part, share in micro_batches(batch, run.training.accumulate):
        with torch.enable_grad(), run.autocast():
            loss = learner.phase.loss(run.model, part)
            if share < 1:
                loss = loss * share
        loss.backward(inputs=learner.parameters.leaves)
        total += loss.detach()
    return total


def micro_batches(batch: Batch, parts: int) -> Iterator[tuple[Batch, float]]:
    """The batch in so many parts (fewer if it is small), each with its share of the examples."""
    examples = len(batch.inputs)
    size = -(-examples // parts)
    if size == examples:
        yield batch, 1.0
        return
    for start in range(0, examples, size):
        part = Batch(*(tensor[start : start + size] for tensor in batch))
        yield part, len(part.inputs) / examples


def _refuse_nonfinite(run: Run, learner: Learner, loss: Tensor, norm: Tensor) -> None:
    # Reading a number is free on a CPU. On an accelerator it waits for the whole queue, so there the look is taken at
    # log points only; checkpoints refuse non-finite weights in any case.
    if run.device.type != "cpu" and run.state.step % run.training.log_every:
        return
    if not math.isfinite(norm.item()) or not math.isfinite(loss.item()):
        what = "gradient" if math.isfinite(loss.item()) else "loss"
        raise Diverged(
            f"the {what} of phase '{learner.phase.name}' is not finite at step {run.state.step}",
            f"try a lower optimizer.lr (now {learner.optimizer.lr:g}) or training.clip_norm=1",
        )


def _clip(learner: Learner, norm: Tensor, greatest: float | None) -> None:
    if greatest is not None:
        learner.parameters.gradients.mul_((greatest / (norm + 1e-6)).clamp(max=1.0))

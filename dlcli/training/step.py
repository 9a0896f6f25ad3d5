"""One training step: every phase takes its turn on the same batch. This is the only place that calls `backward`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from dlcli.errors import Diverged
from dlcli.protocols import Batch
from dlcli.training.randomness import FreshNoise, seed_noise, stream
from dlcli.training.run import Learner, Run

MOST_SKIPPED = 10  # in a row, under training.on_nonfinite=skip


def take_step(run: Run) -> dict[str, float | Tensor]:
    """Move the parameters of every phase whose turn it is, on the batch of step `run.state.step`.

    Returns the loss and the gradient norm of each such phase: numbers on a CPU; on an accelerator tensors, because
    reading one waits for the whole queue. Raises Diverged if the loss, the gradient (both before the update) or a
    weight (after it) is not finite; on an accelerator whoever reads the numbers does that, and no such weight is saved.
    """
    step, batch = run.state.step, augmented(run, run.batch())
    measured = {}
    for turn, learner in enumerate(run.learners):
        if (step + 1) % learner.phase.every == 0:
            with run.products():
                taken = take_turn(run, learner, batch, stream(run.seed, "noise", step, turn, *run.ranks.apart))
            measured |= named(learner.phase.name, taken)
    return measured


def named(phase: str, taken: tuple[float | Tensor, float | Tensor] | None) -> dict[str, float | Tensor]:
    """What a turn is logged as."""
    if taken is None:
        return {f"{phase}/skipped": 1}
    return {f"{phase}/running_loss": taken[0], f"{phase}/gradient_norm": taken[1]}


def augmented(run: Run, batch: Batch) -> Batch:
    """The batch of the step to come, as the run sees it."""
    if run.augment is None:
        return batch
    step = run.state.step
    generator, visit = run.generator(stream(run.seed, "augmentation", step)), run.batches.visit(step)
    return batch._replace(inputs=run.augment(batch.inputs, generator, visit))


def take_turn(run: Run, learner: Learner, batch: Batch, noise: int) -> tuple[float | Tensor, float | Tensor] | None:
    """One update of one phase; loss and gradient norm before it. None: the turn was skipped, changing nothing."""
    if learner.program is not None:
        return run_program(run, learner, batch, noise)
    buffers = spoilt_by_a_skip(run)

    def again() -> Tensor:
        return loss_and_gradients(run, learner, batch, noise)[0]

    loss, norm = (read(run, value) for value in loss_and_gradients(run, learner, batch, noise))
    if not fit_to_move(run, learner, loss, norm, buffers):
        return None
    learner.optimizer.update(learner.parameters, learner.memory, run.lr(learner), again)
    refuse_nonfinite(run, learner, "weight", read(run, learner.parameters.total()))
    return loss, norm


def run_program(run: Run, learner: Learner, batch: Batch, noise: int) -> tuple[float | Tensor, float | Tensor]:
    """The same by the program of the learner, which has moved the weights before its numbers are looked at."""
    seed_noise(run.device, noise)
    loss, norm, weights = (read(run, value) for value in learner.program(batch, run.lr(learner)))
    for what, value in (("loss", loss), ("gradient", norm), ("weight", weights)):
        refuse_nonfinite(run, learner, what, value)
    return loss, norm


def fit_to_move(
    run: Run, learner: Learner, loss: float | Tensor, norm: float | Tensor, buffers: list[tuple[Tensor, Tensor]]
) -> bool:
    """Whether the gradients that lie in `learner.parameters` are to be followed, or this turn left out."""
    if run.training.on_nonfinite == "skip" and not (math.isfinite(loss) and math.isfinite(norm)):
        skip_turn(run, learner, buffers)
        return False
    run.state.skipped_in_a_row = 0
    refuse_nonfinite(run, learner, "loss", loss)
    refuse_nonfinite(run, learner, "gradient", norm)
    return True


def spoilt_by_a_skip(run: Run) -> list[tuple[Tensor, Tensor]]:
    """(buffer, copy) of what a forward pass changes, where it may have to be put back."""
    return [(buffer, buffer.clone()) for buffer in run.model.buffers()] if run.training.on_nonfinite == "skip" else []


def loss_and_gradients(run: Run, learner: Learner, batch: Batch, noise: int) -> tuple[Tensor, Tensor]:
    """Mean loss of the batch, and the norm of its gradient, which is left in `learner.parameters.gradients`, clipped.

    The same noise seed gives the same dropout masks, so a line search sees one function. With `accumulate` the batch
    passes in parts, each weighted by its share of the examples; only batch normalization, which then sees the parts,
    makes a difference to that. So it does over several ranks, which end up with the same gradient.
    """
    seed_noise(run.device, noise)
    return gradients_of(run, learner, batch)


def gradients_of(run: Run, learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    """`loss_and_gradients` with the noise that comes next."""
    parameters = learner.parameters
    written = learner.chain is not None and run.training.accumulate == run.ranks.size == 1
    total = (written_out if written else recorded)(run, learner, batch)
    norm = parameters.norm()
    clip(parameters.gradients, norm, run.training.clip_norm)
    return total, norm


def written_out(run: Run, learner: Learner, batch: Batch) -> Tensor:
    """Loss of the batch, whose gradients the chain of the learner leaves in place."""
    products = run.type_of_products(learner.parameters.weights.dtype)
    return learner.chain.gradients(learner.phase.slope, batch, products)


def recorded(run: Run, learner: Learner, batch: Batch) -> Tensor:
    """Loss of the batch, whose gradients autograd finds, part by part, and are then collected."""
    parameters, total = learner.parameters, None
    ours, weight = run.ranks.share(batch)
    for part, share in micro_batches(ours, run.training.accumulate):
        with run.autocast():
            loss = learner.phase.loss(run.model, part, FreshNoise(len(part.inputs), run.device))
            counted = share * weight * parameters.averaged
            if counted != 1:
                loss = loss * counted
        loss.backward(inputs=parameters.reached)
        total = loss.detach() if total is None else total + loss.detach()
    parameters.collect(run.ranks)
    run.ranks.add(total)
    return total if parameters.averaged == 1 else total / parameters.averaged


def clip(gradients: Tensor, norm: Tensor, greatest: float | None) -> None:
    if greatest is not None:
        gradients.mul_((greatest / (norm + 1e-6)).clamp(max=1.0))


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


def read(run: Run, value: Tensor) -> float | Tensor:
    # Whether to skip a turn must be known before its update, so an accelerator is waited for in every step then.
    return value.item() if run.device.type == "cpu" or run.training.on_nonfinite == "skip" else value


def skip_turn(run: Run, learner: Learner, buffers: list[tuple[Tensor, Tensor]]) -> None:
    """Leave a turn out: running statistics that its forward pass spoiled are put back. Many in a row diverge."""
    for buffer, before in buffers:
        buffer.copy_(before)
    run.state.skipped += 1
    run.state.skipped_in_a_row += 1
    if run.state.skipped_in_a_row >= MOST_SKIPPED:
        raise Diverged(
            f"phase '{learner.phase.name}' had no finite loss and gradient {MOST_SKIPPED} times in a row, up to step "
            f"{run.state.step + 1}",
            f"try a lower optimizer.lr (now {learner.optimizer.lr:g}) or training.clip_norm=1",
        )


def refuse_nonfinite(run: Run, learner: Learner, what: str, value: float | Tensor) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Diverged(
            f"the {what} of phase '{learner.phase.name}' is not finite in step {run.state.step + 1}",
            f"try a lower optimizer.lr (now {learner.optimizer.lr:g}) or training.clip_norm=1",
        )

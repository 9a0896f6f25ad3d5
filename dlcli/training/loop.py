"""The training loop: step, log, evaluate, save. Read it together with `step.py`; nothing else trains."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from dlcli.errors import Diverged, Interrupted
from dlcli.protocols import Data
from dlcli.training import checkpoint
from dlcli.training.diagnostics import diagnose
from dlcli.training.evaluate import Cut, evaluate, evaluating, pictures, reduce
from dlcli.training.ranks import ALONE
from dlcli.training.run import Learner, Run
from dlcli.training.saving import Flushed, Saver
from dlcli.training.signals import Stop
from dlcli.training.step import take_step

UNITS = 5  # of checkpoint.every=auto
CHEAP = 5.0  # seconds; an evaluation that takes no longer is never too dear

T = TypeVar("T")


class Console(Protocol):
    """Where a run is watched: a progress bar, plain lines or events."""

    def advance(self, step: int, loss: float, samples_per_second: float) -> None: ...
    def evaluated(self, step: int, epoch: float, values: dict[str, float]) -> None: ...


class Journal(Flushed, Protocol):
    """Where numbers are kept: metrics.jsonl and TensorBoard."""

    def log(self, step: int, epoch: float, values: dict[str, float]) -> None: ...
    def scalar(self, tag: str, value: float, step: int) -> None: ...
    def image(self, tag: str, pixels: np.ndarray, step: int) -> None: ...


class Leg(NamedTuple):
    """What a course asks of whoever drives it: so many steps of its run, fewer only where it must be told something."""

    run: Run
    steps: int
    stop: Stop


Course = Generator[Leg, None, T]  # a run on its way: it is resumed after the steps, or with what they have raised


def alone(course: Course[T]) -> T:
    """Take the steps that the course of one run asks for. What it returns or raises."""
    try:
        leg = next(course)
        while True:
            try:
                advance(*leg)
            except BaseException as fault:
                leg = course.throw(fault)
            else:
                leg = next(course)
    except StopIteration as end:
        return end.value


def advance(run: Run, steps: int, stop: Stop) -> None:
    """So many steps, or fewer if a signal comes."""
    with spending(run, "training"):
        for _ in range(steps):
            gather(run, take_step(run))
            if stop.shared:
                stop.agree(run.ranks.agree)
            if stop.asks:
                return


def gather(run: Run, measured: dict[str, Any]) -> None:
    """Count a step and what was measured in it."""
    run.state.step += 1
    for name, value in {**measured, "steps": 1}.items():
        run.state.window[name] = run.state.window.get(name, 0) + value


def fit(*arguments: Any, **named: Any) -> None:
    """The course of a run, alone."""
    alone(course(*arguments, **named))


def course(
    run: Run,
    folder: Path,
    identity: dict[str, Any],
    journal: Journal,
    console: Console,
    stop: Stop,
    acknowledge: Callable[[int, float], object] = lambda step, seconds: None,
) -> Course[None]:
    """Train from `run.state.step` to `run.steps`, leaving checkpoints in `folder`.

    acknowledge: told of the step of each checkpoint once it is durable, and the seconds that its writing took.
    Raises Interrupted after a signal, with a checkpoint saved; Diverged when a loss, gradient or weight is not finite.
    """
    state, training = run.state, run.training
    saved_at, looked_at, looked_step = time.monotonic(), state.seconds.get("training", 0.0), state.step
    run.model.train()
    with Saver(run, folder, identity, journal, acknowledge) as saver:
        if training.on_nonfinite == "rollback" and not checkpoint.checkpoints(folder):
            saver.save()  # something to return to
        if evaluation_due(run):  # a signal has cut it short
            with spending(run, "evaluation"):
                measure(run, journal, console, stop)
            if evaluation_due(run):
                raise stopped(run, folder, stop)
        while state.step < run.steps:
            saver.look()
            yield Leg(run, steps_ahead(run), stop)
            last, improved = state.step == run.steps, False
            if last or state.step % training.log_every == 0:
                with spending(run, "training"):  # on an accelerator this waits for the steps
                    means = close_window(run)
                rate = (state.step - looked_step) * run.batches.batch_size / (state.seconds["training"] - looked_at)
                looked_at, looked_step = state.seconds["training"], state.step
                journal.log(state.step, epoch(run), means)
                journal.scalar("speed/samples_per_second", rate, state.step)
                console.advance(state.step, means.get(f"{run.task.phases[0].name}/running_loss", math.nan), rate)
            if evaluation_due(run):
                with spending(run, "evaluation"):
                    improved = measure(run, journal, console, stop)
            stopping = stop.requested
            due = last or stopping or stop.save_now or checkpoint_due(run, saver, saved_at)
            due = due or (improved and not can_wait(run))
            if run.ranks.tell(bool(due)) if run.sharded else due:  # the first rank has the disk and the clock
                with spending(run, "checkpoint"):
                    saver.save()
                if last:
                    yield Leg(run, 0, stop)  # beside others: they save too before anybody waits for the disk
                if last or stopping:
                    with spending(run, "checkpoint"):
                        saver.wait()
                saved_at, stop.save_now = time.monotonic(), False
            elif improved:
                with spending(run, "checkpoint"):
                    saver.hold()
            if stopping and not (last and state.evaluated == state.step):
                raise stopped(run, folder, stop)


def stopped(run: Run, folder: Path, stop: Stop) -> Interrupted:
    return Interrupted(
        f"stopped by signal {stop.requested} at step {run.state.step} of {run.steps}, checkpoint saved",
        f"continue with: dlcli resume {shlex.quote(str(folder.parent))}",
        stop.requested,
    )


def evaluation_due(run: Run) -> bool:
    step = run.state.step
    return step > run.state.evaluated and (step == run.steps or step % evaluation_steps(run) == 0)


def evaluation_steps(run: Run) -> int:
    return run.evaluate_every * run.state.stretch


def stretch(run: Run) -> None:
    """After the first evaluation: let the others come so rarely that they take no longer than training.

    Decided once and kept in the state: a run that is resumed goes on as it would have.
    """
    evaluation, training = (run.state.seconds.get(purpose, 0.0) for purpose in ("evaluation", "training"))
    if run.adaptive and run.state.step == run.evaluate_every and evaluation > max(CHEAP, training):
        run.state.stretch = math.ceil(evaluation / training)


def measure(run: Run, journal: Journal, console: Console, stop: Stop) -> bool:
    """Risks of the present weights on train and validation; whether validation is the best so far.

    A signal cuts it short, which leaves it due. The test split is not touched before the end.
    """
    state = run.state
    values = {}
    splits = selection_splits(run.data)
    run.ranks.follow(run.model.buffers())
    with run.evaluated(), evaluating(run.model):
        for name, split in splits.items():
            try:
                # Where each rank holds a part of the weights, all of them see all examples.
                ranks = ALONE if run.sharded else run.ranks
                rows = evaluate(run.model, run.task, split, ranks=ranks, stopped=stop.asked_to_end)
            except Cut:
                return False
            run.measured[name], found = (state.step, rows), reduce(run.task, rows)
            values.update({f"risk/{name}/{metric}": value for metric, value in found.items()})
        shown = pictures(run.model, run.task, splits.get("validation", run.data.train))
    state.evaluated = state.step
    journal.log(state.step, epoch(run), values)
    console.evaluated(state.step, epoch(run), values)
    for name, pixels in shown.items():
        journal.image(name, pixels, state.step)
    for name, value in (diagnose(run) if run.training.diagnostics else {}).items():
        journal.scalar(name, value, state.step)
    risk = values.get("risk/validation/loss")
    if risk is None:
        return False
    state.validation.append((state.step, risk))
    improved = risk < (state.best[1] if state.best else math.inf)
    if improved:
        state.best = (state.step, risk)
    return improved


def selection_splits(data: Data) -> dict[str, Any]:
    """The splits that may be looked at while training."""
    return {"train": data.train} | ({"validation": data.validation} if data.validation is not None else {})


def steps_ahead(run: Run) -> int:
    """Up to the next one behind which something is to be done, or the clock to be looked at."""
    dues = [run.training.log_every, evaluation_steps(run), checkpoint_steps(run)]
    return min(run.steps - run.state.step, *(due - run.state.step % due for due in dues))


def checkpoint_due(run: Run, saver: Saver, saved_at: float) -> bool:
    """Of `auto`, a disk that is slow for these steps has fewer. Only where a rollback leads depends on which."""
    if run.checkpoint.every == "auto" and run.training.on_nonfinite != "rollback" and not saver.rested:
        return False
    if run.checkpoint.unit == "minutes":
        return time.monotonic() - saved_at >= 60 * units(run)
    return run.state.step % checkpoint_steps(run) == 0


def can_wait(run: Run) -> bool:
    """Whether the clock may decide which of several good checkpoints are written: not where a rollback leads to them,
    nor where all ranks have to put one together."""
    return run.training.on_nonfinite != "rollback" and not run.sharded


def checkpoint_steps(run: Run) -> int:
    """Steps from one look at whether a checkpoint is due to the next."""
    unit = run.batches.epoch_steps if run.checkpoint.unit == "epochs" else 1
    return 1 if run.checkpoint.unit == "minutes" else max(1, round(units(run) * unit))


def units(run: Run) -> float:
    return UNITS if run.checkpoint.every == "auto" else run.checkpoint.every


def close_window(run: Run) -> dict[str, float]:
    """Means over the steps since the last log point; the only place where the loop waits for an accelerator."""
    sums, run.state.window = run.state.window, {}
    steps = int(sums.pop("steps"))
    turns, skipped = {}, {}
    for learner in run.learners:
        name, every = learner.phase.name, learner.phase.every
        if f"{name}/skipped" in sums:
            skipped[f"{name}/skipped"] = sums.pop(f"{name}/skipped")
        turns[name] = run.state.step // every - (run.state.step - steps) // every - skipped.get(f"{name}/skipped", 0)
    means = {name: float(value) / turns[name.rpartition("/")[0]] for name, value in sums.items()}
    for name, mean in means.items():
        if not math.isfinite(mean):
            message = f"'{name}' was not finite in one of the {steps} steps up to step {run.state.step}"
            raise Diverged(message, "try a lower optimizer.lr or training.clip_norm=1")
    for learner in run.learners:
        refuse_great(run, learner, means.get(f"{learner.phase.name}/running_loss", 0.0))
        means[f"{learner.phase.name}/lr"] = run.lr(learner)
    return means | skipped


def refuse_great(run: Run, learner: Learner, loss: float) -> None:
    """A loss may grow a thousandfold and stay finite; who knows what is too much can say so."""
    greatest = run.training.greatest_loss
    if greatest is not None and loss > greatest:
        message = f"the mean loss of phase '{learner.phase.name}' is {loss:.4g} up to step {run.state.step}"
        raise Diverged(
            f"{message}, above training.greatest_loss={greatest:g}",
            f"try a lower optimizer.lr (now {learner.optimizer.lr:g}) or training.clip_norm=1",
        )


def epoch(run: Run) -> float:
    return run.state.step / run.batches.epoch_steps


class spending:
    """Adds the wall time of a block to `run.state.seconds[purpose]`."""

    def __init__(self, run: Run, purpose: str):
        self.seconds, self.purpose = run.state.seconds, purpose

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *failure: Any) -> None:
        self.seconds[self.purpose] = self.seconds.get(self.purpose, 0.0) + time.perf_counter() - self.start

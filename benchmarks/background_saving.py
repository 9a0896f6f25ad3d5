"""What a save costs the steps behind it: the copy that blocks, and the steps while the disk is busy.

Run: python benchmarks/background_saving.py [--rounds 15] [--threads 1] [OVERRIDE ...]
     e.g. python benchmarks/background_saving.py model.width=2900 training.batch_size=100

Each round takes the same number of steps twice, in turns that alternate: once right after a save that still goes on,
once with nothing being written. Their ratio says whether the step after a save is slower: in wall time, which needs a
core to spare, and in CPU time of the thread that trains, which forgives a busy machine. Beside it: the time that
`save` blocks, the time until the checkpoint is durable, and the time of a save that is waited for over that of
torch.save with an fsync of the same tensors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from dlcli import build, config
from dlcli.training.saving import Saver
from dlcli.training.step import take_step


class Nothing:
    """A journal with nothing to make durable."""

    def flush(self):
        pass


def spent(work, *arguments):
    """Wall seconds, and CPU seconds of this thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    work(*arguments)
    return time.perf_counter() - wall, time.thread_time() - cpu


def steps(run, count):
    for _ in range(count):
        take_step(run)
        run.state.step += 1


def plain_save(run, path):
    """What one would write by hand, durable."""
    with path.open("wb") as file:
        torch.save(run.tensors(), file)
        file.flush()
        os.fsync(file.fileno())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    run = build.build(config.load_checked(["training.steps=100000", "training.epochs=null", *arguments.overrides]))
    torch.set_num_threads(arguments.threads)
    size = sum(tensor.nbytes for named in run.tensors().values() for tensor in named.values())
    steps(run, 5)
    rows = []
    with (
        tempfile.TemporaryDirectory(dir=".") as room,
        Saver(run, Path(room) / "c", {}, Nothing(), lambda *_: 0) as saver,
    ):
        saver.save()
        writing = spent(saver.wait)[0]
        count = max(1, int(writing / 2 / (spent(steps, run, 3)[0] / 3)))  # fewer than the writing lasts
        for number in range(arguments.rounds):
            for busy in (True, False) if number % 2 else (False, True):
                if busy:
                    started = time.perf_counter()
                    blocked = spent(saver.save)[0]
                    after = spent(steps, run, count)
                    saver.wait()
                    durable = time.perf_counter() - started
                else:
                    alone = spent(steps, run, count)
            path = Path(room) / "plain.pt"
            plain = spent(plain_save, run, path)[0]
            path.unlink()
            run.state.step += 1
            waited = spent(saver.save)[0] + spent(saver.wait)[0]
            run.state.step += 1  # a checkpoint has a step of its own
            rows.append((after[0] / alone[0], after[1] / alone[1], 1e3 * blocked, 1e3 * durable, waited / plain))
    print(f"{size / 1e6:.0f} MB; {count} steps of {1e3 * alone[0] / count:.1f} ms in each of {arguments.rounds} rounds")
    names = (
        "steps after a save / steps without, wall",
        "the same, CPU time of the thread that trains",
        "a save blocks, ms",
        "durable after, ms",
        "a save with no steps beside it / torch.save",
    )
    for name, figures in zip(names, zip(*rows, strict=True), strict=True):
        low, median, high = statistics.quantiles(figures, n=4)
        print(f"{name:<46} median {median:8.3f}, quartiles {low:8.3f} and {high:8.3f}")


if __name__ == "__main__":
    main()

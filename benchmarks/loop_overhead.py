"""What dlcli's loop costs over a hand-written one: same model, same data, same optimizer, alternating in one process.

Run: python benchmarks/loop_overhead.py [--rounds 7] [--threads 1] [OVERRIDE ...]
     e.g. python benchmarks/loop_overhead.py model=lenet dataset=fashion_mnist training.batch_size=128

The hand-written loop keeps its tensors resident, indexes them with a permutation and calls the fused Adam of
torch.optim, with no logging and no checks. dlcli's figure is the whole of `fit` (gradient norm, divergence check,
running means, log points, console) without evaluation and checkpoints. Prints the ratio of each round and its median.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch

from dlcli import build, config
from dlcli.training.loop import fit
from dlcli.training.run import State
from dlcli.training.signals import Stop

STEPS = 400


class Silence:
    """A console and a journal that keep nothing."""

    def advance(self, *_):
        pass

    epoch_line = log = scalar = flush = advance


def plain_loop(model, phase_loss, train, batch_size, lr):
    """The loop one would write by hand."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    step, started = 0, time.perf_counter()
    while step < STEPS:
        order = torch.randperm(len(train))
        for start in range(0, len(train) - batch_size + 1, batch_size):
            batch = train.batch(order[start : start + batch_size])
            loss = phase_loss(model, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == STEPS:
                break
    return time.perf_counter() - started


def dlcli_loop(run):
    run.state = State()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        fit(run, Path(folder), {}, Silence(), Silence(), Stop())
        elapsed = time.perf_counter() - started
    return elapsed - run.state.seconds["evaluation"] - run.state.seconds["checkpoint"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    overrides = [f"training.steps={STEPS}", "training.epochs=null", "schedule=constant", "optimizer=adam"]
    overrides += ["training.evaluate_every=1000", "checkpoint.every=1000"]
    run = build.build(config.load_checked([*overrides, *arguments.overrides]))
    torch.set_num_threads(arguments.threads)
    model, lr = copy.deepcopy(run.model), run.learners[0].optimizer.lr
    for parameter in model.parameters():
        parameter.grad = None
    plain_loop(model, run.task.phases[0].loss, run.data.train, run.batches.batch_size, lr)
    dlcli_loop(run)
    ratios = []
    for number in range(arguments.rounds):
        plain = plain_loop(model, run.task.phases[0].loss, run.data.train, run.batches.batch_size, lr)
        ours = dlcli_loop(run)
        ratios.append(ours / plain)
        figures = f"plain {1e3 * plain / STEPS:.3f} ms/step, dlcli {1e3 * ours / STEPS:.3f} ms/step"
        print(f"round {number}: {figures}, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}  (min {min(ratios):.3f}, max {max(ratios):.3f})")


if __name__ == "__main__":
    main()

"""What dlcli's loop costs over a hand-written one: same model, same data, same optimizer, alternating in one process.

Run: python benchmarks/loop_overhead.py [--rounds 31] [--threads 1] [OVERRIDE ...]
     e.g. python benchmarks/loop_overhead.py model=lenet dataset=fashion_mnist training.batch_size=128

The hand-written loop keeps its tensors resident, indexes them with a permutation and calls the fused Adam of
torch.optim on the cross-entropy, with no logging and no checks. dlcli's figure is the whole of `fit` (gradient norm,
divergence check, running means, log points, console) without evaluation and checkpoints. Prints the ratio of each
round and its median, in wall time and in CPU time; the latter forgives a busy machine (use one thread).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from dlcli import build, config
from dlcli.training import loop
from dlcli.training.run import State
from dlcli.training.signals import Stop

STEPS = 100  # of one round: short, so that a busy neighbour meets both loops


class Silence:
    """A console and a journal that keep nothing."""

    def advance(self, *_):
        pass

    evaluated = log = scalar = image = flush = advance


def plain_loop(model, train, batch_size, lr):
    """The loop one would write by hand."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    step = 0
    while step < STEPS:
        order = torch.randperm(len(train))
        for start in range(0, len(train) - batch_size + 1, batch_size):
            batch = train.batch(order[start : start + batch_size])
            loss = nn.functional.cross_entropy(model(batch.inputs), batch.targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == STEPS:
                break


def dlcli_loop(run):
    run.state = State()
    loop.fit(run, Path(), {}, Silence(), Silence(), Stop())


def spent(work, *arguments):
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    overrides = [f"training.steps={STEPS}", "training.epochs=null", "schedule=constant", "optimizer=adam"]
    overrides += ["training.evaluate_every=1000", "checkpoint.every=1000"]
    run = build.build(config.load_checked([*overrides, *arguments.overrides]))
    torch.set_num_threads(arguments.threads)
    loop.measure, loop.Saver.save = lambda *_: False, lambda *_: None
    model = copy.deepcopy(run.model)
    by_hand = model, run.data.train, run.batches.batch_size, run.learners[0].optimizer.lr
    plain_loop(*by_hand)
    dlcli_loop(run)
    ratios = []
    for number in range(arguments.rounds):
        plain, ours = spent(plain_loop, *by_hand), spent(dlcli_loop, run)
        ratios.append([b / a for a, b in zip(plain, ours, strict=True)])
        figures = f"plain {1e3 * plain[1] / STEPS:.3f} ms/step, dlcli {1e3 * ours[1] / STEPS:.3f} ms/step of CPU"
        print(f"round {number}: {figures}, ratio {ratios[-1][1]:.3f} (wall {ratios[-1][0]:.3f})")
    wall, cpu = (statistics.median(kind) for kind in zip(*ratios, strict=True))
    print(f"median ratio {cpu:.3f} in CPU time, {wall:.3f} in wall time")


if __name__ == "__main__":
    main()

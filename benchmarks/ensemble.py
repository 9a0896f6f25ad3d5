"""A sweep of small runs as one program, against other ways to make it; and what a stack gains.

    python benchmarks/ensemble.py sweep            # 32 runs of 40-100-100-10, 200 steps of 100, start included
    python benchmarks/ensemble.py steps            # a step of a stack against the same steps one by one

Each round makes the sweep in every way in turn, and a ratio pairs what stands in one round: separate commands of dlcli,
its serial launcher, a script of plain torch for each run, and one program by hand, in torch (stacked matrices) or in
JAX (a compiled scan under vmap). The last three only train: no validation, no risks, no file. They need the
environments torch and jax of `python benchmarks/environments.py`, and are left out where these are not there. Each may
use all cores, in its own way. Wall time is what a user waits for; CPU time, of all processes, is what remains
comparable on a busy machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from environments import python

from dlcli.training.cores import allowed_cores

PR_SET_CHILD_SUBREAPER = 36  # of <sys/prctl.h>
STEPS, BATCH = 200, 100
RUN = (
    *("dataset=mnist1d", "model=mlp", "decompose.budget=none"),
    *(f"training.steps={STEPS}", f"training.batch_size={BATCH}"),
)
RUNS, COMMANDS, SERIAL = 32, 2, 4  # a round: so many runs together, so many commands, so many in the serial sweep
MODELS = {
    "linear": ("model=linear",),
    "mlp 40-100-100-10": ("model=mlp",),
    "mlp with batch norm and dropout": ("model=mlp", "normalization=batch", "model.dropout=0.2"),
    "mlp 40-400-400-10": ("model=mlp", "model.width=400"),
    "cnn": ("model=cnn",),
    "lenet 8x8": ("model=lenet", "dataset=digits"),
    "vae 8x8": ("model=vae", "dataset=digits"),
    "gru 32, 8 steps": ("model=gru", "model.width=32", "dataset=digits"),
    "resnet8": ("model=resnet", "model.depth=8"),
}


class Cost(NamedTuple):
    """Seconds of one run."""

    wall: float
    cpu: float
    training: float  # wall, of the steps alone


def timed(words: list[str], runs: int) -> tuple[float, float, str]:
    """Wall and CPU seconds of one command for each of its runs, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    wall = time.perf_counter() - started
    with suppress(ChildProcessError):
        while os.wait():  # for what it has left behind: the server of its processes, which ends when it does
            pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / runs, spent / runs, done.stdout


def dlcli(folder: Path, runs: int, *words: str, at_once: int = 1) -> Cost:
    """at_once: processes, among which the runs are shared out."""
    places = (f"run_dir={folder}", f"output_root={folder.parent}")
    wall, spent, _ = timed([sys.executable, "-m", "dlcli", "train", *RUN, *words, *places], runs)
    summaries = [json.loads(path.read_text()) for path in folder.rglob("summary.json")]
    assert len(summaries) == runs, f"{len(summaries)} of {runs} runs of {folder} ended well"
    return Cost(wall, spent, statistics.mean(summary["timing"]["training"] for summary in summaries) / at_once)


def by_hand(home: str, script: str, examples: Path, runs: int) -> Cost:
    words = [str(python(home)), str(Path(__file__).parent / "peers" / script), str(examples)]
    wall, spent, said = timed([*words, *map(str, (runs, STEPS, BATCH))], runs)
    found = json.loads(said)
    repeated = found.get("again", 0.0) / runs  # what it trained once more, to time it without its compiler
    return Cost(wall - repeated, spent - repeated, found["training"] / runs)


def mean(costs: list[Cost]) -> Cost:
    return Cost(*map(statistics.mean, zip(*costs, strict=True)))


def write_examples(path: Path) -> None:
    import numpy as np

    from dlcli import build, config

    batch = build.build(config.load_checked(RUN)).data.train.batch(slice(None))
    np.savez(path, inputs=batch.inputs.flatten(1).numpy(), targets=batch.targets.numpy())


def sweep(rounds: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans are left to this process, which counts their time
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as room:
        examples, folder = Path(room) / "examples.npz", Path(room) / "runs"
        write_examples(examples)
        for turn in range(rounds):

            def swept(launcher: str, runs: int, at_once: int = 1, turn: int = turn) -> Cost:
                words = ("-m", f"hydra/launcher={launcher}", f"seed=range({runs})")
                return dlcli(folder / f"{launcher}-{turn}", runs, *words, at_once=at_once)

            found = {
                "ensemble": swept("ensemble", RUNS, allowed_cores()),
                "separate commands": mean([dlcli(folder / f"{turn}-{run}", 1) for run in range(COMMANDS)]),
                "serial": swept("serial", SERIAL),
            }
            if python("torch").exists():
                alone = [by_hand("torch", "sweep_torch.py", examples, 1) for _ in range(COMMANDS)]
                found["scripts of plain torch"] = mean(alone)
                found["torch, stacked by hand"] = by_hand("torch", "sweep_torch.py", examples, RUNS)
            if python("jax").exists():
                found["JAX, vmap and scan"] = by_hand("jax", "sweep_jax.py", examples, RUNS)
            for name, cost in found.items():
                costs.setdefault(name, []).append(cost)
    ours = costs.pop("ensemble")
    print(f"ensemble: {spread([cost.wall for cost in ours])} s a run, {spread([cost.cpu for cost in ours])} s of CPU")
    print(f"\n{'the rate of the ensemble over that of':38} {'whole':>18} {'by CPU':>18} {'steps alone':>18}")
    for name, theirs in costs.items():
        pairs = list(zip(theirs, ours, strict=True))
        ratios = ([getattr(one, what) / getattr(own, what) for one, own in pairs] for what in Cost._fields)
        print(f"{name:38}", *(f"{spread(ratio):>18}" for ratio in ratios))


def spread(numbers: list[float]) -> str:
    return f"{statistics.median(numbers):.3g} ({min(numbers):.3g}-{max(numbers):.3g})"


def steps(rounds: int, size: int) -> None:
    import torch

    from dlcli import config as configs
    from dlcli.build import build
    from dlcli.training.ensemble import Stack
    from dlcli.training.loop import gather
    from dlcli.training.room import footprint
    from dlcli.training.signals import Stop
    from dlcli.training.step import take_step

    torch.set_num_threads(1)
    for name, words in MODELS.items():

        def members(words: tuple[str, ...] = words) -> list:
            given = [*words, "training.batch_size=100", "training.threads=1", "training.steps=1000"]
            return [build(configs.load_checked([*given, f"seed={seed}"], None)) for seed in range(size)]

        single, stack, ratios = members(), Stack(members()), []
        for run in stack.runs:
            run.data = stack.runs[0].data
        for turn in range(rounds + 1):
            started = time.process_time()
            for run in single:
                gather(run, take_step(run))
            alone = time.process_time() - started
            started = time.process_time()
            stack.advance(1, Stop())
            if turn:  # the first warms up
                ratios.append(alone / (time.process_time() - started))
        low, high = min(ratios), max(ratios)
        print(
            f"{name}: {footprint(single[0]).operations / 1e6:.1f} million operations a step, a stack of {size} is "
            f"{statistics.median(ratios):.2f} times as fast ({low:.2f} to {high:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("sweep", "steps"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=16, help="runs of a stack")
    asked = parser.parse_args()
    sweep(asked.rounds) if asked.what == "sweep" else steps(asked.rounds, asked.size)

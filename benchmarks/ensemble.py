"""A sweep of small runs as one program, against separate commands and the serial launcher; and what a stack gains.

    python benchmarks/ensemble.py sweep            # 32 runs of 40-100-100-10, 200 steps of 100, start included
    python benchmarks/ensemble.py steps            # a step of a stack against the same steps one by one

Each round runs separate commands, the ensemble and the serial sweep in turn; a ratio pairs what stands in one round.
Wall time is what a user waits for; CPU time, of all processes, is what remains comparable on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = ("dataset=mnist1d", "model=mlp", "training.steps=200", "training.batch_size=100", "decompose.budget=none")
RUNS, COMMANDS, SERIAL = 32, 2, 4  # a round: so many runs together, so many commands, so many in the serial sweep
MODELS = {
    "linear": ("model=linear",),
    "mlp 40-100-100-10": ("model=mlp",),
    "mlp with batch norm and dropout": ("model=mlp", "normalization=batch", "model.dropout=0.2"),
    "mlp 40-400-400-10": ("model=mlp", "model.width=400"),
    "cnn": ("model=cnn",),
    "lenet 8x8": ("model=lenet", "dataset=digits"),
    "vae 8x8": ("model=vae", "dataset=digits"),
    "resnet8": ("model=resnet", "model.depth=8"),
}


def command(*words: str) -> tuple[float, float]:
    """Wall and CPU seconds of one `dlcli train`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dlcli", "train", *RUN, *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, spent


def sweep(rounds: int) -> None:
    ratios: dict[str, list[tuple[float, float]]] = {"separate commands": [], "serial": []}
    with tempfile.TemporaryDirectory() as room:
        for turn in range(rounds):

            def each(launcher: str, runs: int, turn: int = turn) -> tuple[float, float]:
                words = ("-m", f"hydra/launcher={launcher}", f"seed=range({runs})")
                wall, spent = command(*words, f"run_dir={Path(room) / f'{launcher}-{turn}'}", f"output_root={room}")
                return wall / runs, spent / runs

            alone = [command(f"run_dir={room}/{turn}-{run}", f"output_root={room}") for run in range(COMMANDS)]
            found = {
                "separate commands": tuple(statistics.mean(part) for part in zip(*alone, strict=True)),
                "serial": each("serial", SERIAL),
            }
            together = each("ensemble", RUNS)
            print(f"round {turn + 1}: ensemble {together[0]:.3f} s a run ({together[1]:.3f} s of CPU)", flush=True)
            for name, (wall, spent) in found.items():
                ratios[name].append((wall / together[0], spent / together[1]))
                print(f"  {name}: {wall:.2f} s a run ({spent:.2f} s of CPU)", flush=True)
    for name, pairs in ratios.items():
        wall, spent = (sorted(part) for part in zip(*pairs, strict=True))
        print(
            f"ensemble against {name}: {statistics.median(wall):.1f} times the rate ({wall[0]:.1f} to {wall[-1]:.1f}), "
            f"by CPU {statistics.median(spent):.1f} ({spent[0]:.1f} to {spent[-1]:.1f})"
        )


def steps(rounds: int, size: int) -> None:
    import torch

    from dlcli import config as configs
    from dlcli.build import build
    from dlcli.training.ensemble import Stack
    from dlcli.training.loop import gather
    from dlcli.training.room import footprint
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
            stack.step()
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
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sweep(asked.rounds) if asked.what == "sweep" else steps(asked.rounds, asked.size)

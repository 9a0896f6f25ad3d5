"""What a step costs on an accelerator, what a stack of runs gains with its size, and a whole run of CIFAR-10.

Run: python benchmarks/gpu.py steps     [--tasks mlp lenet] [--modes eager bf16 captured] [--data FOLDER]
     python benchmarks/gpu.py ensemble  [--sizes 1 16 256 1024]
     python benchmarks/gpu.py cifar     [--seeds 10] [--data FOLDER]    FOLDER/cifar10 holds the official archive
     all take --device cuda | cpu and --rounds

Times of a step are those of CUDA events around a whole stretch of steps, so that the queue stays full. Modes take
turns, and a ratio pairs what stands in one round. `of peak` is the share of the rate of a matrix product in the same
precision, measured first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from race import MFLOP, spread
from tasks import STEPS, overrides

KINDS = ("captured", "compiled", "compiled and captured")  # of `program.prepare`
MODES = {"eager": (), "bf16": ("training.precision=bf16",)} | {kind: (f"steps={kind}",) for kind in KINDS}
MODES |= {f"{kind} bf16": MODES["bf16"] + MODES[kind] for kind in KINDS}
LEG = 50  # steps from one look at the runs of a stack to the next, as training.log_every
SMALL = ("dataset=mnist1d", "model=mlp", "training.batch_size=100", "training.steps=100000")
RECIPE = ("experiment=cifar10_speedrun", "decompose.budget=none", "pictures=never")


def timed(work: Callable[[], object], steps: int, device: str) -> float:
    """Seconds of one of so many calls."""
    import torch

    if device != "cuda":
        started = time.perf_counter()
        for _ in range(steps):
            work()
        return (time.perf_counter() - started) / steps
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(steps):
        work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / steps


def matrix_rate(device: str, bf16: bool) -> float:
    """FLOP/s of a product of two matrices of 4096 x 4096 (1024 on a CPU), the best of 10."""
    import torch

    side = 4096 if device == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    return 2 * side**3 / min(timed(lambda: a @ a, 5, device) for _ in range(10))


def built(words: list[str], device: str):
    from dlcli import build, config
    from dlcli.training import program

    kinds = [word.removeprefix("steps=") for word in words if word.startswith("steps=")]
    words = [word for word in words if not word.startswith("steps=")]
    run = build.build(config.load_checked([*words, f"training.device={device}"]))
    program.prepare(run, *kinds)
    run.model.train()
    return run


def step_of(run) -> Callable[[], None]:
    from dlcli.training.loop import close_window, gather
    from dlcli.training.step import take_step

    def step() -> None:
        gather(run, take_step(run))
        if run.state.step % run.training.log_every == 0:
            close_window(run)  # what the loop waits for an accelerator with

    return step


def steps(arguments: argparse.Namespace) -> None:
    from dlcli.errors import UsageError

    modes = list(dict.fromkeys(["eager", *arguments.modes]))
    peak = {bf16: matrix_rate(arguments.device, bf16) for bf16 in {"bf16" in mode for mode in modes}}
    for bf16, rate in peak.items():
        print(f"a product of matrices in {'bf16' if bf16 else 'fp32'} runs at {rate / 1e12:.2f} TFLOP/s", flush=True)
    for task in arguments.tasks:
        works = {}
        for mode in modes:
            try:
                works[mode] = step_of(built([*overrides(task, arguments.data), *MODES[mode]], arguments.device))
            except UsageError as fault:  # a recurrent net is not compiled
                print(f"{task}, {mode}: {fault.message}", flush=True)
                continue
            timed(works[mode], 5, arguments.device)  # warms up, and compiles
        seconds = {mode: [] for mode in works}
        for _ in range(arguments.rounds):
            for mode, work in works.items():
                seconds[mode].append(timed(work, STEPS[task], arguments.device))
        print(f"\n{task}: {arguments.rounds} rounds of {STEPS[task]} steps")
        print(f"{'':26} {'ms/step':>8} {'of eager':>20} of peak")
        for mode, found in seconds.items():
            ratios = [mine / eager for mine, eager in zip(found, seconds["eager"], strict=True)]
            share = MFLOP[task] * 1e6 / statistics.median(found) / peak["bf16" in mode]
            print(f"{mode:26} {1e3 * statistics.median(found):8.3f} {spread(ratios):>20} {share:7.1%}", flush=True)


def ensemble(arguments: argparse.Namespace) -> None:
    from dlcli.training.ensemble import Stack
    from dlcli.training.signals import Stop

    alone = step_of(built([*SMALL], arguments.device))
    timed(alone, 20, arguments.device)
    single = statistics.median(timed(alone, 100, arguments.device) for _ in range(arguments.rounds))
    print(f"one run, 40-100-100-10, batch 100: {1 / single:.0f} steps per second")
    for size in arguments.sizes:
        stack = Stack([built([*SMALL, f"seed={seed}"], arguments.device) for seed in range(size)])
        for run in stack.runs:
            run.data = stack.runs[0].data
        if arguments.device == "cuda":
            stack.capture()
        leg = partial(stack.advance, LEG, Stop())
        timed(leg, 1, arguments.device)
        each = statistics.median(timed(leg, 1, arguments.device) for _ in range(arguments.rounds)) / LEG / size
        print(f"a stack of {size:5}: {1 / each:9.0f} steps of a run per second, {single / each:6.1f} times", flush=True)


def cifar(arguments: argparse.Namespace) -> None:
    """Test accuracy and seconds of training of the shipped recipe, each seed a command of its own."""
    found = []
    with tempfile.TemporaryDirectory() as room:
        for seed in range(arguments.seeds):
            words = [*RECIPE, f"dataset.root={arguments.data / 'cifar10'}", f"training.device={arguments.device}"]
            folder = Path(room) / str(seed)
            command = [sys.executable, "-m", "dlcli", "train", *words, f"seed={seed}", f"run_dir={folder}"]
            subprocess.run([*command, f"output_root={room}"], check=True, stdout=subprocess.DEVNULL)
            summary = json.loads((folder / "summary.json").read_text())
            found.append((1 - summary["risks"]["test"]["error"]["value"], summary["timing"]["training"]))
            print(f"seed {seed}: accuracy {found[-1][0]:.4f}, {found[-1][1]:.1f} s of training", flush=True)
    accuracies, seconds = zip(*found, strict=True)
    reached = sum(accuracy >= 0.94 for accuracy in accuracies)
    print(f"mean accuracy {statistics.mean(accuracies):.4f}, {reached} of {len(found)} at 94 %, {spread(seconds)} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("steps", "ensemble", "cifar"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 4, 16, 64, 256, 1024])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLCLI_DATA"))
    arguments = parser.parse_args()
    if arguments.what != "ensemble":
        if arguments.data is None:
            raise SystemExit("--data FOLDER, or the environment variable DLCLI_DATA, says where the data lie")
        arguments.data = Path(arguments.data).absolute()
    {"steps": steps, "ensemble": ensemble, "cifar": cifar}[arguments.what](arguments)


if __name__ == "__main__":
    main()

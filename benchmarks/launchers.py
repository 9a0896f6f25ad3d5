"""Rate of short jobs: launchers of sweeps against the same runs as separate commands, one after the other.

    python benchmarks/launchers.py process ray --cluster

Half of the separate commands run before the sweeps and half after them, so that a machine whose other load drifts
favours nobody; the sweeps alternate over the rounds. Interpreters, imports and composition count: they are what a user
waits for. Prints seconds a job and the ratio to the separate commands.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

JOB = ("dataset=digits", "model=mlp", "training.epochs=5")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*words: str) -> float:
    """Seconds of one command."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dlcli.cli", "train", *JOB, *words],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


@contextmanager
def cluster(slots: int) -> Iterator[None]:
    """Ray on this machine, as it waits for sweeps where there is a cluster."""
    ray = Path(sys.executable).with_name("ray")
    starting = [ray, "start", "--head", f"--num-cpus={slots}", "--include-dashboard=false", "--disable-usage-stats"]
    subprocess.run(starting, stdout=subprocess.DEVNULL, check=True)
    try:
        yield
    finally:
        subprocess.run([ray, "stop"], stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("launchers", nargs="+", help="options of hydra/launcher")
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--slots", type=int, default=2, help="jobs at once, where the launcher is asked")
    parser.add_argument("--rounds", type=int, default=1, help="sweeps with each launcher")
    parser.add_argument("--cluster", action="store_true", help="Ray is running already; else each sweep starts it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as room, cluster(arguments.slots) if arguments.cluster else nullcontext():
        os.chdir(room)

        def separate(seeds: range) -> float:
            return sum(command(f"seed={seed}", f"run_dir=separate-{seed}") for seed in seeds)

        half = arguments.jobs // 2
        seconds = separate(range(half))
        sweeps = {launcher: 0.0 for launcher in arguments.launchers}
        for turn in range(arguments.rounds):
            for launcher in sweeps if turn % 2 == 0 else reversed(sweeps):
                words = ["-m", f"hydra/launcher={launcher}", f"seed=range({arguments.jobs})"]
                if launcher != "serial":
                    words.append(f"hydra.launcher.slots={arguments.slots}")
                if launcher == "ray" and arguments.cluster:
                    words.append("hydra.launcher.address=auto")
                sweeps[launcher] += command(*words, f"run_dir={Path(room) / f'{launcher}-{turn}'}")
        seconds += separate(range(half, 2 * half))
    one = seconds / (2 * half)
    print(f"separate commands: {one:.2f} s a job")
    for launcher, spent in sweeps.items():
        each = spent / arguments.rounds / arguments.jobs
        print(f"{launcher}: {each:.2f} s a job, {one / each:.2f} times the rate")


if __name__ == "__main__":
    main()

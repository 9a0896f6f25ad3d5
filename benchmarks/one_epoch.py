"""One epoch of the MLP on Fashion-MNIST as a whole process, from the shell to the shell: imports, data, steps, end.

    python benchmarks/one_epoch.py --rounds 5

dlcli reads the official files, standardizes, evaluates, saves and reports. The others are those of race.py: they get
the prepared numbers in one array, take the same steps and print a loss. The processes take turns, in an order drawn
anew for each round; a ratio pairs what stands in one round. Peers whose environment is not there are left out.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environments import python
from race import FIELD, PEERS, spread, write_examples
from tasks import overrides

STEPS = 468  # of 128 examples


def commands(data: Path, folder: Path, threads: int) -> dict[str, tuple[list[str], str]]:
    """What is run, and what it reads."""
    write_examples("mlp", data, folder / "examples.npz")
    short = ["training.epochs=1", "decompose.budget=none", f"training.threads={threads}"]
    settings = [*overrides("mlp", data), *short, f"output_root={folder}"]
    found = {"dlcli": ([sys.executable, "-m", "dlcli", "train", *settings], "")}
    for name, (file, home, _) in FIELD.items():
        if home and python(home).exists():
            words = [str(python(home)), str(PEERS / f"{file}.py"), "mlp", str(folder / "examples.npz")]
            found[name] = words, f"{STEPS}\n"
    return found


def seconds(words: list[str], said: str, variables: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, input=said, text=True, capture_output=True, check=True, env={**os.environ, **variables})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLCLI_DATA"), help="or the variable DLCLI_DATA")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data FOLDER, with fashion-mnist/ in it")
    limits = {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        field = commands(arguments.data, Path(folder), arguments.threads)
        taken: dict[str, list[float]] = {name: [] for name in field}
        for _ in range(arguments.rounds):
            for name in random.sample(list(field), len(field)):
                taken[name].append(seconds(*field[name], limits | FIELD[name][2]))
    print(f"{'':15} {'seconds':>24} {'of dlcli':>24}")
    for name, mine in taken.items():
        ratios = [a / b for a, b in zip(mine, taken["dlcli"], strict=True)]
        low, middle, high = min(mine), statistics.median(mine), max(mine)
        print(f"{name:15} {f'{middle:.2f} ({low:.2f}-{high:.2f})':>24} {spread(ratios):>24}", flush=True)


if __name__ == "__main__":
    main()

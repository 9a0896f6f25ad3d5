"""Peak memory of each process of one run: alone, on two ranks, and on two ranks with a part of the weights each.

    python benchmarks/sharding.py

On the CPU a part of rank 0's memory is that of its host: there it builds the run and puts checkpoints together. The
others have what a device would. Freed memory goes back to the system at once here, which glibc else delays.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

RUN = (
    *("dataset=mnist1d", "dataset.train_fraction=0.05", "model=mlp", "model.width=2200", "model.depth=16"),
    *("training.steps=3", "training.batch_size=64", "training.evaluate_every=100", "decompose.budget=none"),
)
WAYS = {
    "alone": (),
    "two ranks": ("training.devices=2",),
    "two ranks, parts": ("training.devices=2", "training.sharded=true"),
}


def peaks(root: int) -> dict[int, float]:
    """Megabytes that each process below `root` has had at most, by its number."""
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        if peak := re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{root}/status").read_text()):  # none of one that has ended
            found[root] = int(peak[1]) / 1e3
        for path in Path(f"/proc/{root}/task").glob("*/children"):
            for child in path.read_text().split():
                found |= peaks(int(child))
    return found


def main() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}
    with tempfile.TemporaryDirectory() as room:
        for number, (name, words) in enumerate(WAYS.items()):
            command = [sys.executable, "-m", "dlcli", "train", *RUN, *words, f"run_dir={room}/{number}"]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            seen: dict[int, float] = {}
            while process.poll() is None:
                seen |= peaks(process.pid)
                time.sleep(0.05)
            assert process.returncode == 0
            largest = sorted(seen.items(), key=lambda each: each[1])[-2 if words else -1 :]
            seen = dict(sorted(largest))  # ranks in their order; what has started them is small
            print(f"{name:18}", ", ".join(f"{megabytes:,.0f} MB" for megabytes in seen.values()), flush=True)


if __name__ == "__main__":
    main()

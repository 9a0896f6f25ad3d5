"""How fast dlcli trains beside other tools: all alive, taking turns on the same data with the same settings.

Run: python benchmarks/environments.py                      once: an environment for each peer
     python benchmarks/race.py [--tasks mlp lenet] [--peers plain dlcli Lightning] [--rounds 15] [--threads 1]
                               [--data FOLDER]              by default the environment variable DLCLI_DATA

In a round every peer makes the same number of steps, one after the other and each time in another order. Its ratio is
that of its seconds to those of the hand-written loop (`peers/plain.py`) of the same round. Prints the median and the
quartiles of the ratios, in CPU time, which forgives a busy machine, and in wall time; peak memory; the last loss, which
shows that all do the same work; and the share of the machine's measured matrix rate.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from environments import python

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
from tasks import SHAPES, STEPS, overrides  # noqa: E402

# name: (file, environment, further variables); dlcli runs in the environment of this script
FIELD = {
    "plain": ("plain", "torch", {}),
    "dlcli": ("with_dlcli", "", {}),
    "dlcli bf16": ("with_dlcli", "", {"DLCLI_SETTINGS": "training.precision=bf16"}),
    "tutorial": ("tutorial", "torch", {}),
    "accelerate": ("accelerated", "huggingface", {}),
    "Lightning": ("with_lightning", "lightning", {}),
    "skorch": ("with_skorch", "skorch", {}),
    "HF Trainer": ("trainer", "huggingface", {}),
    "Keras on torch": ("with_keras", "keras_torch", {"KERAS_BACKEND": "torch"}),
    "Keras on JAX": ("with_keras", "keras_jax", {"KERAS_BACKEND": "jax"}),
    "JAX scan": ("jax_scan", "jax", {}),
    "scikit-learn": ("with_sklearn", "torch", {}),
}
ONLY = {"scikit-learn": {"mlp"}}
# Matrix products of one step: forward, and backward without the gradient of the first inputs.
MFLOP = {"mlp": 155, "lenet": 199, "lstm": 1615, "transformer": 3960}


class Peer:
    def __init__(self, name: str, task: str, data: Path, examples: Path, threads: int):
        file, home, variables = FIELD[name]
        limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        eigen = (
            f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
        )
        environment = {**os.environ, **limits, "XLA_FLAGS": eigen, "DLCLI_DATA": str(data), **variables}
        command = [str(python(home)) if home else sys.executable, str(PEERS / f"{file}.py"), task, str(examples)]
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115, it lives as long as the process
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment
        )
        self.versions = self.read()["versions"]

    def go(self, steps: int) -> dict[str, float]:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise SystemExit(f"{self.name} ended: {self.log.read()[-2000:]}")
        return json.loads(line)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def write_examples(task: str, data: Path, path: Path) -> None:
    from dlcli import build, config

    batch = build.build(config.load_checked(overrides(task, data))).data.train.batch(slice(None))
    np.savez(path, inputs=batch.inputs.reshape(SHAPES[task]).numpy(), targets=batch.targets.numpy())


def race(task: str, names: list[str], data: Path, rounds: int, threads: int, rate: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder) / "examples.npz"
        write_examples(task, data, examples)
        peers = [Peer(name, task, data, examples, threads) for name in names if task in ONLY.get(name, {task})]
        answers = {peer.name: [] for peer in peers}
        for number in range(rounds + 1):
            for peer in random.sample(peers, len(peers)):
                answer = peer.go(STEPS[task])
                if number:  # the first warms up, and compiles
                    answers[peer.name].append(answer)
        for peer in peers:
            peer.end()
    base = answers["plain"]
    print(f"\n{task}: {rounds} rounds of {STEPS[task]} steps, {threads} threads, load {os.getloadavg()[0]:.1f}")
    print(
        f"{'':15} {'CPU ratio':>20} {'wall ratio':>20} {'ms/step':>8} {'of peak':>8} {'MiB':>6} {'loss':>6}  versions"
    )
    for peer in peers:
        mine = answers[peer.name]
        ratios = (spread([a[k] / b[k] for a, b in zip(mine, base, strict=True)]) for k in ("cpu", "wall"))
        milliseconds = 1e3 * statistics.median(answer["wall"] for answer in mine) / STEPS[task]
        share = MFLOP[task] / milliseconds / rate
        versions = ", ".join(f"{name} {version}" for name, version in peer.versions.items())
        print(
            f"{peer.name:15}", *(f"{ratio:>20}" for ratio in ratios), f"{milliseconds:8.2f} {share:8.0%}",
            f"{mine[-1]['memory']:6.0f} {mine[-1]['loss']:6.2f}  {versions}", flush=True,
        )  # fmt: skip


def spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.2f}-{high:.2f})"


def matrix_rate(threads: int) -> float:
    """GFLOP/s of a product of two matrices of 1024 x 1024, the best of 20."""
    import torch  # late: `--help` needs none

    torch.set_num_threads(threads)
    a, seconds = torch.randn(1024, 1024), []
    for _ in range(20):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), choices=list(STEPS))
    usual = [name for name in FIELD if name != "dlcli bf16"]
    parser.add_argument("--peers", nargs="+", default=usual, choices=FIELD, metavar="NAME", help=", ".join(FIELD))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLCLI_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None:
        raise SystemExit("--data FOLDER, or the environment variable DLCLI_DATA, says where the data lie")
    names = list(dict.fromkeys(["plain", *arguments.peers]))
    rate = matrix_rate(arguments.threads)
    print(f"a product of matrices of 1024 runs at {rate:.0f} GFLOP/s")
    for task in arguments.tasks:
        race(task, names, Path(arguments.data).absolute(), arguments.rounds, arguments.threads, rate)


if __name__ == "__main__":
    main()

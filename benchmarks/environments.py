"""An environment of its own for each kind of peer, beside the benchmarks: python benchmarks/environments.py [NAME ...]

About 6 GB and ten minutes. torch goes first and alone, so that nothing replaces it by a build for CUDA.
"""

from __future__ import annotations

import argparse
import subprocess
import venv
from pathlib import Path

FOLDER = Path(__file__).parent / "environments"
TORCH = "torch==2.13.0"
PACKAGES = {
    "torch": [TORCH, "numpy", "scikit-learn==1.9.1"],
    "lightning": [TORCH, "lightning==2.6.6"],
    "skorch": [TORCH, "skorch==1.4.0"],
    "huggingface": [TORCH, "transformers==5.23.0", "accelerate==1.15.0"],
    "keras_torch": [TORCH, "keras==3.15.1"],
    "keras_jax": ["keras==3.15.1", "jax==0.10.2"],
    "jax": ["jax==0.10.2", "optax==0.2.8"],
}


def python(name: str) -> Path:
    """The interpreter of an environment, whether or not it is there."""
    return FOLDER / name / "bin" / "python"


def make(name: str) -> None:
    venv.create(FOLDER / name, with_pip=True, clear=True)
    first = [package for package in PACKAGES[name] if package == TORCH]
    for packages in filter(None, (first, PACKAGES[name])):
        subprocess.run([python(name), "-m", "pip", "install", "--quiet", *packages], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them, or some of {', '.join(PACKAGES)}")
    names = parser.parse_args().names
    if unknown := set(names) - set(PACKAGES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    for wanted in names or PACKAGES:
        print(wanted, flush=True)
        make(wanted)

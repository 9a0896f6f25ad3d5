"""What a run has left, number by number."""

import numpy as np
from safetensors.numpy import load_file


def outcome(answer):
    """Every saved number of a run."""
    assert answer.code == 0, answer.err
    weights = load_file(max((answer.run_dir / "checkpoints").glob("step-*")) / "model.safetensors")
    losses = {path.name: np.load(path) for path in sorted((answer.run_dir / "losses").glob("*.npy"))}
    return {**weights, **losses}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)

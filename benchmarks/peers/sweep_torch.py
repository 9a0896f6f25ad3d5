"""Runs of 40-100-100-10 by hand, as products of stacked matrices: python sweep_torch.py EXAMPLES.npz RUNS STEPS BATCH

One run is the script that one writes without dlcli. Prints the seconds of its training alone, and the mean last loss.
"""

import json
import sys
import time
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import cross_entropy

SIZES = (40, 100, 100, 10)


def main(path: str, runs: int, steps: int, batch: int) -> None:
    with np.load(path) as data:
        inputs, targets = torch.from_numpy(data["inputs"]), torch.from_numpy(data["targets"])
    weights = [torch.randn(runs, a, b).mul_((2 / a) ** 0.5).requires_grad_() for a, b in pairwise(SIZES)]
    biases = [torch.zeros(runs, 1, b, requires_grad=True) for b in SIZES[1:]]
    began = time.perf_counter()
    rule = torch.optim.Adam([*weights, *biases], lr=0.003, fused=True)
    epoch = len(inputs) // batch
    for step in range(steps):
        if step % epoch == 0:
            order = torch.stack([torch.randperm(len(inputs)) for _ in range(runs)])
        chosen = order[:, step % epoch * batch :][:, :batch]
        scores = inputs[chosen]
        for weight, bias in zip(weights, biases, strict=True):
            scores = torch.baddbmm(bias, scores.relu() if weight is not weights[0] else scores, weight)
        loss = cross_entropy(scores.flatten(0, 1), targets[chosen].flatten(), reduction="sum") / batch
        loss.backward()
        rule.step()
        rule.zero_grad(set_to_none=True)
    print(json.dumps({"training": time.perf_counter() - began, "loss": loss.item() / runs}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

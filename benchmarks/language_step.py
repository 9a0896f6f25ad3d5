"""What dlcli's step costs over a hand-written one on the small character model: same weights' sizes, same windows.

Run: python benchmarks/language_step.py [--rounds 5] [--threads 1] [--steps 40]

Both train the transformer of experiment=shakespeare_char (4 blocks, width 128, windows of 64, 12 a step) on the text
that comes with Python. The hand-written loop is a module of torch.nn layers and fused AdamW of torch.optim with its
gradients clipped; dlcli's figure is `fit` without evaluation and checkpoints. They take turns in one process.
Prints milliseconds per step and the ratio of each round, and the median ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from dlcli import build, config
from dlcli.training.loop import fit
from dlcli.training.run import State
from dlcli.training.signals import Stop

WIDTH, DEPTH, HEADS, WINDOW, BATCH = 128, 4, 4, 64, 12


class Silence:
    """A console and a journal that keep nothing."""

    def advance(self, *_):
        pass

    evaluated = log = scalar = image = flush = advance


class PlainBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        heads = (part.view(batch, length, HEADS, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, 2))
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class PlainModel(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(PlainBlock() for _ in range(DEPTH))), nn.LayerNorm(WIDTH, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


def plain_loop(model, optimizer, text, steps):
    started = time.perf_counter()
    for _ in range(steps):
        starts = torch.randint(len(text) - WINDOW, (BATCH,))
        windows = torch.stack([text[start : start + WINDOW + 1] for start in starts.tolist()])
        scores = model(windows[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - started


def dlcli_loop(run):
    run.state = State()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        fit(run, Path(folder), {}, Silence(), Silence(), Stop())
        elapsed = time.perf_counter() - started
    return elapsed - run.state.seconds["evaluation"] - run.state.seconds["checkpoint"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    overrides = ["experiment=shakespeare_char", f"training.steps={arguments.steps}", "checkpoint.every=1000000"]
    overrides += ["dataset.train_fraction=0.1"]  # what fit evaluates at its end is not timed, and need not be long
    run = build.build(config.load_checked(overrides))
    torch.set_num_threads(arguments.threads)
    model = PlainModel(len(run.data.spec.vocabulary.tokens))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    text = run.data.train.text.long()
    plain_loop(model, optimizer, text, 5)
    dlcli_loop(run)
    ratios = []
    for number in range(arguments.rounds):
        plain, ours = plain_loop(model, optimizer, text, arguments.steps), dlcli_loop(run)
        ratios.append(ours / plain)
        figures = [
            f"{name} {1e3 * seconds / arguments.steps:.1f} ms" for name, seconds in (("plain", plain), ("dlcli", ours))
        ]
        print(f"round {number}: {', '.join(figures)} per step, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}  (min {min(ratios):.3f}, max {max(ratios):.3f})")


if __name__ == "__main__":
    main()

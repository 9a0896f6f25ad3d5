"""`dlcli lr-find`: which learning rates a model can be trained with, in one short test."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.verbs import arguments as shared

if TYPE_CHECKING:
    from dlcli.range_test import Range

LINES = 12  # of the table


def add_arguments(parser: ArgumentParser) -> None:
    shared.add_composition(parser)
    parser.add_argument("--low", type=float, default=1e-6, metavar="LR", help="first rate: 1e-6")
    parser.add_argument("--high", type=float, default=10.0, metavar="LR", help="last rate: 10")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps from one to the other: 300")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="outputs/lr-find.png")


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    if not (0 < arguments.low < arguments.high < math.inf and arguments.steps >= 2):
        raise UsageError("--low, --high and --steps make no range", "use 0 < LOW < HIGH and 2 steps or more")
    config = configs.load_checked(arguments.overrides, arguments.config_dir)
    from dlcli.range_test import range_test

    found = range_test(config, arguments.low, arguments.high, arguments.steps)
    picture = arguments.picture or Path(config["output_root"]) / "lr-find.png"
    draw(found, picture)
    if arguments.format == "json":
        columns = {name: getattr(found, name).tolist() for name in ("rates", "losses", "means")}
        facts = {"steepest": found.steepest, "least": found.least, "diverged": found.diverged, "picture": str(picture)}
        print(json.dumps(columns | facts, indent=2))
        return 0
    print("learning rate    mean loss")
    for i in range(0, len(found.rates), max(1, len(found.rates) // LINES)):
        print(f"{found.rates[i]:<16.3g} {found.means[i]:.4g}")
    end = f"it diverges at {found.rates[-1]:.2g}" if found.diverged else "no rate of the range diverges"
    print(f"\nfalls fastest at {found.steepest:.2g}, is least at {found.least:.2g}, {end}")
    print(f"picture  {configs.shown(picture.absolute())}")
    words = " ".join([*arguments.overrides, f"optimizer.lr={found.steepest:.2g}"])
    print(f"train    dlcli train {words}")
    return 0


def draw(found: Range, path: Path) -> None:
    from matplotlib.figure import Figure

    from dlcli.training.durable import storage

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(found.rates, found.losses, color="0.8", label="loss of the batch")
    axes.semilogx(found.rates, found.means, label="running mean")
    axes.axvline(found.steepest, color="C2", linestyle="--", label=f"falls fastest, {found.steepest:.2g}")
    low, high = found.means.min(), found.means[: found.means.argmin() + 1].max()
    axes.set(xlabel="learning rate", ylabel="training loss", ylim=(low - 0.1 * (high - low), high + 0.5 * (high - low)))
    axes.legend()
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)

"""Pictures of a search over settings, from search.json, which the sweeper leaves. Import late, as `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcli.report.charts import CYCLE, LOGARITHMIC, figure, legend
from dlcli.report.figures import escape

Search = Mapping[str, Any]
LOSS = "validation loss"


def complete(search: Search) -> list[Mapping[str, Any]]:
    return [trial for trial in search["trials"] if trial["state"] == "complete"]


def history(search: Search) -> Figure | None:
    done = [(number, trial["loss"]) for number, trial in enumerate(search["trials"]) if trial["state"] == "complete"]
    if not done:
        return None
    made, axes = figure(2.8)
    numbers, losses = zip(*done, strict=True)
    axes.plot(numbers, losses, "o", color=CYCLE[0], markersize=4, label="trials")
    axes.step(numbers, np.minimum.accumulate(losses), where="post", color=CYCLE[1], label="best so far")
    ended = [(n, t["loss"]) for n, t in enumerate(search["trials"]) if t["state"] == "pruned" and t["loss"] is not None]
    if ended:
        axes.plot(*zip(*ended, strict=True), "x", color="#777777", markersize=4, label="ended early")
    loss_axis(axes, losses)
    axes.set_xlabel("trial")
    legend(made, 3)
    return made


def loss_axis(axes: Axes, losses: Sequence[float]) -> None:
    if min(losses) > 0 and max(losses) / min(losses) >= LOGARITHMIC:
        axes.set_yscale("log")
    axes.set_ylabel(LOSS)


def against(search: Search, key: str) -> Figure | None:
    """The slice along one setting."""
    done = [trial for trial in complete(search) if key in trial["settings"]]
    if not done:
        return None
    made, axes = figure(2.4)
    values, losses = [trial["settings"][key] for trial in done], [trial["loss"] for trial in done]
    kind = search["settings"][key]
    shades = colormaps["Blues"](0.35 + 0.65 * np.arange(len(done)) / len(done))  # later ones are darker
    axes.scatter(list(map(str, values)) if kind == "word" else values, losses, color=shades, s=16)
    if kind == "log":
        axes.set_xscale("log")
    loss_axis(axes, losses)
    axes.set_xlabel(f"{escape(key)} (later trials are darker)")
    return made


def parallel(search: Search) -> Figure | None:
    """An axis for each setting from its least to its greatest value that was tried, and one for the loss."""
    done = complete(search)
    if len(done) < 2 or len(search["settings"]) < 2:
        return None
    made, axes = figure(3.0)
    kinds = {**search["settings"], LOSS: "number"}
    columns = [[trial["settings"].get(key) for trial in done] for key in search["settings"]]
    columns.append([trial["loss"] for trial in done])
    heights = [places(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)]
    ranks = np.argsort(np.argsort(columns[-1])) / (len(done) - 1)
    for line, rank in sorted(zip(np.transpose(heights), ranks, strict=True), key=lambda pair: -pair[1]):
        axes.plot(range(len(kinds)), line, color=colormaps["viridis"](0.9 * rank), linewidth=1)
    for place, (column, kind) in enumerate(zip(columns, kinds.values(), strict=True)):
        axes.axvline(place, color="#999999", linewidth=0.8)
        names = sorted(set(map(str, column))) if kind == "word" else [f"{min(column):.3g}", f"{max(column):.3g}"]
        for height, name in zip(np.linspace(0, 1, len(names)) if len(names) > 1 else [0.5], names, strict=True):
            axes.text(place, height, f" {escape(name)}", fontsize=7, va="center")
    axes.set_xticks(range(len(kinds)), list(map(escape, kinds)), fontsize=8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return made


def places(column: Sequence[Any], kind: str) -> np.ndarray:
    """Where the values of a setting lie on its axis, from 0 to 1."""
    if kind == "word":
        names = sorted(set(map(str, column)))
        numbers = np.array([names.index(str(value)) for value in column], dtype=float)
    else:
        numbers = np.log(column) if kind == "log" else np.array(column, dtype=float)
    spread = np.ptp(numbers)
    return (numbers - numbers.min()) / spread if spread else np.full(len(column), 0.5)


def importance(search: Search) -> Figure | None:
    shares = sorted(search["importance"].items(), key=lambda pair: pair[1])
    if len(shares) < 2:
        return None
    made, axes = figure(0.9 + 0.3 * len(shares))
    names, values = zip(*shares, strict=True)
    axes.barh(list(map(escape, names)), values, color=CYCLE[0])
    axes.set(xlabel=f"importance for the {LOSS}", xlim=(0, 1))
    return made

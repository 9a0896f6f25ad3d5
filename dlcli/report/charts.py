"""Pictures of several runs, and of the way of one: from plain numbers, for a web page. Import late, as `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcli.report import wording
from dlcli.report.figures import COLOURS, escape, hatched

WIDE = 5.2  # inches; a phone shows half of that, and the letters can still be read
CYCLE = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#bbbbbb")  # Tol's bright set
MOST_CURVES, MOST_BINS = 12, 40
INTERPOLATED = 1e-6  # of the greatest train risk
LOGARITHMIC = 30  # ratio of the ends of a swept number, or of the losses, above which its axis is logarithmic


def figure(height: float) -> tuple[Figure, Axes]:
    made = Figure(figsize=(WIDE, height), layout="constrained")
    axes = made.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


def legend(made: Figure, columns: int = 2) -> None:
    made.legend(loc="outside upper center", ncols=columns, fontsize=8, frameon=False)


def bars(groups: Sequence[Mapping[str, Any]], metric: str) -> Figure | None:
    """One bar per group: the terms end to end up to the test risk, averaged over seeds; hatched where the first two are
    not told apart. The error bar is the interval of the test risk over the seeds.
    """
    kept = [group for group in groups if metric in group["terms"]]
    if not kept:
        return None
    made, axes = figure(1.1 + 0.42 * len(kept))
    for position, group in enumerate(kept):
        terms = group["terms"][metric]
        low, high = terms["approximation"]
        train, test = terms["train"]["mean"], terms["test"]["mean"]
        start = min(0.0, high) if low is None else low
        if low is not None and low > 0:
            axes.barh(position, low, color=COLOURS["approximation"])
        axes.barh(position, high - start, left=start, **hatched())
        axes.barh(position, train - high, left=high, color=COLOURS["optimization"])
        height = 0.8 if test >= train else 0.3  # a negative gap runs back from the train risk
        axes.barh(position, test - train, left=train, height=height, color=COLOURS["generalization"])
        if terms["test"]["ci"]:
            below, above = terms["test"]["ci"]
            axes.errorbar([test], [position], xerr=[[test - below], [above - test]], color="black", capsize=3)
    axes.set_yticks(range(len(kept)), [escape(group["label"]) for group in kept], fontsize=8)
    axes.set_ylim(len(kept) - 0.5, -0.5)
    axes.set_xlabel(risk_name("test", metric, kept[0]["terms"][metric]["unit"]))
    for name, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=name)
    axes.barh(0, 0, label="approximation or optimization", **hatched())
    legend(made)
    return made


def risk_name(split: str, metric: str, unit: str) -> str:
    return f"{split} error" if unit == "fraction" else f"{split} {metric}{wording.unit_name(unit)}"


def ladder(records: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """The best upper bound of min_F L_train so far, against the seconds spent on looking for it; the lower end dashed.

    A curve that still falls at its end is an interval that is still wrong on its upper side.
    """
    made, axes = figure(2.6)
    drawn = 0
    for name, record in list(records.items())[: len(CYCLE)]:
        tried = [bound for bound in record["approx_train"]["bounds_tried"] if bound["side"] == "upper"]
        spent = np.cumsum([0.0, *(bound["seconds"] for bound in tried)])
        best = np.minimum.accumulate([record["train"]["value"], *(bound["value"] for bound in tried)])
        colour = CYCLE[drawn % len(CYCLE)]
        axes.step(spent, best, where="post", color=colour, label=escape(name), marker=".", markersize=4, linewidth=1.2)
        low = record["approx_train"]["interval"][0]
        if low is not None:
            axes.axhline(low, color=colour, linestyle="--", linewidth=0.8)
        drawn += spent[-1] > 0
    if not drawn:
        return None
    axes.set(xlabel="seconds spent on references", ylabel="best train risk found")
    legend(made)
    return made


def steps(histories: Mapping[str, Sequence[Mapping[str, float]]], metric: str, ends: Sequence[float | None]) -> Any:
    """Train and validation risk against the step; the band holds min_F L_train. ends: of that interval."""
    made, axes = figure(2.8)
    drawn = False
    for number, (name, history) in enumerate(list(histories.items())[:MOST_CURVES]):
        for split, style in (("train", "-"), ("validation", ":")):
            points = [(entry["step"], entry[key]) for entry in history if (key := f"risk/{split}/{metric}") in entry]
            if points:
                label = (
                    f"{escape(name)} {split}" if len(histories) < 4 else (escape(name) if split == "train" else None)
                )
                axes.plot(
                    *zip(*points, strict=True), style, color=CYCLE[number % len(CYCLE)], label=label, linewidth=1.2
                )
                drawn = True
    if not drawn:
        return None
    low, high = ends
    if high is not None:
        axes.axhspan(
            0.0 if low is None else low, high, color=COLOURS["approximation"], alpha=0.15, label="min_F L_train"
        )
    axes.set(xlabel="step", ylabel="risk")
    legend(made)
    return made


def swept(number: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], metric: str) -> Figure | None:
    """The three terms and the two risks against a number that was swept, with the bands of the seeds."""
    kept = []
    for series in number["series"]:
        pairs = zip(series["groups"], series["values"], strict=True)
        points = [(groups[i]["terms"][metric], value) for i, value in pairs if metric in groups[i]["terms"]]
        if len(points) > 1:  # of what failed there is nothing to draw
            kept.append((series["label"], *zip(*points, strict=True)))
    if not kept:
        return None
    made = Figure(figsize=(WIDE, 2.6 * len(kept)), layout="constrained")
    rows = np.atleast_1d(made.subplots(len(kept), 1, sharex=True))
    for axes, (label, terms, x) in zip(rows, kept, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        highs = [term["approximation"][1] for term in terms]
        lows = [0.0 if term["approximation"][0] is None else term["approximation"][0] for term in terms]
        axes.fill_between(
            x, lows, highs, color=COLOURS["approximation"], alpha=0.3, label="approximation, its interval"
        )
        band(axes, x, [term["optimization"][0] for term in terms], COLOURS["optimization"], "optimization, at least")
        band(axes, x, [term["generalization"] for term in terms], COLOURS["generalization"], "generalization")
        band(axes, x, [term["train"] for term in terms], "#777777", "train risk", "--")
        band(axes, x, [term["test"] for term in terms], "black", "test risk")
        start = interpolated([term["train"]["mean"] for term in terms], x)
        if start is not None:
            axes.axvline(start, color="#555555", linestyle=":", linewidth=1, label="interpolation from here on")
        if min(x) > 0 and max(x) / min(x) >= LOGARITHMIC:
            axes.set_xscale("log")
        axes.set_ylabel(escape(label) if len(kept) > 1 else risk_name("", metric, terms[0]["unit"]).strip())
    axes.set_xlabel(number["key"])
    named = {name: handle for axes in rows for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    made.legend(named.values(), named.keys(), loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return made


def interpolated(train: Sequence[float], x: Sequence[float]) -> float | None:
    """The value from which on the train risk is nothing, where a test risk may rise before and fall behind; None where
    that is so nowhere, or everywhere. It may lie at the end of the largest values, or of the smallest.
    """
    none = [risk <= INTERPOLATED * max(train) for risk in train]
    count = sum(none)
    if none == sorted(none) and 0 < count < len(none):
        return x[-count]
    return x[count - 1] if none == sorted(none, reverse=True) and 0 < count < len(none) else None


def band(axes: Axes, x: Sequence[float], values: Sequence[Any], colour: str, label: str, style: str = "-") -> None:
    axes.plot(x, [value["mean"] for value in values], style, color=colour, label=label, marker="o", markersize=3)
    if all(value["ci"] for value in values):
        axes.fill_between(
            x, *zip(*(value["ci"] for value in values), strict=True), color=colour, alpha=0.15, linewidth=0
        )


def forest(comparisons: Sequence[Mapping[str, Any]], quantity: str) -> Figure | None:
    """Paired differences, first minus second, with their t intervals over seeds; filled where the test decides."""
    kept = [each for each in comparisons if each["quantity"] == quantity and each.get("mean") is not None]
    if not kept:
        return None
    made, axes = figure(0.9 + 0.42 * len(kept))
    for position, each in enumerate(kept):
        decided = each["verdict"] in ("lower", "higher")
        error = None
        if each["ci"]:
            error = [[each["mean"] - each["ci"][0]], [each["ci"][1] - each["mean"]]]
        face = "black" if decided else "white"
        axes.errorbar([each["mean"]], [position], xerr=error, fmt="o", color="black", mfc=face, capsize=3, linewidth=1)
    axes.axvline(0, color="#999999", linewidth=0.8)
    axes.set_yticks(range(len(kept)), [f"{escape(e['first'])} minus\n{escape(e['second'])}" for e in kept], fontsize=8)
    axes.set_ylim(len(kept) - 0.5, -0.5)
    axes.set_xlabel(f"difference of {quantity}, paired by seed")
    return made


def histogram(train: np.ndarray, test: np.ndarray, unit: str, floor: float | None) -> Figure:
    """Losses of single examples; the floor is the lower end of min_F L_train, a mean and no bound of one of them."""
    made, axes = figure(2.4)
    both = np.concatenate([train, test])
    positive = both[both > 0]
    if len(positive) == len(both) and np.quantile(both, 0.99) / np.quantile(both, 0.01) > LOGARITHMIC:
        edges = np.geomspace(both.min(), both.max(), MOST_BINS)
        axes.set_xscale("log")
    else:
        edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-12), MOST_BINS)
    for values, name, colour in ((train, "train", CYCLE[0]), (test, "test", CYCLE[1])):
        axes.hist(
            values, edges, weights=np.full(len(values), 1 / len(values)), histtype="step", color=colour, label=name
        )
    if floor is not None and floor > edges[0]:
        axes.axvline(
            floor, color=COLOURS["approximation"], linestyle="--", linewidth=0.8, label="min_F L_train, at least"
        )
    axes.set(xlabel=f"loss of an example{wording.unit_name(unit)}", ylabel="share of the examples")
    legend(made, 3)
    return made

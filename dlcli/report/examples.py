"""Pictures of a data set: some of its examples, its points in the plane, or its commonest tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dlcli.report.figures import draw_input, escape

COLUMNS = 8
GREATEST = 24  # examples of a gallery
FEATURES = 24  # of a table
SHOWN_APART = 10  # classes
BINS = 20


def examples(inputs: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Points of the plane as a scatter plot, one number against its target, rows of a table by their features, signals
    and images as a gallery.

    inputs: (n, features), (n, channels, length) or (n, channels, height, width); targets: classes (n,) or (n, targets).
    """
    if inputs.shape[1:] == (2,) and classes:
        return scatter(inputs, targets, classes)
    if inputs.shape[1:] == (1,) and targets.shape[1:] == (1,):
        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(inputs[:, 0], targets[:, 0], ".", markersize=4)
        axes.set(xlabel="input", ylabel="target")
        return figure
    if inputs.ndim == 2:
        return histograms(inputs, targets if classes else None, classes)
    names = [escape(classes[each]) if classes else ", ".join(f"{value:.3g}" for value in each[:3]) for each in targets]
    return gallery(inputs[:GREATEST], names[:GREATEST])


def histograms(rows: np.ndarray, labels: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """How each feature is distributed, in each class where there are few of them."""
    features = rows.T[:FEATURES]
    figure = Figure(figsize=(12, 2.2 * -(-len(features) // 4)), layout="constrained")
    axes = figure.subplots(-(-len(features) // 4), 4, squeeze=False).flat
    apart = labels is not None and len(classes) <= SHOWN_APART
    for number, (cell, values) in enumerate(zip(axes, features, strict=False)):
        parts = [values[labels == label] for label in range(len(classes))] if apart else [values]
        edges = np.histogram_bin_edges(values, BINS)
        cell.hist(parts, edges, histtype="step", label=[escape(name) for name in classes] if apart else None)
        cell.set_title(f"feature {number}", fontsize=8)
        cell.tick_params(labelsize=7)
    for cell in list(axes)[len(features) :]:
        cell.set_axis_off()
    if apart:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right")
    return figure


def gallery(inputs: np.ndarray, titles: Sequence[str]) -> Figure:
    rows = -(-len(inputs) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for cell, example, title in zip(axes.flat, inputs, titles, strict=False):
        draw_input(cell, example)
        cell.set_title(title, fontsize=8)
    return figure


def scatter(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(classes):
        chosen = points[labels == number]
        axes.plot(chosen[:, 0], chosen[:, 1], ".", markersize=4, label=escape(name))
    axes.set_aspect("equal")
    axes.legend(fontsize=8)
    return figure


def token_bars(counts: Mapping[str, int]) -> Figure:
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(counts)), list(counts.values()))
    axes.set_xticks(range(len(counts)), [escape(repr(token)[1:-1]) for token in counts], fontsize=7)
    axes.set(ylabel="occurrences in train", title=f"the {len(counts)} commonest tokens")
    return figure

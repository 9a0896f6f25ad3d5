"""Pictures of one run, drawn without a display. Matplotlib takes half a second to import: import this module late."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WRITTEN_CELLS = 15  # classes up to which the cells of a confusion matrix carry their counts
WRITTEN_FEATURES = 8  # features of a table row that are written out
GREATEST_LISTED = 12  # numbers per example up to which features are text, and above which they are a curve
COLOURS = {"approximation": "#4477aa", "optimization": "#ccbb44", "generalization": "#aa3377"}  # Tol's bright set


def pixels(figure: Figure) -> np.ndarray:
    """The figure as (height, width, 3) uint8, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # as it has found it, so that `svg` need not lay it out again
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def svg(figure: Figure) -> bytes:
    """The figure as a stand-alone vector image, for a web page."""
    buffer, dpi = io.BytesIO(), figure.dpi
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # `savefig` would draw twice
    figure.dpi = dpi
    return buffer.getvalue()


def confusion(targets: np.ndarray, decisions: np.ndarray, classes: Sequence[str]) -> Figure:
    """True classes down, decided classes across; colour is the share of the true class, so rare classes show.

    targets, decisions: (n,) integer classes.
    """
    size = len(classes)
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (targets, decisions), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(12.0, 2.5 + 0.45 * size)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="decided", ylabel="true", title=f"{np.trace(counts)} of {counts.sum()} right")
    if size <= 40:
        axes.set_xticks(range(size), list(map(escape, classes)), rotation=90)
        axes.set_yticks(range(size), list(map(escape, classes)))
    if size <= WRITTEN_CELLS:
        for row, column in np.ndindex(size, size):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return figure


def misclassified(
    inputs: np.ndarray, targets: np.ndarray, decisions: np.ndarray, classes: Sequence[str], columns: int = 4
) -> Figure:
    """Each input with the class it has and the class it was given.

    inputs: (n, channels, height, width) images, (n, channels, length) signals or (n, features) rows; n of 1 or more.
    """
    rows = -(-len(inputs) // columns)
    # Fixed margins, because a layout that measures sixteen pictures takes a second.
    figure = Figure(figsize=(2.0 * columns, 2.4 * rows))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.4})
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.1 / rows, top=1 - 0.2 / rows)
    for cell in axes.flat:
        cell.set_axis_off()
    for cell, example, target, decision in zip(axes.flat, inputs, targets, decisions, strict=False):
        draw_input(cell, example)
        cell.set_title(f"true {escape(classes[target])}\ndecided {escape(classes[decision])}", fontsize=8)
    return figure


def landscape(steps: np.ndarray, losses: np.ndarray) -> Figure:
    """The loss on a line (points,) or a plane (points, points) through the weights, which lie in the middle."""
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.subplots()
    if losses.ndim == 1:
        axes.plot(steps, losses, color=COLOURS["approximation"])
        axes.set(xlabel="step along a random direction, in lengths of the filters", ylabel="train loss")
        return figure
    drawn = axes.contourf(steps, steps, losses.T, levels=20, cmap="viridis")
    axes.contour(steps, steps, losses.T, levels=20, colors="white", linewidths=0.4)
    axes.plot([0], [0], "x", color="white")
    axes.set(xlabel="first random direction, in lengths of the filters", ylabel="second random direction")
    figure.colorbar(drawn, label="train loss")
    return figure


def draw_input(axes: Axes, example: np.ndarray) -> None:
    if example.ndim == 3:
        axes.imshow(as_image(example), cmap="gray")
    elif example.ndim == 2 or example.size > GREATEST_LISTED:
        axes.plot(np.atleast_2d(example).T, linewidth=1)
    else:
        listed = [f"x{i} = {value:.3g}" for i, value in enumerate(example[:WRITTEN_FEATURES])]
        if example.size > WRITTEN_FEATURES:
            listed.append("...")
        axes.text(0.5, 0.5, "\n".join(listed), ha="center", va="center", fontsize=8, family="monospace")


def as_image(example: np.ndarray) -> np.ndarray:
    """(channels, height, width) of any range to (height, width[, 3]) in [0, 1]; other channel counts show the first."""
    low, high = float(example.min()), float(example.max())
    scaled = (example - low) / (high - low if high > low else 1.0)
    return np.moveaxis(scaled, 0, -1) if len(example) == 3 else scaled[0]


def hatched() -> dict[str, Any]:
    return {
        "facecolor": COLOURS["approximation"],
        "edgecolor": COLOURS["optimization"],
        "hatch": "////",
        "linewidth": 0,
    }


def escape(text: str) -> str:
    """A class name is text, never a formula; what cannot be seen is spelled out, no font has it."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return visible.replace("$", r"\$")

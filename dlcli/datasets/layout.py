"""Which axis of an array is what: (n, features), (n, channels, length) or (n, channels, height, width)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dlcli.errors import DataError

Layout = Literal["auto", "flat", "signals", "channels_first", "channels_last"]
CHANNELS = (1, 2, 3, 4)  # what the last axis of images may hold


def arrange(inputs: dict[str, np.ndarray], layout: Layout) -> tuple[dict[str, np.ndarray], Layout, tuple[str, ...]]:
    """Inputs per split in the order of axes that models expect, the layout they had, a note where that was a guess."""
    chosen, notes = settle(inputs["train"], layout)
    return {split: order(part, chosen) for split, part in inputs.items()}, chosen, notes


def settle(train: np.ndarray, layout: Layout) -> tuple[Layout, tuple[str, ...]]:
    """The layout, and a note where it is a guess."""
    if layout != "auto":
        return layout, ()
    chosen = guess(train)
    words = {"signals": "(n, channels, length)", "channels_first": "images, channels first"}
    words["channels_last"] = "images, channels last"
    note = f"inputs of shape {train.shape[1:]} are read as {words.get(chosen)} (dataset.layout=auto)"
    return chosen, (note,) if train.ndim > 2 else ()


def guess(inputs: np.ndarray) -> Layout:
    """Pixels or squares of three axes are grey images; a short last axis of four holds channels."""
    shape = inputs.shape[1:]
    if len(shape) == 1:
        return "flat"
    if len(shape) == 2:
        return "channels_first" if inputs.dtype == np.uint8 or shape[0] == shape[1] else "signals"
    if len(shape) == 3:
        return "channels_last" if shape[2] in CHANNELS and shape[0] not in CHANNELS else "channels_first"
    raise DataError(
        f"inputs of shape {shape} have {len(shape)} axes; models take one, two or three per example",
        "set dataset.layout=flat to read them as features",
    )


def order(inputs: np.ndarray, layout: Layout) -> np.ndarray:
    if layout == "flat":
        return inputs.reshape(len(inputs), -1)
    if layout == "signals":
        signals = inputs[:, None] if inputs.ndim == 2 else inputs
        _require(signals, 3, layout)
        return signals
    images = inputs
    if inputs.ndim == 3:
        images = inputs[:, None]  # (n, height, width): one channel
    elif layout == "channels_last" and inputs.ndim == 4:
        images = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    _require(images, 4, layout)
    return images


def _require(inputs: np.ndarray, axes: int, layout: Layout) -> None:
    if inputs.ndim != axes:
        raise DataError(
            f"dataset.layout={layout} does not fit inputs of shape {inputs.shape[1:]}",
            "use auto, flat, signals, channels_first or channels_last",
        )

"""MNIST-1D: digits as noisy one-dimensional signals, made by the published procedure, example for example.

Greydanus and Kobak 2020 (2011.14439). The draws are those of the authors' code in their order (a Mersenne Twister,
by default seeded with 42), so the arrays agree with theirs to rounding; only the arithmetic between the draws is
done on all examples at once.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Range, Seed

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
PADDING = (36, 60)  # zeros behind a template
DILATED = TEMPLATES.shape[1] + PADDING[1]  # samples of a signal while it is transformed: 72
LENGTH = 40  # samples of a finished signal
SCALE, SHEAR, SHIFTS = 0.4, 0.75, 48
CORRELATED_NOISE, WHITE_NOISE, BLUR = 0.25, 0.02, 2.0
OFFSET = 1e-8  # keeps the samples of a template apart from the exact zeros of its padding
TRAIN_SHARE = 0.8


class Draws(NamedTuple):
    """The random numbers of n examples."""

    padding: np.ndarray  # (n,) zeros to add
    scale: np.ndarray  # (n,)
    shift: np.ndarray  # (n,)
    correlated: np.ndarray  # (n, DILATED)
    white: np.ndarray  # (n, DILATED)
    shear: np.ndarray  # (n,)


@register("dataset", "mnist1d")
def mnist1d(*, examples: Annotated[int, Range(20)], shuffle: bool, generator_seed: Seed) -> Source:
    """MNIST-1D: ten digits as signals of 40 samples, made locally (Greydanus and Kobak 2020, 2011.14439)."""
    generator = np.random.RandomState(generator_seed)
    per_class = examples // len(TEMPLATES)
    labels = np.repeat(np.arange(len(TEMPLATES)), per_class)
    signals = transform(labels, draw(generator, len(labels)))
    order = generator.permutation(len(labels))
    signals, labels = signals[order], labels[order]
    if shuffle:
        signals = signals[:, generator.permutation(LENGTH)]
    signals = (signals - signals.mean()) / signals.std()
    signals = signals[:, None]  # (n, 1, LENGTH)
    train = int(len(labels) * TRAIN_SHARE)
    return Source(
        train=Examples(signals[:train], labels[:train]),
        test=Examples(signals[train:], labels[train:]),
        classes=tuple("0123456789"),
        origin=f"generated as in arXiv 2011.14439, generator seed {generator_seed}",
        notes=("train and test were standardized jointly, as the authors publish the set",),
    )


def draw(generator: np.random.RandomState, examples: int) -> Draws:
    """All draws, example after example as the authors take them."""
    low, high = PADDING
    draws = Draws(
        padding=np.empty(examples, np.int64),
        scale=np.empty(examples),
        shift=np.empty(examples, np.int64),
        correlated=np.empty((examples, DILATED)),
        white=np.empty((examples, DILATED)),
        shear=np.empty(examples),
    )
    for i in range(examples):
        draws.padding[i] = low + int(generator.random_sample() * (high - low + 1))
        draws.scale[i] = generator.random_sample()
        draws.shift[i] = generator.randint(SHIFTS)
        draws.correlated[i] = generator.standard_normal(DILATED)
        draws.white[i] = generator.standard_normal(DILATED)
        draws.shear[i] = generator.random_sample()
    return draws


def transform(labels: np.ndarray, draws: Draws) -> np.ndarray:
    """Pad, dilate, scale, shift, add noise, shear and subsample. -> (n, LENGTH)"""
    templates = whitened()
    signals = np.empty((len(labels), DILATED))
    for padding in range(PADDING[0], PADDING[1] + 1):
        padded = np.pad(templates + OFFSET, ((0, 0), (0, padding)))
        members = draws.padding == padding
        signals[members] = interpolate(padded, DILATED)[labels[members]]
    signals *= 1 + SCALE * (draws.scale[:, None] - 0.5)
    columns = (np.arange(DILATED) - draws.shift[:, None]) % DILATED
    signals = np.take_along_axis(signals, columns, axis=1)
    noise = blur(CORRELATED_NOISE * draws.correlated)
    signals = np.where(signals != 0, signals, noise)
    signals += WHITE_NOISE * draws.white
    signals -= SHEAR * (draws.shear[:, None] - 0.5) * np.linspace(-0.5, 0.5, DILATED)
    return interpolate(signals, LENGTH)


def blur(signals: np.ndarray) -> np.ndarray:
    """Convolution of (n, samples) with a Gaussian cut at four deviations, the signals mirrored at their ends."""
    radius = int(4 * BLUR + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / BLUR) ** 2)
    mirrored = np.pad(signals, ((0, 0), (radius, radius)), mode="symmetric")
    return sliding_window_view(mirrored, len(kernel), axis=1) @ (kernel / kernel.sum())


def whitened() -> np.ndarray:
    """The ten templates with mean 0 and deviation 1, moved to start at 0, a sixth of the size."""
    centred = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    centred /= centred.std(1, keepdims=True)
    return (centred - centred[:, :1]) / 6.0


def interpolate(signals: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation of (n, samples) to (n, length) over the same interval."""
    knots, places = np.linspace(0, 1, signals.shape[1]), np.linspace(0, 1, length)
    right = np.clip(np.searchsorted(knots, places), 1, len(knots) - 1)
    left = right - 1
    slope = (signals[:, right] - signals[:, left]) / (knots[right] - knots[left])
    return slope * (places - knots[left]) + signals[:, left]

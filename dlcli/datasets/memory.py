"""Synthetic sequences that can be predicted perfectly by whoever remembers: the classic tests of recurrent models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np

from dlcli.datasets.vocabularies import Characters
from dlcli.errors import UsageError
from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Count, Range

REMEMBERED = 10  # symbols of the copy memory task
BLANK, SIGNAL = ".", "?"
SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Draw = Callable[[np.random.Generator, int], Examples]


@register("dataset", "adding")
def adding(seed: int, *, examples: Count, test_examples: Count, length: Annotated[int, Range(2)]) -> Source:
    """Adding problem: the sum of the two marked numbers of a long sequence, a regression (Hochreiter & Schmidhuber).

    The first channel is uniform in [0, 1], the second marks one step of each half. Source: Hochreiter & Schmidhuber
    1997 (Neural Computation 9), in the form of Arjovsky, Shah & Bengio 2015, arXiv:1511.06464.
    """

    def draw(generator: np.random.Generator, n: int) -> Examples:
        numbers, marks = generator.random((n, length), np.float32), np.zeros((n, length), np.float32)
        half, rows = length // 2, np.arange(n)
        for low, high in ((0, half), (half, length)):
            marks[rows, generator.integers(low, high, n)] = 1
        return Examples(np.stack([numbers, marks], 1), (numbers * marks).sum(1, keepdims=True))

    truth = {"bayes_loss": 0.0, "constant_loss": 1 / 6}  # the variance of the sum of two uniform numbers
    return generated(draw, seed, examples, test_examples, truth=truth)


@register("dataset", "parity")
def parity(seed: int, *, examples: Count, test_examples: Count, length: Count) -> Source:
    """Parity: whether a sequence of bits, written -1 and 1, holds an odd number of ones; two classes."""

    def draw(generator: np.random.Generator, n: int) -> Examples:
        bits = generator.integers(0, 2, (n, length))
        return Examples((2 * bits - 1).astype(np.float32)[:, None], bits.sum(1) % 2)

    truth = {"bayes_error": 0.0, "bayes_loss": 0.0}
    return generated(draw, seed, examples, test_examples, classes=("even", "odd"), truth=truth)


@register("dataset", "associative_recall")
def associative_recall(
    seed: int, *, examples: Count, test_examples: Count, pairs: Count, symbols: Annotated[int, Range(2, 26)]
) -> Source:
    """Associative recall: key, value, key, value ... and a key again: which value stood behind it? Classes are values.

    Keys and values are one-hot in channels of their own; no key occurs in two pairs. Raises UsageError for
    more pairs than symbols.
    Source: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, section 4.3, with single symbols as items
    (Ba et al. 2016, arXiv:1610.06258).
    """
    if pairs > symbols:
        raise UsageError(
            f"dataset=associative_recall: dataset.pairs={pairs} need as many keys, and dataset.symbols={symbols}",
            f"use dataset.pairs={symbols} or fewer, or more symbols (at most {len(SYMBOLS)})",
        )

    def draw(generator: np.random.Generator, n: int) -> Examples:
        keys = generator.permuted(np.tile(np.arange(symbols), (n, 1)), axis=1)[:, :pairs]
        values = generator.integers(0, symbols, (n, pairs))
        rows, asked = np.arange(n), generator.integers(0, pairs, n)
        steps = np.stack([keys, symbols + values], 2).reshape(n, 2 * pairs)
        steps = np.concatenate([steps, keys[rows, asked][:, None]], 1)
        one_hot = np.eye(2 * symbols, dtype=np.float32)[steps]  # (n, length, channels)
        return Examples(one_hot.transpose(0, 2, 1), values[rows, asked])

    truth = {"bayes_error": 0.0, "bayes_loss": 0.0}
    return generated(draw, seed, examples, test_examples, classes=tuple(SYMBOLS[:symbols]), truth=truth)


@register("dataset", "copy_memory")
def copy_memory(
    seed: int, *, examples: Count, test_examples: Count, delay: Count, symbols: Annotated[int, Range(2, 26)]
) -> Source:
    """Copy memory: ten symbols, a long blank, a signal; then the ten are to be said again, token by token.

    A sequence has delay + 20 tokens. Whoever knows the time but remembers nothing loses 10 ln(symbols) / (delay + 20)
    nats per token. Source: Hochreiter & Schmidhuber 1997; this form: Arjovsky, Shah & Bengio 2015, arXiv:1511.06464.
    """
    vocabulary = Characters(SYMBOLS[:symbols] + BLANK + SIGNAL)
    letters, length = vocabulary.encode(SYMBOLS[:symbols]), delay + 2 * REMEMBERED
    blank, signal = vocabulary.encode(BLANK + SIGNAL)

    def draw(generator: np.random.Generator, n: int) -> Examples:
        said = letters[generator.integers(0, symbols, (n, REMEMBERED))]
        inputs, targets = np.full((n, length), blank), np.full((n, length), blank)
        inputs[:, :REMEMBERED] = targets[:, -REMEMBERED:] = said
        inputs[:, -REMEMBERED - 1] = signal
        return Examples(inputs, targets)

    truth = {"bayes_error": 0.0, "bayes_loss": 0.0, "memoryless_loss": REMEMBERED * math.log(symbols) / length}
    return generated(draw, seed, examples, test_examples, vocabulary=vocabulary, truth=truth)


def generated(draw: Draw, seed: int, examples: int, test_examples: int, **known: object) -> Source:
    """Train and test from streams of their own, so that the size of the one does not move the other."""
    train, test = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
    return Source(
        train=draw(train, examples), test=draw(test, test_examples), origin=f"generated, dataset.seed={seed}", **known
    )

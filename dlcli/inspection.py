"""What there is to know of a data set before anything is trained on it, as plain JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch

from dlcli.protocols import Batch, Data, DataSpec, Split

CHUNK = 1000  # examples at a time, at most
NUMBERS = 1 << 20  # at a time
SHOWN = 24  # images or signals of a picture
COMMONEST = 40  # tokens of a picture


class Moments:
    """Count, means, squared deviations and extremes of columns that come in pieces, in float64.

    Source: Chan, Golub & LeVeque 1983 (The American Statistician 37), equation 1.5.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares, self.least, self.greatest = 0, 0.0, 0.0, np.inf, -np.inf

    def add(self, rows: np.ndarray) -> None:
        """rows: (n, columns)"""
        rows = rows.astype(np.float64)
        n, mean = len(rows), rows.mean(0)
        total, apart = self.count + n, mean - self.mean
        self.squares = self.squares + ((rows - mean) ** 2).sum(0) + apart**2 * (self.count * n / total)
        self.mean = self.mean + apart * (n / total)
        self.least, self.greatest = np.minimum(self.least, rows.min(0)), np.maximum(self.greatest, rows.max(0))
        self.count = total

    def summary(self, column: int = 0) -> dict[str, float]:
        return {
            "mean": float(self.mean[column]),
            "deviation": float(np.sqrt(self.squares[column] / self.count)),
            "least": float(self.least[column]),
            "greatest": float(self.greatest[column]),
        }


def inspect(data: Data) -> dict[str, Any]:
    """The facts of a data set, and by split its counts and statistics, in the numbers of the source.

    Each split is read once, some of its examples at a time: one that stays on disk need not fit into memory.
    """
    facts, spec = data.facts, data.spec
    splits, columns = {}, []
    for name, split in data.splits().items():
        found: dict[str, Any] = {"examples": len(split), "from": facts["splits"].get(name, "the rest")}
        if spec.vocabulary is None:
            inputs, features, goals = Moments(), Moments(), Moments()
            for batch in batches(split):
                part = numbers(batch, spec)
                inputs.add(part.reshape(-1, 1))
                if data.form.columns and name == "train":
                    features.add(part)
                if not spec.classes:
                    goals.add(targets(batch, spec).reshape(-1, 1))
            if spec.classes:
                found["classes"] = dict(zip(spec.classes, facts["class_counts"][name], strict=True))
            else:
                found["targets"] = goals.summary()
            found["inputs"] = inputs.summary()
            columns = columns or list(described(data, features))
        splits[name] = found
    kept = (
        "name",
        "origin",
        "shape",
        "duplicates",
        "label_noise",
        "notes",
        "warnings",
        "truth",
        "vocabulary",
        "context",
    )
    return {
        **{name: facts[name] for name in kept if facts.get(name)},
        "classes": list(spec.classes),
        "columns": columns,
        "splits": splits,
    }


def batches(split: Split) -> Iterator[Batch]:
    """The next one, too, is read while one is looked at."""
    rows = min(CHUNK, max(1, NUMBERS // prod(split.batch(slice(1)).inputs.shape[1:])))
    slices = [slice(start, start + rows) for start in range(0, len(split), rows)]
    for place, piece in enumerate(slices):
        yield split.batch(piece, slices[place + 1 : place + 2])


def numbers(batch: Batch, spec: DataSpec) -> np.ndarray:
    """(batch, *shape), as the source has them; tokens as they are."""
    if spec.vocabulary is not None:
        return batch.inputs.cpu().numpy()
    if spec.levels:  # pixels: float32 is near enough to say which of the levels each one is
        return (spec.to_source(batch.inputs) * (spec.levels - 1)).round().abs().div(spec.levels - 1).cpu().numpy()
    return spec.to_source(batch.inputs.double()).cpu().numpy()  # a table may be far from zero, and would lose digits


def targets(batch: Batch, spec: DataSpec) -> np.ndarray:
    return batch.targets.cpu().numpy() * spec.target_scale + np.array(spec.target_mean)


def described(data: Data, features: Moments) -> Iterator[dict[str, Any]]:
    """Each feature of a table on the training split: its statistics, or how often each category occurs."""
    start = 0
    for name, texts in data.form.columns:
        if texts is None:
            yield {"name": name, **features.summary(start)}
            start += 1
        else:
            counts = np.rint(features.mean[start : start + len(texts)] * features.count).astype(int).tolist()
            yield {"name": name, "categories": dict(zip(texts, counts, strict=True))}
            start += len(texts)


def shown_examples(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of training examples for a picture: some of each class in turn; of rows up to a thousand."""
    order = np.arange(min(CHUNK, len(data.train)))
    if data.spec.classes:
        labels = data.train.targets[: len(order)].cpu().numpy()
        rank = np.array([np.count_nonzero(labels[:i] == label) for i, label in enumerate(labels)])
        order = np.lexsort((labels, rank))
    batch = data.train.batch(torch.from_numpy(order if len(data.spec.shape) == 1 else order[:SHOWN]))
    goals = batch.targets.cpu().numpy() if data.spec.classes else targets(batch, data.spec)
    return numbers(batch, data.spec), goals


def token_counts(data: Data) -> dict[str, int]:
    """How often the commonest tokens of the training split occur."""
    found: Counter[int] = Counter()
    for batch in batches(data.train):
        tokens, counts = np.unique(batch.inputs.cpu().numpy(), return_counts=True)
        found.update(dict(zip(tokens.tolist(), counts.tolist(), strict=True)))
    return {data.spec.vocabulary.tokens[token]: count for token, count in found.most_common(COMMONEST)}

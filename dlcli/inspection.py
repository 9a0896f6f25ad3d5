"""What there is to know of a data set before anything is trained on it, as plain JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcli.protocols import Batch, Data, DataSpec, Split

CHUNK = 1000  # examples at a time
EXAMPLES = 16  # of a picture
COMMONEST = 40  # tokens of a picture


def inspect(data: Data) -> dict[str, Any]:
    """The facts of a data set, and by split its counts and statistics, in the numbers of the source."""
    facts, spec = data.facts, data.spec
    splits = {}
    for name, split in data.splits().items():
        found: dict[str, Any] = {"examples": len(split), "from": facts["splits"].get(name, "the rest")}
        if spec.classes:
            found["classes"] = dict(zip(spec.classes, facts["class_counts"][name], strict=True))
        elif spec.vocabulary is None:
            found["targets"] = summary(np.concatenate([targets(batch, spec) for batch in batches(split)]))
        if spec.vocabulary is None:
            found["inputs"] = summary(np.concatenate([numbers(batch, spec).ravel() for batch in batches(split)]))
        splits[name] = found
    kept = ("name", "origin", "shape", "duplicates", "label_noise", "notes", "truth", "vocabulary", "context")
    return {
        **{name: facts[name] for name in kept if facts.get(name)},
        "classes": list(spec.classes),
        "columns": columns(data),
        "splits": splits,
    }


def batches(split: Split) -> Iterator[Batch]:
    for start in range(0, len(split), CHUNK):
        yield split.batch(slice(start, start + CHUNK))


def numbers(batch: Batch, spec: DataSpec) -> np.ndarray:
    """(batch, *shape), as the source has them; tokens as they are."""
    inputs = batch.inputs if spec.vocabulary is not None else spec.to_source(batch.inputs)
    return inputs.cpu().numpy()


def targets(batch: Batch, spec: DataSpec) -> np.ndarray:
    return batch.targets.cpu().numpy() * spec.target_scale + np.array(spec.target_mean)


def summary(values: np.ndarray) -> dict[str, float]:
    """Of all numbers together, in float64."""
    return {
        "mean": float(values.mean(dtype=np.float64)),
        "deviation": float(values.std(dtype=np.float64)),
        "least": float(values.min()),
        "greatest": float(values.max()),
    }


def columns(data: Data) -> list[dict[str, Any]]:
    """Each feature of a table on the training split: its statistics, or how often each category occurs."""
    inputs = np.concatenate([numbers(batch, data.spec) for batch in batches(data.train)]) if data.form.columns else None
    found, start = [], 0
    for name, texts in data.form.columns:
        part = inputs[:, start : start + (1 if texts is None else len(texts))]
        start += part.shape[1]
        if texts is None:
            found.append({"name": name, **summary(part)})
        else:
            counts = np.rint(part.sum(0, dtype=np.float64)).astype(int).tolist()
            found.append({"name": name, "categories": dict(zip(texts, counts, strict=True))})
    return found


def shown_examples(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of training examples for a picture: some of each class in turn; of points up to a thousand."""
    batch = data.train.batch(slice(CHUNK))
    inputs, labels = numbers(batch, data.spec), batch.targets.cpu().numpy()
    if not data.spec.classes:
        return inputs, targets(batch, data.spec)
    rank = np.array([np.count_nonzero(labels[:i] == label) for i, label in enumerate(labels)])
    order = np.lexsort((labels, rank))
    return inputs[order], labels[order]


def token_counts(data: Data) -> dict[str, int]:
    """How often the commonest tokens of the training split occur."""
    found: Counter[int] = Counter()
    for batch in batches(data.train):
        tokens, counts = np.unique(batch.inputs.cpu().numpy(), return_counts=True)
        found.update(dict(zip(tokens.tolist(), counts.tolist(), strict=True)))
    return {data.spec.vocabulary.tokens[token]: count for token, count in found.most_common(COMMONEST)}

"""The texts of a Hugging Face data set, to be continued token by token."""

from __future__ import annotations

from typing import Annotated, Literal

from dlcli.datasets.hub import Asked, Part, parts
from dlcli.datasets.table import listed, suggestion
from dlcli.datasets.vocabularies import BytePairs, Characters
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source, Vocabulary
from dlcli.registry import register
from dlcli.schema import Count, Range


@register("dataset", "hf_text")
def hf_text(
    *,
    path: str | None,
    subset: str | None,
    revision: str | None,
    column: str,
    train_split: str,
    validation_split: str | None,
    test_split: str | None,
    tokens: Literal["characters", "byte_pairs"],
    vocabulary_size: Annotated[int, Range(257)],
    window: Count,
) -> Source:
    """Hugging Face data set of texts, by characters or byte pairs, in windows: its rows follow each other."""
    splits = parts("hf_text", path, subset, revision, Asked(train_split, validation_split, test_split))
    texts = {name: joined(part, column) for name, part in splits.items()}
    whole = "".join(texts.values())
    vocabulary: Vocabulary = Characters(whole) if tokens == "characters" else BytePairs(whole, vocabulary_size)
    numbers = {name: vocabulary.encode(text) for name, text in texts.items()}
    examples = {name: Examples(part[:-1], part[1:]) for name, part in numbers.items()}
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        vocabulary=vocabulary,
        window=window,
        origin=f"Hugging Face data set {quote(path, 100)}" + (f", subset {quote(subset, 40)}" if subset else ""),
        notes=("the vocabulary was taken from the whole text, validation and test included",),
    )


def joined(part: Part, column: str) -> str:
    """One row after the other, each with an end of line. DataError where the column is absent or holds no texts."""
    names = list(part.dataset.features)
    if column not in names:
        raise DataError(f"{quote(part.path, 80)} has no column {quote(column)}", suggestion(column, names))
    if part.names(column) or not part.is_text(column):
        raise DataError(f"{quote(part.path, 60)}: column {quote(column, 30)} holds no texts", listed(names))
    rows = (text for _, found in part.batches([column], part.rows) for text in found[column].to_pylist())
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in rows if text is not None)

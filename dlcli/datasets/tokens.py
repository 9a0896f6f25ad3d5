"""From a source of tokens to data on which a run can be trained: a text in windows, or sequences with their targets."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from dlcli.datasets.cuts import cut, subset
from dlcli.datasets.oddities import duplicates
from dlcli.datasets.resident import Resident, read_through
from dlcli.datasets.windows import Windows, windows
from dlcli.errors import DataError, UsageError
from dlcli.protocols import Data, DataSpec, Examples, Source, Vocabulary

CHUNK = 1000  # examples whose tokens are looked at together
NO_NOISE = {"asked": 0.0, "redrawn": 0.0, "changed": 0.0}
Splits = dict[str, Windows | Resident]


def prepare_tokens(source: Source, name: str, preparation: dict[str, Any]) -> Data:
    """preparation: the settings of `dlcli.settings.Preparation`; what has no meaning for tokens must be off.

    DataError where a split would have no example.
    """
    assert source.vocabulary is not None
    for setting, off in (("standardize", "none"), ("label_noise", 0), ("binarize", False)):
        if preparation[setting] != off:
            asked, wanted = (str(value).lower() for value in (preparation[setting], off))  # as YAML writes them
            raise UsageError(
                f"dataset.{setting}={asked} has no meaning for dataset={name}, which is made of tokens",
                f"use dataset.{setting}={wanted}",
            )
    splits, rules = (text_splits if source.window else sequence_splits)(source, name, preparation)
    shape = splits["train"].batch(slice(1)).inputs.shape[1:]
    spec = DataSpec(name, tuple(shape), source.classes, vocabulary=source.vocabulary)
    facts = {
        "name": name,
        "origin": source.origin,
        **{f"n_{split}": len(splits[split]) if split in splits else 0 for split in ("train", "validation", "test")},
        "shape": list(shape),
        "classes": list(source.classes),
        "class_counts": {},
        "vocabulary": {"size": len(source.vocabulary.tokens), "sha256": vocabulary_hash(source.vocabulary)},
        "context": context(source),
        **{f"{split}_sha256": content(part) for split, part in splits.items()},
        "names_sha256": vocabulary_hash(source.vocabulary),
        "duplicates": duplicates(**{split: fingerprints(part) for split, part in splits.items()}),
        "label_noise": NO_NOISE,
        "train_fraction": preparation["train_fraction"],
        "seed": preparation["seed"],
        "splits": rules,
        "validation_cut_from_train": source.validation is None and "validation" in splits,
        "standardize": {"mode": "none"},
        "standardize_targets": {},
        "notes": list(source.notes),
        "warnings": [],
        "truth": dict(source.truth),
    }
    return Data(spec, splits["train"], splits.get("validation"), splits["test"], facts)


def text_splits(source: Source, name: str, preparation: dict[str, Any]) -> tuple[Splits, dict[str, str]]:
    """Test is the end of the text, validation what precedes it: neighbours in a text are no independent draws."""
    text = whole(source.train)
    stays, parts, rules = text, {}, {"validation": "none"}
    for split, given in (("test", source.test), ("validation", source.validation)):
        share = preparation[f"{split}_fraction"]
        size = math.ceil(round(share * len(stays), 6))
        if given is not None:
            parts[split], rules[split] = whole(given), "as the source gives it"
        elif share:
            stays, parts[split] = stays[: len(stays) - size], stays[len(stays) - size :]
            rules[split] = f"the last {size} tokens, {share:g} of the " + ("text" if split == "test" else "rest")
    parts["train"] = stays[: round(preparation["train_fraction"] * len(stays))]
    for split, part in parts.items():
        if len(part) <= source.window:
            raise DataError(
                f"dataset={name}, {split}: {len(part)} of {len(text)} tokens, and a window needs {source.window + 1}",
                f"use a longer text, a smaller dataset.window, or another dataset.{split}_fraction",
            )
    return {split: windows(part, source.window) for split, part in parts.items()}, rules


def whole(text: Examples) -> torch.Tensor:
    """Inputs are followed by their targets, so that all tokens but the first are in these."""
    return torch.from_numpy(np.concatenate([text.inputs[:1], text.targets]))


def sequence_splits(source: Source, name: str, preparation: dict[str, Any]) -> tuple[Splits, dict[str, str]]:
    train, parts = source.train, {"validation": source.validation, "test": source.test}
    rules = {split: "as the source gives it" if part else "none" for split, part in parts.items()}
    for split in ("test", "validation"):
        share = preparation[f"{split}_fraction"]
        if parts[split] is None and share:
            train, parts[split] = cut(train, share, preparation["seed"], split)
            rules[split] = f"{len(parts[split].inputs)} examples, {share:g} of the rest, by a permutation"
    rows = subset(len(train.inputs), preparation["train_fraction"], preparation["seed"])
    parts["train"] = Examples(train.inputs[rows], train.targets[rows])
    return {split: integers(part) for split, part in parts.items() if part is not None}, rules


def content(split: Windows | Resident) -> str:
    return split.sha256() if isinstance(split, Windows) else read_through(split).sha256


def integers(examples: Examples) -> Resident:
    return Resident(*(torch.from_numpy(np.require(part, np.int64, ["C", "W"])) for part in examples))


def context(source: Source) -> str:
    """The rule under which every risk of this data set is taken."""
    if not source.window:
        return "each sequence by itself, every position predicted from those up to it"
    return (
        f"windows of {source.window} tokens that touch: each token is predicted once, "
        f"from the 1 to {source.window} tokens before it in its window"
    )


def vocabulary_hash(vocabulary: Vocabulary) -> str:
    return sha256("\0".join(vocabulary.tokens).encode("utf-8", "surrogatepass")).hexdigest()


def fingerprints(split: Windows | Resident) -> list[bytes]:
    """A hash of each input."""
    return [
        sha256(row.tobytes()).digest()
        for start in range(0, len(split), CHUNK)
        for row in split.batch(slice(start, start + CHUNK)).inputs.numpy()
    ]

"""From texts and sequences of tokens to splits."""

import json

import numpy as np
import pytest
import torch

from dlcli.datasets.prepare import prepare
from dlcli.datasets.vocabularies import Characters
from dlcli.errors import DataError, UsageError
from dlcli.protocols import Examples, Source

PLAIN = {
    "train_fraction": 1.0,
    "label_noise": 0.0,
    "standardize": "none",
    "standardize_targets": True,
    "binarize": False,
    "validation_fraction": 0.0,
    "test_fraction": 0.1,
    "seed": 0,
}
VOCABULARY = Characters("".join(map(chr, range(1000, 2001))))


def text(n=1000, window=8, **changes):
    """Each token names its place."""
    numbers = np.arange(n, dtype=np.int32)
    source = Source(Examples(numbers[:-1], numbers[1:]), vocabulary=VOCABULARY, window=window)
    return prepare(source, "play", {**PLAIN, **changes})


def sequences(n=50, **changes):
    rows = np.arange(n)[:, None] + np.arange(6)
    return prepare(Source(Examples(rows, rows + 1), vocabulary=VOCABULARY), "drill", {**PLAIN, **changes})


def test_train_validation_and_test_follow_each_other_in_the_text():
    data = text(validation_fraction=0.2)
    first = {name: split.batch(slice(None)).inputs.flatten() for name, split in data.splits().items()}
    assert (first["train"][0], first["validation"][0], first["test"][0]) == (0, 720, 900)
    assert first["train"].max() < 720 and first["validation"].max() < 900
    assert data.facts["splits"]["test"] == "the last 100 tokens, 0.1 of the text"


def test_the_cut_of_a_tenth_is_where_nanogpt_makes_it():
    characters = 1_115_394
    zeros = np.zeros(characters, np.int32)
    source = Source(Examples(zeros[:-1], zeros[1:]), vocabulary=VOCABULARY, window=64)
    data = prepare(source, "play", PLAIN)
    assert data.facts["splits"]["test"] == "the last 111540 tokens, 0.1 of the text"
    assert data.facts["n_train"] == (1_003_854 - 1) // 64


def test_a_smaller_share_of_the_text_is_its_beginning_and_another_training_set():
    whole, half = text(), text(train_fraction=0.5)
    assert half.train.batch(slice(None)).inputs.max() < 450 and len(half.train) == 449 // 8
    assert half.facts["train_sha256"] != whole.facts["train_sha256"]
    assert half.facts["test_sha256"] == whole.facts["test_sha256"]


def test_the_facts_name_the_rule_of_the_context_and_are_plain():
    facts = text().facts
    assert facts["context"] == (
        "windows of 8 tokens that touch: each token is predicted once, from the 1 to 8 tokens before it in its window"
    )
    assert json.loads(json.dumps(facts)) == facts


def test_a_split_without_a_window_is_refused():
    with pytest.raises(DataError) as refusal:
        text(n=100, window=12)
    assert refusal.value.message == "dataset=play, test: 10 of 100 tokens, and a window needs 13"


@pytest.mark.parametrize(("setting", "value"), [("standardize", "all"), ("label_noise", 0.1), ("binarize", True)])
def test_what_has_no_meaning_for_tokens_is_refused(setting, value):
    with pytest.raises(UsageError) as refusal:
        text(**{setting: value})
    start = f"dataset.{setting}={str(value).lower()} has no meaning for dataset=play"
    assert refusal.value.message == f"{start}, which is made of tokens"


def test_sequences_are_cut_by_a_permutation_and_keep_their_targets():
    data = sequences(validation_fraction=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 9, 5)
    rows = torch.cat([split.batch(slice(None)).inputs[:, 0] for split in data.splits().values()])
    assert sorted(rows.tolist()) == list(range(50))
    batch = data.train.batch(torch.tensor([3, 1]))
    assert torch.equal(batch.targets, batch.inputs + 1) and batch.inputs.dtype == torch.int64


def test_equal_windows_are_counted():
    numbers = np.tile(np.arange(4, dtype=np.int32), 100)
    source = Source(Examples(numbers[:-1], numbers[1:]), vocabulary=VOCABULARY, window=8)
    data = prepare(source, "play", PLAIN)
    assert data.facts["duplicates"] == {
        "train": len(data.train) - 1,
        "train_test": len(data.test),
        "validation_test": len(data.test) if data.validation else 0,
    }

"""What is said of data that are odd, and what is not."""

import numpy as np
import pytest

from dlcli.datasets.memory import parity
from dlcli.datasets.oddities import duplicates, oddities
from dlcli.protocols import Column, Examples, Form

DRAW = np.random.default_rng(0)
NUMBERS, PLAIN = DRAW.normal(size=(200, 2)), Form()


def told(inputs, targets=None, classes=("no", "yes"), form=PLAIN):
    rows = [row.tobytes() for row in inputs]
    targets = np.arange(len(inputs)) % 2 if targets is None else targets
    return oddities(Examples(inputs, targets), classes, form, duplicates(rows, [])["train"])


def test_of_sound_data_nothing_is_said():
    assert told(NUMBERS) == []


def test_constant_columns_are_named_and_of_texts_the_category():
    inputs = np.column_stack([NUMBERS, np.ones(200), np.zeros(200)])
    form = Form(columns=(Column("a", None), Column("b", None), Column("town", ("Lund", "Oslo\x1b"))))
    assert told(inputs, form=form) == [r"of 4 features, constant in train: 'town'='Lund', 'town'='Oslo\x1b'"]
    many = told(np.zeros((200, 9)) + np.arange(200)[:, None] * (np.arange(9) < 1))
    assert (
        many[0]
        == "of 9 features, constant in train: 1 (from 0), 2 (from 0), 3 (from 0), 4 (from 0), 5 (from 0) and 3 more"
    )


def test_a_class_without_an_example_and_targets_that_are_one_number():
    assert told(NUMBERS, np.zeros(200, int)) == ["of 2 classes, without a training example: 'yes'"]
    assert told(NUMBERS, np.full((200, 1), 3.0), ()) == [
        "the target is the same in every training example: there is nothing to learn"
    ]


@pytest.mark.parametrize(("copies", "count"), [(100, 100), (3, 3), (2, 0)])
def test_copies_are_counted_from_one_in_a_hundred_on(copies, count):
    inputs = np.concatenate([NUMBERS, NUMBERS[:copies]])
    n = 200 + copies
    said = f"{count} of {n} training examples are copies of the inputs of others, and count as often"
    assert told(inputs) == ([said] if count else [])


@pytest.mark.parametrize(
    "inputs",
    [
        parity(0, examples=2000, test_examples=1, length=8).train.inputs,
        DRAW.integers(0, 3, (500, 4)).astype(float),
        np.eye(5)[DRAW.integers(0, 5, 500)],
        DRAW.integers(0, 2, (50, 1, 3, 1), np.uint8),
    ],
    ids=["bits", "whole numbers", "one-hot", "pixels"],
)
def test_of_few_values_equal_ones_are_no_copies(inputs):
    assert len(np.unique(inputs.reshape(len(inputs), -1), axis=0)) < len(inputs)
    assert told(inputs) == []

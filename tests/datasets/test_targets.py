from __future__ import annotations

import numpy as np
import pytest

from dlcli.datasets.targets import choose, encode
from dlcli.errors import DataError


def where(split, row):
    return f"{split} row {row}"


def test_classes_are_numbered_in_sorted_order_of_the_training_split():
    texts = np.array(["b", "a", "b"], object)
    found = encode({"train": texts, "test": texts[:1]}, "auto", where)
    assert found.parts["train"].tolist() == [1, 0, 1] and found.parts["test"].tolist() == [1]
    assert found.classes == ("a", "b") and found.parts["train"].dtype == np.int64


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        ([0, 1, 1, 0], "classification"),
        ([-1, 1, 1, -1], "classification"),
        ([0, 1, 2, 0], "regression"),  # hardly a value occurs twice
        ([0.5, 1, 1, 0.5], "regression"),
        (list(range(51)) * 4, "regression"),
        (list(range(50)) * 4, "classification"),
    ],
)
def test_numbers_are_classes_where_they_are_few_and_whole(targets, kind):
    chosen, notes = choose(np.array(targets, float), "auto")
    assert chosen == kind and "dataset.kind=auto" in notes[0]


def test_a_class_outside_of_training_is_refused_by_its_place():
    with pytest.raises(DataError) as caught:
        encode({"train": np.array([0.0, 1.0]), "test": np.array([1.0, 7.0])}, "classification", where)
    assert caught.value.message == "test row 1: class '7' is not in the training split"
    assert caught.value.hint == "training has 2, from '0' to '1'"


def test_measurements_are_not_taken_for_thousands_of_classes():
    with pytest.raises(DataError, match="20000 different targets; at most 10000 classes"):
        encode({"train": np.arange(20_000.0)}, "classification", where)

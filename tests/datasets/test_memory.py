"""Each answer is recomputed from the sequence by the rule that the task states."""

import math

import numpy as np
import pytest

from dlcli.datasets.memory import adding, associative_recall, copy_memory, parity
from dlcli.errors import UsageError

SIZES = {"examples": 4000, "test_examples": 500}
SMALL = {
    adding: {"length": 12},
    parity: {"length": 9},
    associative_recall: {"pairs": 3, "symbols": 5},
    copy_memory: {"delay": 7, "symbols": 4},
}


@pytest.mark.parametrize("make", SMALL)
def test_the_seed_decides_and_the_size_of_one_split_does_not_move_the_other(make):
    one = make(3, **SIZES, **SMALL[make])
    again = make(3, examples=4000, test_examples=100, **SMALL[make])
    other = make(4, **SIZES, **SMALL[make])
    assert np.array_equal(one.train.inputs, again.train.inputs)
    assert not np.array_equal(one.train.inputs, other.train.inputs)
    assert not np.array_equal(one.train.inputs[:500], one.test.inputs)


def test_adding_marks_one_number_in_each_half_and_asks_for_their_sum():
    source = adding(0, **SIZES, length=13)
    numbers, marks = source.train.inputs.transpose(1, 0, 2)
    assert (marks[:, :6].sum(1) == 1).all() and (marks[:, 6:].sum(1) == 1).all() and set(np.unique(marks)) == {0, 1}
    marked = numbers[marks == 1].reshape(-1, 2)
    assert np.allclose(source.train.targets[:, 0], marked.sum(1))
    assert set(marks.argmax(1)) == set(range(6)) and set(12 - marks[:, ::-1].argmax(1)) == set(range(6, 13))


def test_the_best_constant_of_adding_loses_a_sixth():
    source = adding(0, examples=200_000, test_examples=1, length=2)
    assert source.truth["constant_loss"] == 1 / 6
    assert np.var(source.train.targets) == pytest.approx(1 / 6, rel=0.01)


def test_parity_is_the_number_of_ones_modulo_two_and_both_are_as_frequent():
    source = parity(0, **SIZES, length=9)
    ones = (source.train.inputs[:, 0] == 1).sum(1)
    assert np.array_equal(source.train.targets, ones % 2)
    assert abs(source.train.targets.mean() - 0.5) < 0.05


def test_recall_asks_for_the_value_behind_the_key():
    source = associative_recall(0, **SIZES, pairs=3, symbols=5)
    steps = source.train.inputs.argmax(1)  # (n, 7) channels
    assert (source.train.inputs.sum(1) == 1).all()
    keys, values, asked = steps[:, 0:6:2], steps[:, 1:6:2] - 5, steps[:, 6]
    assert (keys < 5).all() and (values >= 0).all() and all(len(set(row)) == 3 for row in keys)
    assert np.array_equal(values[keys == asked[:, None]], source.train.targets)


def test_more_pairs_than_keys_are_refused():
    with pytest.raises(UsageError, match=r"dataset.pairs=6 need as many keys, and dataset.symbols=5"):
        associative_recall(0, **SIZES, pairs=6, symbols=5)


def test_copy_says_the_symbols_again_after_the_signal():
    source = copy_memory(0, **SIZES, delay=7, symbols=4)
    show = source.vocabulary.decode
    for given, wanted in zip(source.train.inputs[:20], source.train.targets[:20], strict=True):
        said = show(given)[:10]
        assert set(said) <= set("ABCD")
        assert show(given) == said + "." * 6 + "?" + "." * 10
        assert show(wanted) == "." * 17 + said


def test_the_loss_of_copying_without_memory_is_that_of_the_source():
    truth = copy_memory(0, examples=1, test_examples=1, delay=500, symbols=8).truth
    assert truth["memoryless_loss"] == pytest.approx(10 * math.log(8) / 520)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder

from dlcli.datasets.table import Table, encode, fit_columns, load, roles, unusable
from dlcli.errors import DataError

PATH = Path("my.table")


def table(**columns):
    values = {name: np.array(v, object if isinstance(v[0], str) else float) for name, v in columns.items()}
    return Table(PATH, values, "row", np.arange(1, 1 + len(next(iter(values.values())))))


def test_one_hot_agrees_with_scikit_learn():
    source = np.random.default_rng(0)
    train = table(a=source.choice(list("pqr"), 50).tolist(), b=source.choice(["x", "y"], 50).tolist())
    test = table(a=source.choice(list("pqrs"), 50).tolist(), b=source.choice(["x", "y"], 50).tolist())
    reference = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    stacked = [np.stack([part.columns["a"], part.columns["b"]], 1) for part in (train, test)]
    reference.fit(stacked[0])
    columns, _ = fit_columns(train, ["a", "b"])
    for part, rows in zip((train, test), stacked, strict=True):
        assert np.array_equal(encode(part, columns, "test")[0], reference.transform(rows))


def test_large_numbers_keep_their_digits_until_they_are_standardized():
    times = [1.7e9 + i for i in range(4)]
    columns, _ = fit_columns(table(t=times), ["t"])
    assert encode(table(t=times), columns, "train")[0][:, 0].tolist() == times


def test_a_text_column_of_identifiers_gets_a_note():
    _, (note,) = fit_columns(table(name=["ann", "bob", "eve", "joe"]), ["name"])
    assert note.startswith("text column 'name' has 4 different values in 4 rows; is it an identifier?")


def test_roles_default_to_all_other_columns_in_their_order():
    found = roles(PATH, ["a", "b", "c", "d"], -2, "b", None)
    assert (found.target, found.split, found.features) == ("c", "b", ["a", "d"])


@pytest.mark.parametrize(
    ("target", "split", "features", "message"),
    [
        ("a", "a", None, "column 'a' is both target and split"),
        ("a", "b", ["b"], "column 'b' is both split and feature"),
        ("a", None, [], "'my.table' has no feature column beside 'a'"),
        (-4, None, None, "'my.table' has 3 columns; there is no target -4"),
    ],
)
def test_contradictory_roles_are_refused(target, split, features, message):
    with pytest.raises(DataError) as caught:
        roles(PATH, ["a", "b", "c"], target, split, features)
    assert caught.value.message == message


def test_a_split_given_twice_and_a_split_column_without_train_are_refused():
    def read(path, columns, texts):
        return table(x=[1, 2], y=["a", "b"], part=["train", "test"] if path == PATH else ["test", "val"])

    columns = roles(PATH, ["x", "y", "part"], "y", "part", None)
    with pytest.raises(DataError, match="the test split is given twice"):
        load(read, columns, PATH, None, "more", "auto", "")
    with pytest.raises(DataError, match="no row of column 'part' says train"):
        load(read, columns, Path("other"), None, None, "auto", "")


def test_numbers_beyond_float32_are_unusable():
    assert unusable(np.array([1, np.nan, 3.4e38, -3.5e38, np.inf])).tolist() == [1, 3, 4]

from __future__ import annotations

import numpy as np
import pytest

from dlcli.datasets.layout import arrange
from dlcli.errors import DataError


def shape(of, layout="auto", dtype=float):
    arranged, _, _ = arrange({"train": np.zeros((2, *of), dtype)}, layout)
    return arranged["train"].shape[1:]


@pytest.mark.parametrize(
    ("given", "dtype", "arranged"),
    [
        ((7,), float, (7,)),
        ((28, 28), float, (1, 28, 28)),
        ((20, 30), np.uint8, (1, 20, 30)),
        ((2, 40), float, (2, 40)),
        ((3, 32, 32), np.uint8, (3, 32, 32)),
        ((32, 32, 3), np.uint8, (3, 32, 32)),
        ((1, 28, 28), float, (1, 28, 28)),
    ],
)
def test_auto_guesses_by_shape_and_type(given, dtype, arranged):
    assert shape(given, dtype=dtype) == arranged


def test_a_layout_that_is_asked_for_is_obeyed():
    assert shape((28, 28), "flat") == (784,)
    assert shape((28, 28), "signals") == (28, 28)
    assert shape((40,), "signals") == (1, 40)
    assert shape((20, 30), "channels_first") == (1, 20, 30)
    assert shape((3, 4, 5), "channels_last") == (5, 3, 4)


@pytest.mark.parametrize(
    ("given", "layout"), [((7,), "channels_first"), ((3, 8, 8), "signals"), ((2, 3, 4, 5), "auto")]
)
def test_a_layout_that_does_not_fit_is_refused(given, layout):
    with pytest.raises(DataError, match=r"layout|axes"):
        shape(given, layout)

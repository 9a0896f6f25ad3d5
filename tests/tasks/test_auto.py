from __future__ import annotations

import pytest

from dlcli.errors import UsageError
from dlcli.metrics import binary, multiclass, numeric
from dlcli.protocols import DataSpec
from dlcli.tasks.auto import auto

NUMBERS = DataSpec("diabetes", (10,))
TWO = DataSpec("moons", (2,), ("no", "yes"))
THREE = DataSpec("iris", (4,), ("a", "b", "c"))


@pytest.mark.parametrize(
    "spec, loss, metric",
    [
        (NUMBERS, "auto", numeric.SQUARED_ERROR),
        (NUMBERS, "squared_error", numeric.SQUARED_ERROR),
        (TWO, "auto", binary.LOGISTIC),
        (TWO, "cross_entropy", binary.LOGISTIC),
        (TWO, "hinge", binary.HINGE),
        (THREE, "auto", multiclass.CROSS_ENTROPY),
        (THREE, "squared_error", multiclass.SQUARED_ERROR),
    ],
)
def test_the_data_set_chooses_the_task(spec, loss, metric):
    assert auto(spec, loss=loss, label_smoothing=0.0).metrics["loss"] is metric


def test_a_loss_of_classes_is_refused_for_numbers():
    with pytest.raises(UsageError, match=r"task\.loss=hinge needs classes"):
        auto(NUMBERS, loss="hinge", label_smoothing=0.0)


def test_smoothing_is_refused_for_numbers():
    with pytest.raises(UsageError, match="label_smoothing"):
        auto(NUMBERS, loss="auto", label_smoothing=0.1)

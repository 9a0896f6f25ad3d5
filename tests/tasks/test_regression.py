from __future__ import annotations

import pytest

from dlcli.errors import UsageError
from dlcli.protocols import DataSpec
from dlcli.tasks.regression import regression


def test_there_is_one_output_per_target():
    assert regression(DataSpec("plane", (3,), targets=2)).spec.outputs == 2


def test_classes_are_refused():
    with pytest.raises(UsageError, match="needs numbers as targets, data set iris has 2 classes"):
        regression(DataSpec("iris", (4,), ("a", "b")))

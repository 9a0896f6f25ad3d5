from __future__ import annotations

import json

import numpy as np
import pytest

from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import decompose
from dlcli.decomposition.record import from_json, to_json
from dlcli.protocols import Bound

FLOOR = Bound("lower", 0.0, "certified", "nonnegativity")
UPPER = Bound("upper", 0.2, "certified", "continued training", witness="3fa9", evidence={"steps": 100})
HINT = Bound("lower", 0.1, "heuristic", "extrapolation")


def record(*bounds):
    rows = np.random.default_rng(0).exponential(size=50)
    circumstances = Circumstances(label_noise=0.1)
    return decompose(rows, rows + 0.1, bounds, loss="loss", unit="nats", circumstances=circumstances, bayes=0.05)


@pytest.mark.parametrize("bounds", [(FLOOR, UPPER, HINT), (UPPER,), ()])
def test_json_brings_the_same_decomposition_back(bounds):
    text = json.dumps(to_json(record(*bounds)), allow_nan=False)
    once = from_json(json.loads(text))
    assert to_json(once) == json.loads(text)


def test_numbers_that_were_changed_are_refused():
    written = to_json(record(FLOOR, UPPER))
    written["test"]["value"] += 0.01
    with pytest.raises(ValueError, match="the parts miss the test risk"):
        from_json(written)


def test_heuristics_stand_apart():
    approximation = to_json(record(FLOOR, UPPER, HINT))["approx_train"]
    assert [bound["method"] for bound in approximation["heuristics"]] == ["extrapolation"]
    assert "extrapolation" not in [bound["method"] for bound in approximation["bounds_tried"]]


def test_an_open_end_is_null():
    assert to_json(record(UPPER))["approx_train"]["interval"] == [None, 0.2]

"""A summary as a run would leave it, made of plain numbers: reports need neither torch nor a model."""

from __future__ import annotations

import json

import pytest
import yaml

from dlcli.report.summary import SCHEMA


def bound(side, value, method, kind="certified", **more):
    base = {
        "side": side,
        "value": value,
        "kind": kind,
        "method": method,
        "attained": None,
        "level": None,
        "witness": "",
    }
    return {**base, "seconds": 0.0, "evidence": {}, **more}


def estimate(value, n, unit, ci=None, method="BCa bootstrap", **more):
    return {"value": value, "n": n, "unit": unit, "ci": ci, "level": ci and 0.95, "method": method, **more}


def decomposition(unit="nats", train=0.25, test=0.75, low=0.0, high=0.125):
    lower = None if low is None else bound("lower", low, "nonnegativity")
    upper = bound("upper", high, "training continued", witness="3fa9c0127712")
    return {
        "schema": "dlcli.decomposition/1",
        "loss": {"name": "loss", "unit": unit},
        "train": estimate(train, 400, unit),
        "test": {**estimate(test, 100, unit, [0.5, 1.0]), "matched_noise_value": None},
        "approx_train": {"interval": [low, high], "lower": lower, "upper": upper, "heuristics": []},
        "optimization": {"interval": [train - high, None if low is None else train - low]},
        "generalization": {"value": test - train, "ci": [0.5 - train, 1.0 - train], "level": 0.95},
        "warnings": [{"code": "approx_opt_not_separable", "text": "approximation and optimization are not separable"}],
    }


@pytest.fixture(name="bound")
def make_bound():
    return bound


@pytest.fixture(name="estimate")
def make_estimate():
    return estimate


@pytest.fixture(name="decomposition")
def make_decomposition():
    return decomposition


@pytest.fixture
def summary():
    """One classification run: losses in nats, errors as fractions."""
    return {
        "schema": SCHEMA,
        "run": {"id": "mlp-0"},
        "data": {},
        "class": {"id": "mlp-1"},
        "keys": {"class": "c1", "data": "d1", "loss": "l1"},
        "risks": {
            "train": {"loss": estimate(0.25, 400, "nats"), "error": estimate(0.0625, 400, "fraction")},
            "test": {
                "loss": estimate(0.75, 100, "nats", [0.5, 1.0]),
                "error": estimate(0.25, 100, "fraction", [0.1755, 0.343], "Wilson"),
            },
        },
        "decomposition": {"loss": decomposition()},
        "diagnosis": "Generalization dominates the test loss.",
        "timing": {},
        "warnings": [],
    }


@pytest.fixture
def write_run(tmp_path):
    """Make a run directory; without a summary it is one that failed."""

    def write(name, config, summary=None, status=None):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "status.json").write_text(json.dumps(status or {"state": "done", "reason": ""}))
        if summary is not None:
            (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return write

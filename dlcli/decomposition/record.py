"""A decomposition as plain JSON and back, schema `dlcli.decomposition/1`. Infinite ends are null."""

from __future__ import annotations

import math
from typing import Any

from dlcli.decomposition.cautions import Caution
from dlcli.decomposition.decompose import Decomposition, Surrogate
from dlcli.decomposition.intervals import Estimate, Interval
from dlcli.decomposition.population import BestInClass, Excess
from dlcli.protocols import Bound

TERMS = ("approximation", "estimation", "optimization")
SCHEMA = "dlcli.decomposition/1"


def to_json(parts: Decomposition) -> dict[str, Any]:
    """Everything that a report prints, and all that `from_json` needs."""
    return {
        "schema": SCHEMA,
        "loss": {"name": parts.loss, "unit": parts.test.unit},
        "train": parts.train._asdict(),
        "test": {**estimate(parts.test), "matched_noise_value": parts.matched_noise},
        "approx_train": {
            "interval": ends(parts.approximation),
            "lower": None if parts.lower is None else bound(parts.lower),
            "upper": bound(parts.upper),
            "bounds_tried": [bound(each) for each in parts.tried if each.kind != "heuristic"],
            "heuristics": [bound(each) for each in parts.tried if each.kind == "heuristic"],
            "kappa": parts.kappa,
            "separable": parts.separable,
            "ledger_version": parts.ledger_version,
        },
        "optimization": {
            "interval": ends(parts.optimization),
            "resolution": parts.resolution,
            "below_resolution": parts.below_resolution,
            "infimum_not_attained": parts.infimum_not_attained,
            "solver_error": parts.solver_error,
            "surrogate_bias": None if parts.surrogate is None else ends(parts.surrogate_bias),
            "surrogate": None if parts.surrogate is None else surrogate(parts.surrogate),
        },
        "generalization": {
            "value": parts.generalization,
            "ci": None if parts.generalization_ci is None else ends(parts.generalization_ci),
            "level": parts.test.level,
            "ci_source": "test sampling given f",
        },
        "population": {
            "bayes": {"value": parts.bayes, "kind": "unknown" if parts.bayes is None else "exact"},
            "best_in_class": None if parts.best_in_class is None else best_in_class(parts.best_in_class),
            "excess": None if parts.excess is None else excess(parts.excess),
        },
        "identity_residual": parts.residual,
        "warnings": [warning._asdict() for warning in parts.warnings],
    }


def from_json(record: dict[str, Any]) -> Decomposition:
    """The decomposition that was written; ValueError if its numbers no longer satisfy the identity."""
    approximation, generalization = record["approx_train"], record["generalization"]
    population = record["population"]
    test = {key: value for key, value in record["test"].items() if key in Estimate._fields}
    return Decomposition(
        loss=record["loss"]["name"],
        train=Estimate(**record["train"]),
        test=Estimate(**{**test, "ci": None if test["ci"] is None else tuple(test["ci"])}),
        approximation=interval(approximation["interval"]),
        optimization=interval(record["optimization"]["interval"]),
        generalization=generalization["value"],
        generalization_ci=None if generalization["ci"] is None else Interval(*generalization["ci"]),
        lower=None if approximation["lower"] is None else Bound(**approximation["lower"]),
        upper=Bound(**approximation["upper"]),
        tried=tuple(Bound(**each) for each in approximation["bounds_tried"] + approximation["heuristics"]),
        resolution=record["optimization"]["resolution"],
        bayes=record["population"]["bayes"]["value"],
        matched_noise=record["test"]["matched_noise_value"],
        ledger_version=approximation["ledger_version"],
        surrogate=record["optimization"]["surrogate"] and read_surrogate(record["optimization"]["surrogate"]),
        best_in_class=population["best_in_class"] and read_best_in_class(population["best_in_class"]),
        excess=population["excess"] and read_excess(population["excess"]),
        warnings=tuple(Caution(**warning) for warning in record["warnings"]),
    )


def surrogate(value: Surrogate) -> dict[str, Any]:
    return {**value._asdict(), "least": value.least and bound(value.least)}


def read_surrogate(record: dict[str, Any]) -> Surrogate:
    return Surrogate(**{**record, "least": record["least"] and Bound(**record["least"])})


def best_in_class(value: BestInClass) -> dict[str, Any]:
    return {**value._asdict(), "interval": ends(value.interval)}


def read_best_in_class(record: dict[str, Any]) -> BestInClass:
    return BestInClass(interval(record["interval"]), record["level"], record["method"])


def excess(value: Excess) -> dict[str, Any]:
    return {"bayes": value.bayes, **{name: ends(getattr(value, name)) for name in TERMS}}


def read_excess(record: dict[str, Any]) -> Excess:
    return Excess(record["bayes"], *(interval(record[name]) for name in TERMS))


def estimate(value: Estimate) -> dict[str, Any]:
    return {**value._asdict(), "ci": None if value.ci is None else list(value.ci)}


def bound(value: Bound) -> dict[str, Any]:
    return {**value._asdict(), "evidence": dict(value.evidence)}


def ends(value: Interval) -> list[float | None]:
    return [end if math.isfinite(end) else None for end in value]


def interval(pair: list[float | None]) -> Interval:
    low, high = pair
    return Interval(-math.inf if low is None else low, math.inf if high is None else high)

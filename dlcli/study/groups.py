"""What the runs of one configuration say together, and the interval of min_F L_tr that all runs of a class share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dlcli.decomposition.paired import t_interval
from dlcli.decomposition.sweep import Group
from dlcli.report.comparison import comparable

Run = Mapping[str, Any]  # as `summary.read_run` returns it
METRICS = ("loss", "error")


def shared_intervals(runs: Sequence[Run], metric: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """min_F L_tr per class, training set and loss: every run's bounds hold for all, and for the classes around it.

    What a class is known to contain has no lower minimum than it, whatever the order in which they were trained.
    """
    found: dict[tuple[str, ...], tuple[float, float]] = {}
    for run in runs:
        part = decomposition(run, metric)
        if part is not None:
            key = comparable(run["summary"])
            low, high = part["approx_train"]["interval"]
            low = -math.inf if low is None else low
            before = found.get(key, (-math.inf, math.inf))
            found[key] = (max(before[0], low), min(before[1], high))
    for narrow, wide in dict.fromkeys(nested(runs)):
        if narrow in found and wide in found:
            (above, high), (low, reached) = found[narrow], found[wide]
            found[narrow], found[wide] = (max(above, low), high), (low, min(high, reached))
    return {key: (min(low, high), high) for key, (low, high) in found.items()}


def nested(runs: Sequence[Run]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of keys of which the second's class contains the first's, as the runs have declared."""
    for run in filter(done, runs):
        wide = comparable(run["summary"])
        for narrow in run["summary"]["class"].get("subclasses", ()):
            yield (narrow, *wide[1:]), wide


def decomposition(run: Run, metric: str) -> dict[str, Any] | None:
    return None if run["summary"] is None else run["summary"]["decomposition"].get(metric)


def done(run: Run) -> bool:
    return run["summary"] is not None


def describe(group: Group, name: str, runs: Sequence[Run], shared: Mapping[str, Any]) -> dict[str, Any]:
    members = [runs[i] for i in group.members]
    done = [run for run in members if run["summary"] is not None]
    risks: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        for metric in dict.fromkeys(name for run in done for name in run["summary"]["risks"].get(split, {})):
            values = [run["summary"]["risks"][split][metric]["value"] for run in done]
            unit = done[0]["summary"]["risks"][split][metric]["unit"]
            risks.setdefault(split, {})[metric] = {**mean(values), "unit": unit}
    return {
        "label": name,
        "config": group.config,
        "members": list(group.members),
        "paths": [run["path"] for run in members],
        "seeds": list(group.repeats),
        "done": len(done),
        "failed": sum(run["summary"] is None and run["status"] != "pruned" for run in members),
        "risks": risks,
        "terms": {metric: found for metric in METRICS if (found := group_terms(done, metric, shared[metric]))},
    }


def group_terms(done: Sequence[Run], metric: str, shared: Mapping[tuple[str, ...], tuple[float, float]]) -> Any:
    """The three terms, averaged over the seeds of a group, with the shared interval of each class."""
    parts = [(part, shared[comparable(run["summary"])]) for run in done if (part := decomposition(run, metric))]
    if not parts or len(parts) < len(done):
        return None
    train = [part["train"]["value"] for part, _ in parts]
    test = [part["test"]["value"] for part, _ in parts]
    lows, highs = zip(*(ends for _, ends in parts), strict=True)
    return {
        "unit": parts[0][0]["train"]["unit"],
        "approximation": [finite_mean(lows), finite_mean(highs)],
        "optimization": [
            mean([a - b for a, b in zip(train, highs, strict=True)]),
            mean([a - b for a, b in zip(train, lows, strict=True)]) if all(map(math.isfinite, lows)) else None,
        ],
        "generalization": mean([b - a for a, b in zip(train, test, strict=True)]),
        "train": mean(train),
        "test": mean(test),
    }


def finite_mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else None


def mean(values: Sequence[float]) -> dict[str, Any]:
    """With the t interval over seeds; null for a single one."""
    ci = t_interval(np.array(values)) if len(values) > 1 else None
    return {"mean": math.fsum(values) / len(values), "ci": ci and list(ci), "n": len(values)}

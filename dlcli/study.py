"""What several runs say together: groups over seeds, one approximation per class, paired differences, what confounds.

Statistics only, as plain JSON; `report` draws and prints it. Nothing here needs torch or a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dlcli.decomposition import paired
from dlcli.decomposition.paired import apart, difference, judged, t_interval
from dlcli.decomposition.sweep import Arm, Group, arms, confounders, differing, grouped, is_number, unequal_budgets
from dlcli.report.comparison import comparable, labels

Run = Mapping[str, Any]  # as `summary.read_run` returns it
MOST_ARMS = 8  # of an axis, up to which all pairs are compared
METRICS = ("loss", "error")
SCHEMA = "dlcli.study/1"


def study(runs: Sequence[Run], by: str | None = None, over: Sequence[str] = ("seed",)) -> dict[str, Any]:
    """by: the setting that is compared, the first that differs if None; over: what was repeated."""
    configs = [run["config"] for run in runs]
    repeated = [*over, *(key for key in differing(configs) if key.startswith(tuple(f"{name}." for name in over)))]
    groups = grouped(configs, repeated)
    axis = by or first_axis(groups)
    if axis and not by_name(groups, axis):
        groups.sort(key=lambda group: group.config[axis])
    whole = Path(runs[0]["path"]).name if len(runs) == 1 else f"all {len(runs)} runs"
    names = labels([{"config": group.config, "path": whole} for group in groups])
    shared = {metric: shared_intervals(runs, metric) for metric in METRICS}
    found = arms(groups, axis, [validation(run) for run in runs]) if axis else []
    chosen = [chosen_of(arm) for arm in found]
    return {
        "schema": SCHEMA,
        "runs": len(runs),
        "failed": sum(run["summary"] is None for run in runs),
        "over": list(over),
        "axis": axis,
        "groups": [describe(group, name, runs, shared) for group, name in zip(groups, names, strict=True)],
        "comparisons": comparisons(runs, groups, names, chosen, axis, shared) if by or by_name(groups, axis) else [],
        "arms": [describe_arm(arm, pick, groups, names) for arm, pick in zip(found, chosen, strict=True)],
        "numbers": numbers(runs, groups, over, shared),
        "notes": notes(runs, groups, names, found, chosen, axis),
    }


def first_axis(groups: Sequence[Group]) -> str | None:
    """A component before a number: `optimizer` rather than `optimizer.lr`, which goes with it."""
    keys = differing([group.config for group in groups])
    words = [
        key for key in keys if not all(is_number(group.config.get(key)) for group in groups if key in group.config)
    ]
    return next(iter([*words, *keys]), None)


def by_name(groups: Sequence[Group], axis: str | None) -> bool:
    """Whether an axis has names for values; numbers make a curve, and are compared in pairs only on request."""
    return axis is not None and not all(is_number(group.config.get(axis)) for group in groups)


def validation(run: Run) -> float | None:
    """What a configuration is chosen by; None for a run that failed, or without a validation split."""
    risks = (run["summary"] or {}).get("risks", {}).get("validation", {})
    return risks["loss"]["value"] if "loss" in risks else None


def chosen_of(arm: Arm) -> Group | None:
    """A single candidate needs no choice."""
    return arm.candidates[0] if len(arm.candidates) == 1 else arm.chosen


def shared_intervals(runs: Sequence[Run], metric: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """min_F L_tr per class, training set and loss: every run's bounds hold for all."""
    found: dict[tuple[str, ...], tuple[float, float]] = {}
    for run in runs:
        part = decomposition(run, metric)
        if part is not None:
            key = comparable(run["summary"])
            low, high = part["approx_train"]["interval"]
            low = -math.inf if low is None else low
            before = found.get(key, (-math.inf, math.inf))
            found[key] = (max(before[0], low), min(before[1], high))
    return {key: (min(low, high), high) for key, (low, high) in found.items()}


def decomposition(run: Run, metric: str) -> dict[str, Any] | None:
    return None if run["summary"] is None else run["summary"]["decomposition"].get(metric)


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


QUANTITIES = {
    "test loss": ("loss", lambda part: part["test"]["value"]),
    "test error": ("error", lambda part: part["test"]["value"]),
    "optimization (train loss)": ("loss", lambda part: part["train"]["value"]),
    "generalization (loss)": ("loss", lambda part: part["generalization"]["value"]),
}


def comparisons(
    runs: Sequence[Run],
    groups: Sequence[Group],
    names: Sequence[str],
    chosen: Sequence[Group | None],
    axis: str,
    shared: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Every pair of arms by what validation chose of each; corrected within one quantity. Two classes are compared in
    their approximation only where the intervals of min_F L_tr are disjoint, and never in their optimization.
    """
    picked = [group for group in chosen if group is not None]
    if len(picked) > MOST_ARMS:
        return []
    pairs, found = list(combinations(picked, 2)), []
    for quantity, (metric, value) in QUANTITIES.items():
        kept = [pair for pair in pairs if quantity[:12] != "optimization" or same_class(runs, *pair)]
        tested = [difference(*(results(runs, group, metric, value) for group in pair)) for pair in kept]
        for (first, second), each in zip(kept, judged(tested), strict=True):
            if each.pairs:
                pair = [names[groups.index(group)] for group in (first, second)]
                found.append({"quantity": quantity, "first": pair[0], "second": pair[1], **each._asdict()})
    for first, second in pairs:
        ends = [interval_of(runs, group, shared["loss"]) for group in (first, second)]
        if None not in ends and not same_class(runs, first, second) and same_problem(runs, first, second):
            pair = [names[groups.index(group)] for group in (first, second)]
            entry = {"quantity": "approximation (loss)", "first": pair[0], "second": pair[1], "intervals": ends}
            found.append(
                entry | {"verdict": {paired.NO_DIFFERENCE: "intervals overlap"}.get(apart(*ends), apart(*ends))}
            )
    return found


def results(runs: Sequence[Run], group: Group, metric: str, value: Any) -> dict[Any, float | None]:
    """Seed -> result; None for a run that failed."""
    parts = [decomposition(runs[i], metric) for i in group.members]
    return {seed: None if part is None else value(part) for seed, part in zip(group.repeats, parts, strict=True)}


def same_class(runs: Sequence[Run], first: Group, second: Group) -> bool:
    """Whether the runs of both, seed by seed, share min_F L_tr."""
    keys = [
        {
            seed: comparable(runs[i]["summary"])
            for seed, i in zip(group.repeats, group.members, strict=True)
            if done(runs[i])
        }
        for group in (first, second)
    ]
    common = keys[0].keys() & keys[1].keys()
    return bool(common) and all(keys[0][seed] == keys[1][seed] for seed in common)


def same_problem(runs: Sequence[Run], first: Group, second: Group) -> bool:
    """Whether all runs of both have one training set and one loss."""
    members = [runs[i] for group in (first, second) for i in group.members if done(runs[i])]
    return len({comparable(run["summary"])[1:] for run in members}) == 1


def done(run: Run) -> bool:
    return run["summary"] is not None


def interval_of(runs: Sequence[Run], group: Group, shared: Mapping[Any, tuple[float, float]]) -> list[float] | None:
    """That of the group's class, where all its runs have one class and one training set."""
    keys = {comparable(runs[i]["summary"]) for i in group.members if done(runs[i])}
    ends = shared.get(next(iter(keys))) if len(keys) == 1 else None
    return None if ends is None or not math.isfinite(ends[0]) else list(ends)


def describe_arm(arm: Arm, chosen: Group | None, groups: Sequence[Group], names: Sequence[str]) -> dict[str, Any]:
    return {
        "value": arm.value,
        "configurations": len(arm.candidates),
        "runs": arm.runs,
        "chosen": None if chosen is None else names[groups.index(chosen)],
        "edges": [edge._asdict() for edge in arm.edges],
    }


def numbers(
    runs: Sequence[Run], groups: Sequence[Group], over: Sequence[str], shared: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """For each setting that was swept as a number: the groups in its order, a series per rest of the configuration."""
    keys = differing([group.config for group in groups])
    found = []
    for key in keys:
        everywhere = all(is_number(group.config.get(key)) for group in groups)
        if not everywhere or len({group.config[key] for group in groups}) < 3:
            continue
        rest = grouped([group.config for group in groups], (key,))
        titles = labels([{"config": each.config, "path": key} for each in rest])
        series = [
            {
                "label": title,
                "groups": sorted(each.members, key=lambda i: groups[i].config[key]),
                "values": sorted(groups[i].config[key] for i in each.members),
            }
            for each, title in zip(rest, titles, strict=True)
        ]
        found.append({"key": key, "series": [each for each in series if len(each["values"]) > 2]})
    return [each for each in found if each["series"]]


def notes(
    runs: Sequence[Run],
    groups: Sequence[Group],
    names: Sequence[str],
    found: Sequence[Arm],
    chosen: Sequence[Group | None],
    axis: str | None,
) -> list[str]:
    """What a reader must know before believing a difference."""
    told = []
    failed = [run for run in runs if not done(run)]
    if failed:
        told.append(
            f"{len(failed)} of {len(runs)} runs have no result; means are over the others, pairs leave them out"
        )
    if axis is None:
        return told
    several = [arm for arm in found if len(arm.candidates) > 1]
    if several and any(group is None for group in chosen):
        told.append("there is no validation risk to choose by: arms with several configurations are not compared")
    elif several:
        told.append(f"of each {axis} the configuration with the least mean validation loss is compared")
    if unequal_budgets(found):
        budgets = ", ".join(f"{arm.value}: {len(arm.candidates)} configurations, {arm.runs} runs" for arm in found)
        told.append(f"the arms had unequal tuning budgets ({budgets})")
    for arm in found:
        for edge in arm.edges:
            told.append(
                f"{axis}={arm.value}: the best {edge.key} is the {edge.end} that was tried ({edge.value:g}); "
                "the best may lie beyond"
            )
    picked = [group for group in chosen if group is not None]
    for first, second in combinations(picked[:MOST_ARMS], 2):
        beside = confounders(first.config, second.config, axis)
        pair = f"{names[groups.index(first)]} and {names[groups.index(second)]}"
        if beside.others:
            told.append(f"{pair} differ beside {axis} in {', '.join(beside.others)}")
    return list(dict.fromkeys(told))

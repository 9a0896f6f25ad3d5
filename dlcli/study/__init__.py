"""What several runs say together: groups over seeds, one approximation per class, paired differences, what confounds.

Statistics only, as plain JSON; `report` draws and prints it. Nothing here needs torch or a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dlcli.decomposition.sweep import (
    Arm,
    Group,
    arms,
    confounders,
    differing,
    finite,
    grouped,
    is_number,
    standing,
    unequal_budgets,
)
from dlcli.report.comparison import labels
from dlcli.study.differences import MOST_ARMS, comparisons
from dlcli.study.groups import METRICS, Run, describe, done, shared_intervals

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
    scores = [validation(run) for run in runs]
    found = arms(groups, axis, scores) if axis else []
    chosen = [chosen_of(arm) for arm in found]
    against = None if by or by_name(groups, axis) else preferred(chosen, scores)
    compared = comparisons(runs, groups, names, chosen, against, shared)
    told = notes(runs, groups, names, found, chosen, axis)
    if compared and against is not None:
        best = ", the best on validation" if finite(standing(against, scores)[1]) else ""
        told.append(
            f"{axis}={against.config[axis]:g}{best}: the other values are compared with it, corrected for all pairs"
        )
    return {
        "schema": SCHEMA,
        "runs": len(runs),
        "failed": sum(run["summary"] is None for run in runs),
        "over": list(over),
        "axis": axis,
        "groups": [describe(group, name, runs, shared) for group, name in zip(groups, names, strict=True)],
        "comparisons": compared,
        "arms": [describe_arm(arm, pick, groups, names) for arm, pick in zip(found, chosen, strict=True)],
        "numbers": numbers(runs, groups, over, shared),
        "notes": told,
    }


def first_axis(groups: Sequence[Group]) -> str | None:
    """A component before a number: `optimizer` rather than `optimizer.lr`, which goes with it."""
    keys = differing([group.config for group in groups])
    words = [
        key for key in keys if not all(is_number(group.config.get(key)) for group in groups if key in group.config)
    ]
    return next(iter([*words, *keys]), None)


def by_name(groups: Sequence[Group], axis: str | None) -> bool:
    """Whether an axis has names for values, which are all compared; numbers make a curve."""
    return axis is not None and not all(is_number(group.config.get(axis)) for group in groups)


def preferred(chosen: Sequence[Group | None], scores: Sequence[float | None]) -> Group | None:
    """Of a swept number the value that validation prefers, and the first where it has no say: what the other values
    are compared with, as all pairs of a curve would say one thing many times.
    """
    return min(
        (group for group in chosen if group is not None), key=lambda group: standing(group, scores), default=None
    )


def validation(run: Run) -> float | None:
    """What a configuration is chosen by; None for a run that failed, or without a validation split."""
    risks = (run["summary"] or {}).get("risks", {}).get("validation", {})
    return risks["loss"]["value"] if "loss" in risks else None


def chosen_of(arm: Arm) -> Group | None:
    """A single candidate needs no choice."""
    return arm.candidates[0] if len(arm.candidates) == 1 else arm.chosen


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

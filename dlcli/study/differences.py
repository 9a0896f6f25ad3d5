"""Differences of arms: paired by seed, corrected for their number, and what cannot be compared left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from dlcli.decomposition import paired
from dlcli.decomposition.paired import apart, difference, judged
from dlcli.decomposition.sweep import Group
from dlcli.report.comparison import comparable
from dlcli.study.groups import Run, decomposition, done

MOST_ARMS = 8  # of an axis, up to which all pairs are compared


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
    against: Group | None,
    shared: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Every pair of arms by what validation chose of each; corrected within one quantity. Two classes are compared in
    their approximation only where the intervals of min_F L_tr are disjoint, and never in their optimization.

    against: only the pairs with it are told, corrected for all, because the data chose it.
    """
    picked = [group for group in chosen if group is not None]
    if len(picked) > MOST_ARMS or (against is not None and all(len(group.members) == 1 for group in picked)):
        return []
    pairs = [pair[::-1] if pair[0] is against else pair for pair in combinations(picked, 2)]
    found = []
    for quantity, (metric, value) in QUANTITIES.items():
        kept = [pair for pair in pairs if quantity[:12] != "optimization" or same_class(runs, *pair)]
        tested = [difference(*(results(runs, group, metric, value) for group in pair)) for pair in kept]
        for (first, second), each in zip(kept, judged(tested), strict=True):
            if each.pairs and (against is None or second is against):
                pair = [names[groups.index(group)] for group in (first, second)]
                found.append({"quantity": quantity, "first": pair[0], "second": pair[1], **each._asdict()})
    for first, second in pairs if against is None else []:  # those of a number stand in its curve
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


def interval_of(runs: Sequence[Run], group: Group, shared: Mapping[Any, tuple[float, float]]) -> list[float] | None:
    """That of the group's class, where all its runs have one class and one training set."""
    keys = {comparable(runs[i]["summary"]) for i in group.members if done(runs[i])}
    ends = shared.get(next(iter(keys))) if len(keys) == 1 else None
    return None if ends is None or not math.isfinite(ends[0]) else list(ends)

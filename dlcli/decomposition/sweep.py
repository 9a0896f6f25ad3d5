"""What a sweep tried: runs grouped by configuration, arms chosen on validation, and what confounds their comparison.

A configuration here is flat, with keys as on the command line: {"optimizer": "adam", "optimizer.lr": 0.01}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Config = Mapping[str, Any]
BOOKKEEPING = frozenset({"name", "tags", "run_dir", "output_root", "device"})  # where a run is kept, not what it is


class Group(NamedTuple):
    """Runs that differ in nothing but what was repeated, such as the seed."""

    config: dict[str, Any]  # without the repeated keys
    members: tuple[int, ...]  # indices of the runs
    repeats: tuple[Any, ...]  # what each member was repeated with: its seed, or a tuple for several keys


def grouped(configs: Sequence[Config], over: Sequence[str] = ("seed",)) -> list[Group]:
    """The runs by configuration minus `over`, in order of first appearance."""
    found: dict[tuple, list[int]] = {}
    for index, config in enumerate(configs):
        found.setdefault(tuple(sorted((k, repr(v)) for k, v in kept(config, over).items())), []).append(index)
    groups = []
    for members in found.values():
        repeats = [tuple(configs[i].get(key) for key in over) for i in members]
        single = [each[0] if len(each) == 1 else each for each in repeats]
        groups.append(Group(kept(configs[members[0]], over), tuple(members), tuple(single)))
    return groups


def kept(config: Config, over: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in over and key not in BOOKKEEPING}


def differing(configs: Sequence[Config]) -> list[str]:
    """Keys whose values are not the same everywhere; a missing key differs from every value."""
    absent = object()
    keys = dict.fromkeys(key for config in configs for key in config if key not in BOOKKEEPING)
    return [key for key in keys if any(config.get(key, absent) != configs[0].get(key, absent) for config in configs)]


class Confounders(NamedTuple):
    """What differs between two arms besides the axis that is compared."""

    own: tuple[str, ...]  # settings of the axis itself: of `optimizer`, e.g. optimizer.lr
    others: tuple[str, ...]  # everything else: the comparison is not about the axis alone


def confounders(first: Config, second: Config, axis: str) -> Confounders:
    keys = [key for key in differing([first, second]) if key != axis]
    own = tuple(key for key in keys if key.startswith(f"{axis}."))
    return Confounders(own, tuple(key for key in keys if key not in own))


class Edge(NamedTuple):
    """A number that was tuned and came out at an end of what was tried: the best may lie beyond."""

    key: str
    value: float
    end: str  # "lowest" or "highest"
    tried: tuple[float, ...]


class Arm(NamedTuple):
    """Everything that was tried with one value of the compared axis, and what validation chose of it."""

    value: Any
    candidates: tuple[Group, ...]
    chosen: Group | None  # None if no candidate has a finite score
    runs: int  # tuning budget
    failed: int  # runs among them without a finite score
    edges: tuple[Edge, ...]


def arms(groups: Sequence[Group], axis: str, scores: Sequence[float | None]) -> list[Arm]:
    """One arm per value of `axis`, in order of appearance; within each the group with the least mean score is chosen.

    scores: one per run, on validation data, less is better; None or non-finite for a run that failed. A group with a
    failed run is chosen only if every group has one: an average over survivors is no average.
    """
    values = dict.fromkeys(repr(group.config.get(axis)) for group in groups)
    found = []
    for value in values:
        candidates = [group for group in groups if repr(group.config.get(axis)) == value]
        ranked = [(standing(group, scores), group) for group in candidates]
        best, chosen = min(ranked, key=lambda pair: pair[0])
        members = [scores[i] for group in candidates for i in group.members]
        found.append(
            Arm(
                candidates[0].config.get(axis),
                tuple(candidates),
                chosen if math.isfinite(best[1]) else None,
                len(members),
                sum(not finite(score) for score in members),
                edges(chosen, candidates) if math.isfinite(best[1]) else (),
            )
        )
    return found


def standing(group: Group, scores: Sequence[float | None]) -> tuple[float, float]:
    """Share of failed runs, then the mean score of the others."""
    good = [scores[i] for i in group.members if finite(scores[i])]
    return 1 - len(good) / len(group.members), math.fsum(good) / len(good) if good else math.inf


def finite(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def edges(chosen: Group, candidates: Sequence[Group]) -> tuple[Edge, ...]:
    """Tuned numbers at the end of their grid. Two values are all ends: that too is said.

    A grid is made of configurations with the same words: the learning rate of sgd is no value that was tried for adam.
    """
    found, grid = [], [group.config for group in candidates if words(group.config) == words(chosen.config)]
    for key in differing(grid):
        tried = sorted({config[key] for config in grid if is_number(config.get(key))})
        value = chosen.config.get(key)
        if len(tried) > 1 and is_number(value) and value in (tried[0], tried[-1]):
            end = "lowest" if value == tried[0] else "highest"
            found.append(Edge(key, float(value), end, tuple(map(float, tried))))
    return tuple(found)


def words(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in BOOKKEEPING and not is_number(value)}


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


def unequal_budgets(found: Sequence[Arm]) -> bool:
    """Whether some arm was tuned over more configurations, or with more runs, than another."""
    return len({(len(arm.candidates), arm.runs) for arm in found}) > 1

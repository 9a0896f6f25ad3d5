"""The space that a search draws from, in the words of a sweep: choices, ranges, `interval(...)`, `tag(log, ...)`."""

from __future__ import annotations

from typing import Any, NamedTuple

from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from dlcli.config.overrides import Override, parse
from dlcli.errors import UsageError


class Axis(NamedTuple):
    """One setting that is searched over: `choices`, or else the numbers from `low` to `high`."""

    key: str
    choices: tuple[str, ...]  # as they are typed
    low: float = 0
    high: float = 0
    step: float | None = None  # None: every number between
    whole: bool = False
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that stand for all of them, where a config is checked."""
        return self.choices or (str(self.low), str(self.high))


def space(texts: list[str]) -> tuple[list[Axis], list[str]]:
    """The axes of a command line, and the overrides that do not vary. UsageError for one that has no values."""
    swept = [override for override in parse(texts) if override.is_sweep]
    fixed = [override.text for override in parse(texts) if not override.is_sweep]
    if not swept:
        raise UsageError("the search has nothing to vary", "name values: optimizer.lr='tag(log, interval(1e-4, 1))'")
    return [_axis(override) for override in swept], fixed


def _axis(override: Override) -> Axis:
    value: Any = override.parsed.value()
    if isinstance(value, IntervalSweep):
        whole = type(value.start) is int and type(value.end) is int
        found = Axis(override.key, (), value.start, value.end, 1 if whole else None, whole, "log" in value.tags)
    elif isinstance(value, RangeSweep):
        values = list(override.parsed.sweep_iterator())
        whole = all(type(each) is int for each in values)
        found = Axis(override.key, (), *((values[0], values[-1]) if values else (1, 0)), value.step, whole)
    else:
        return Axis(override.key, tuple(override.parsed.sweep_string_iterator()))
    if found.low > found.high or (found.log and found.low <= 0):
        raise UsageError(f"{override.text!r} names no value", "an interval goes from low to high, above 0 with log")
    return found

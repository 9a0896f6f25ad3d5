"""Numbers and bounds in words: the verb follows from the kind of the bound, so nothing sounds surer than it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN_OF_HASH = 8


def number(value: float | None, unit: str = "") -> str:
    """Four significant digits; a fraction as a percentage with two decimals. None is an end that is open."""
    if value is None:
        return "unknown"
    if unit == "fraction":
        return f"{100 * value + 0.0:.2f} %"
    return "0" if value == 0 else f"{value:#.4g}".removesuffix(".")


def interval(ends: Sequence[float | None], unit: str = "") -> str:
    """A point where both ends are the same number, else the interval; a midpoint is never formed."""
    low, high = ends
    if low is None or high is None:
        return f"at most {number(high, unit)}" if high is not None else f"at least {number(low, unit)}"
    if number(low, unit) == number(high, unit):
        return number(high, unit)
    return f"in [{bare(low, unit)}, {bare(high, unit)}]{percent(unit)}"


def estimate(value: float, ci: Sequence[float] | None, unit: str = "") -> str:
    if ci is None:
        return number(value, unit)
    return f"{number(value, unit)} [{bare(ci[0], unit)}, {bare(ci[1], unit)}]"


def bare(value: float, unit: str) -> str:
    return number(value, unit).removesuffix(" %")


def percent(unit: str) -> str:
    return " %" if unit == "fraction" else ""


def bound(record: Mapping[str, Any], unit: str = "") -> str:
    """'is at most 0.1192: training continued (certified, weights 3fa9c012)'."""
    end = {"lower": "at least", "upper": "at most"}[record["side"]]
    verb = {
        "exact": "is",
        "certified": f"is {end}",
        "statistical": f"with {100 * (record['level'] or 0):.3g} % confidence is {end}",
        "heuristic": f"a heuristic suggests {end}",
    }[record["kind"]]
    notes = [record["kind"]]
    if record["attained"] is False:
        notes.append("approached, not attained")
    if record["witness"]:
        notes.append(f"weights {record['witness'][:SHOWN_OF_HASH]}")
    return f"{verb} {number(record['value'], unit)}: {record['method']} ({', '.join(notes)})"


def unit_name(unit: str) -> str:
    return "" if unit == "fraction" else f" ({unit})"

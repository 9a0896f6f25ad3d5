"""The vocabulary of setting types: what a value in a YAML may be, and how a wrong one is described.

A factory annotates each of its settings with one of these types (or a plain `int`, `float`, `bool`, `str`,
`Literal[...]`, `list[T]`, `tuple[T, T]`, or a union of them with `|`). Torch is never imported here, so a
configuration is judged in milliseconds.
"""

from __future__ import annotations

import math
import sys
import types
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin


class Range(NamedTuple):
    """Legal values of a number; `open_low` and `open_high` exclude the ends."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def admits(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'>' if self.open_low else '>='} {self.low:.10g}"
        return f"in {'(' if self.open_low else '['}{self.low:.10g}, {self.high:.10g}{')' if self.open_high else ']'}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]
DropRate = Annotated[float, Range(0, 1, open_high=True)]
Share = Annotated[float, Range(0, 1, open_low=True)]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "softplus", "tanh", "sigmoid"]

GREATEST_INT = 2**63 - 1  # what a tensor's size or index can hold

BUILTINS = {kind.__name__: kind for kind in (bool, float, int, list, str, tuple)}
NAMESPACE = {
    "Activation": Activation,
    "Annotated": Annotated,
    "Count": Count,
    "DropRate": DropRate,
    "Literal": Literal,
    "Natural": Natural,
    "NonNegative": NonNegative,
    "Positive": Positive,
    "Probability": Probability,
    "Range": Range,
    "Seed": Seed,
    "Share": Share,
}


@cache
def parse(annotation: str) -> Any:
    """The type that a factory's annotation, as source text, stands for."""
    return eval(annotation, {"__builtins__": BUILTINS}, NAMESPACE)


def fits(value: Any, kind: Any) -> bool:
    """Whether `value`, as it came out of YAML, is legal for the setting type `kind`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is None or kind is types.NoneType:
        return value is None
    if origin is Annotated:
        return fits(value, arguments[0]) and arguments[1].admits(value)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= GREATEST_INT
    return isinstance(value, kind)


def cast(value: Any, kind: Any) -> Any:
    """A legal value with whole numbers made floats where `kind` is a number, so that 1 and 1.0 are one setting."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return cast(value, arguments[0])
    if origin in (Union, types.UnionType):
        return cast(value, next(option for option in arguments if fits(value, option)))
    if origin is list:
        return [cast(item, arguments[0]) for item in value]
    if origin is tuple:
        return [cast(item, option) for item, option in zip(value, arguments, strict=True)]
    return float(value) if kind is float else value


def words(kind: Any) -> list[str]:
    """The words that a setting of type `kind` may be."""
    if get_origin(kind) is Literal:
        return [choice for choice in get_args(kind) if isinstance(choice, str)]
    if get_origin(kind) in (Union, types.UnionType):
        return [word for option in get_args(kind) for word in words(option)]
    return []


def describe(kind: Any) -> str:
    """`kind` in words, for an error message: 'a whole number >= 1'."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is None or kind is types.NoneType:
        return "null"
    if origin is Annotated:
        return f"{describe(arguments[0])} {arguments[1]}"
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in arguments)
    if origin is list:
        return f"a list of {describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(describe(item) for item in arguments)}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]

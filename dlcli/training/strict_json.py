"""JSON as data that may be damaged or hostile: one spelling per value, no duplicate keys, no numbers beyond float64."""

from __future__ import annotations

import json
import math
from typing import Any

LIMIT = 4 * 2**20  # bytes of one document; keeps the objects made from a hostile one below about 100 MB


def dump(value: Any) -> bytes:
    """The one spelling of a value. Raises ValueError for NaN and infinities, TypeError for what is not plain data."""
    return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def dump_lines(value: Any) -> bytes:
    """The same for people to read: indented, in the given order."""
    return json.dumps(value, allow_nan=False, indent=2).encode() + b"\n"


def parse(document: bytes) -> Any:
    """The value of a document. Raises ValueError for anything doubtful, whatever its depth or size."""
    if len(document) > LIMIT:
        raise ValueError(f"more than {LIMIT} bytes of JSON")
    try:
        return json.loads(document, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def parse_object(document: bytes) -> dict[str, Any]:
    value = parse(document)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number

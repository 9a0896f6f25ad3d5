"""The global minimum of a function class, enclosed between two numbers: what an exact solver hands to `decompose`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcli.protocols import Bound

CLOSED = 1e-6  # gap, relative to 1 + |value|, below which the two ends are called exact


class Optimum(NamedTuple):
    """low <= inf_F L_tr <= high."""

    low: float
    high: float
    method: str
    weights: tuple[np.ndarray, ...] = ()  # of the member that reaches `high`; layout as the solver documents
    attained: bool | None = True  # False: no member reaches the infimum; None: not known
    evidence: Mapping[str, Any] = {}

    @property
    def gap(self) -> float:
        return self.high - self.low

    def bounds(self, seconds: float = 0.0) -> tuple[Bound, Bound]:
        kind = "exact" if self.gap <= CLOSED * (1 + abs(self.high)) else "certified"
        evidence = {"gap": self.gap, **self.evidence}
        return (
            Bound("lower", self.low, kind, self.method, seconds=seconds, evidence=evidence),
            Bound("upper", self.high, kind, self.method, self.attained, seconds=seconds, evidence=evidence),
        )

"""Densities of standardized inputs, as densities of the numbers of the data set."""

from __future__ import annotations

import math

from dlcli.protocols import DataSpec


def log_volume(spec: DataSpec) -> float:
    """Nats by which the -log density of an example in the numbers of the data set exceeds that of a model's inputs."""
    size = math.prod(spec.shape)
    return sum(map(math.log, spec.scale)) * size / len(spec.scale)

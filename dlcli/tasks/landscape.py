"""An energy over the plane as a picture; shared by the ways to train one."""

from __future__ import annotations

import numpy as np

from dlcli.protocols import Split
from dlcli.tasks.langevin import Energy
from dlcli.tasks.pictures import density_map, frame, lattice, scatter


def density_beside(model: Energy, split: Split) -> dict[str, np.ndarray]:
    """Given points in the plane, and beside them exp(-energy) in the same frame."""
    given = split.batch(slice(None)).inputs
    corners = frame(given)
    energies = model(lattice(corners))
    return {"density": np.concatenate([scatter(given, corners), density_map((energies.min() - energies).exp())], 1)}

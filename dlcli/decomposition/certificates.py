"""Bounds of min_F L_tr that need no training: from the loss, from the data, and from the scale of the scores."""

from __future__ import annotations

import math

import numpy as np

from dlcli.protocols import Bound, Metric


def nonnegativity(metric: Metric) -> Bound | None:
    """The loss's own floor; None for a loss without one, such as the NLL of a density."""
    if metric.floor is None:
        return None
    return Bound("lower", metric.floor, "certified", "nonnegativity" if metric.floor == 0 else "floor of the loss")


def label_conflicts(groups: list[np.ndarray], targets: np.ndarray, metric: Metric) -> Bound | None:
    """Identical inputs get identical predictions, so different targets among them cost every function something.

    groups: as `repeated` returns them; targets: (n, ...). Each group contributes its least risk over constant
    predictions, every other example the floor of the loss. Tight where F can separate distinct inputs. None for a
    loss without a floor.
    """
    if metric.floor is None:
        return None
    n = len(targets)
    total, grouped, conflicting = 0.0, 0, 0
    for members in groups:
        least = metric.constant_risk(targets[members])
        if least is not None and least > metric.floor:
            total += len(members) * least
            grouped += len(members)
            conflicting += 1
    value = (total + (n - grouped) * metric.floor) / n
    evidence = {"groups": len(groups), "conflicting_groups": conflicting, "examples_in_them": grouped}
    return Bound("lower", float(value), "certified", "label conflicts of identical inputs", evidence=evidence)


def repeated(inputs: np.ndarray) -> list[np.ndarray]:
    """Indices of the examples that share their input with another, one array per distinct input.

    inputs: (n, ...) as the model sees them, after the whole input pipeline, or a digest of each. Compared byte by byte.
    """
    rows = np.ascontiguousarray(inputs).reshape(len(inputs), -1) + 0  # -0.0 and 0.0 are one input
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order, ends = np.argsort(group, kind="stable"), np.cumsum(counts)
    return [order[ends[i] - counts[i] : ends[i]] for i in np.flatnonzero(counts > 1)]


def score_scaling(train_rows: np.ndarray, unit: str, free_head: bool) -> Bound | None:
    """Every training example on the right side with a strict margin: scaling the last layer drives the loss to 0.

    train_rows: (n,) losses of one member of F. A logistic or cross-entropy row below ln 2 nats proves a strict margin
    (probability above one half), a hinge row below 1 likewise. `free_head`: the last layer is linear and nothing
    bounds its weights; without it nothing is certified. The cross-entropy's zero is approached, never reached.
    """
    strict = {"nats": math.log(2), "margin": 1.0}.get(unit)
    if not free_head or strict is None or not len(train_rows) or float(train_rows.max()) >= strict:
        return None
    return Bound(
        "upper",
        0.0,
        "certified",
        "scores scaled up: all training margins are positive, the head is free",
        attained=unit == "margin",
        evidence={"greatest_row": float(train_rows.max()), "strict_below": strict},
    )

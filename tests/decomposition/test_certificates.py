from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from dlcli.decomposition.certificates import label_conflicts, nonnegativity, repeated, score_scaling
from dlcli.metrics import multiclass, numeric
from dlcli.metrics.mean import MeanRisk
from dlcli.protocols import Batch

DENSITY = MeanRisk("nats", None, lambda prediction, batch: prediction, lambda targets: None)
# Three distinct inputs: the first stands there four times with classes 0 0 0 1, the others agree with themselves.
INPUTS = np.array([[1.0, 2.0]] * 4 + [[3.0, 4.0]] * 2 + [[5.0, 6.0]], dtype=np.float32)
TARGETS = np.array([0, 0, 0, 1, 2, 2, 0])
GROUPS = repeated(INPUTS)


def entropy(*shares):
    return -sum(p * math.log(p) for p in shares)


@pytest.mark.parametrize(
    "metric, floor",
    [
        (multiclass.ZERO_ONE, 1 / 7),
        (multiclass.CROSS_ENTROPY, 4 * entropy(0.75, 0.25) / 7),
        (multiclass.SQUARED_ERROR, 4 * 2 * 0.75 * 0.25 / 7),
        (multiclass.HINGE, 4 * 0.5 / 7),
    ],
)
def test_a_planted_conflict_is_found_exactly(metric, floor):
    assert label_conflicts(GROUPS, TARGETS, metric).value == pytest.approx(floor, rel=1e-12)


def test_conflicting_numbers_cost_their_variance_within_the_group():
    bound = label_conflicts(GROUPS, TARGETS[:, None].astype(np.float32), numeric.SQUARED_ERROR)
    assert bound.value == pytest.approx(4 * np.var([0, 0, 0, 1]) / 7, rel=1e-12)


def test_the_floor_is_reached_by_the_table_of_shares():
    scores = torch.tensor(
        [[0.75, 0.25, 0.0]] * 4 + [[0.0, 0.0, 1.0]] * 2 + [[1.0, 0.0, 0.0]], dtype=torch.float64
    ).log()
    rows = multiclass.CROSS_ENTROPY.rows(scores, Batch(torch.from_numpy(INPUTS), torch.from_numpy(TARGETS)))
    bound = label_conflicts(GROUPS, TARGETS, multiclass.CROSS_ENTROPY)
    assert rows.mean().item() == pytest.approx(bound.value, rel=1e-12)


def test_the_evidence_counts_groups():
    evidence = label_conflicts(GROUPS, TARGETS, multiclass.ZERO_ONE).evidence
    assert evidence == {"groups": 2, "conflicting_groups": 1, "examples_in_them": 4}


def test_duplicating_the_data_changes_nothing():
    once = label_conflicts(GROUPS, TARGETS, multiclass.CROSS_ENTROPY).value
    twice = label_conflicts(repeated(np.tile(INPUTS, (2, 1))), np.tile(TARGETS, 2), multiclass.CROSS_ENTROPY).value
    assert twice == pytest.approx(once, rel=1e-12)


def test_scaled_targets_scale_the_squared_floor():
    targets = TARGETS[:, None].astype(np.float64)
    one = label_conflicts(GROUPS, targets, numeric.SQUARED_ERROR).value
    assert label_conflicts(GROUPS, 3 * targets, numeric.SQUARED_ERROR).value == pytest.approx(9 * one, rel=1e-12)


def test_distinct_inputs_have_no_conflict():
    assert label_conflicts(repeated(np.arange(7.0)[:, None]), TARGETS, multiclass.CROSS_ENTROPY).value == 0.0


def test_negative_zero_is_zero():
    assert [group.tolist() for group in repeated(np.array([[0.0], [1.0], [-0.0]]))] == [[0, 2]]


def test_images_are_compared_whole():
    images = np.random.default_rng(0).integers(0, 2, size=(64, 1, 2, 2), dtype=np.uint8)
    seen = Counter(image.tobytes() for image in images)
    expected = sorted(count for count in seen.values() if count > 1)
    assert sorted(map(len, repeated(images))) == expected != []


@pytest.mark.parametrize("certificate", [nonnegativity, lambda metric: label_conflicts(GROUPS, TARGETS, metric)])
def test_a_density_has_no_floor(certificate):
    assert certificate(DENSITY) is None


def test_a_loss_that_cannot_be_negative_has_floor_zero():
    assert nonnegativity(multiclass.CROSS_ENTROPY)[:3] == ("lower", 0.0, "certified")


def test_separated_classes_have_infimum_zero_that_is_not_attained():
    bound = score_scaling(np.array([0.1, 0.69]), "nats", free_head=True)
    assert (bound.value, bound.attained) == (0.0, False)


def test_the_infimum_of_a_separated_hinge_loss_is_attained():
    assert score_scaling(np.array([0.1, 0.99]), "margin", free_head=True).attained is True


@pytest.mark.parametrize(
    "rows, unit, free_head",
    [
        ([0.1, 0.7], "nats", True),
        ([0.1, 0.6], "nats", False),
        ([0.1], "squared units", True),
        ([0.1, 1.0], "margin", True),
    ],
)
def test_scaling_certifies_nothing_without_strict_margins_and_a_free_head(rows, unit, free_head):
    assert score_scaling(np.array(rows), unit, free_head) is None

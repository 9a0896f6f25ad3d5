from __future__ import annotations

import numpy as np
import pytest

from dlcli.decomposition.certificates import label_conflicts, repeated
from dlcli.decomposition.interpolation import full_rank, memorization, memorizer
from dlcli.metrics import numeric


def test_as_many_independent_features_as_examples_certify_zero():
    generator = np.random.default_rng(0)
    bound = full_rank(generator.normal(size=(30, 29)), generator.normal(size=(30, 2)))
    assert (bound.value, bound.attained) == (0.0, True) and bound.evidence["residual"] < 1e-20


@pytest.mark.parametrize("rank", [3, 28])
def test_many_parameters_of_low_rank_certify_nothing(rank):
    """A bottleneck in front of 200 features: 200 > 30, and no more than `rank` of them are independent."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, rank)) @ generator.normal(size=(rank, 200))
    assert full_rank(features, generator.normal(size=30)) is None


def test_fewer_features_than_examples_certify_nothing():
    generator = np.random.default_rng(0)
    assert full_rank(generator.normal(size=(30, 28)), generator.normal(size=30)) is None


def test_identical_inputs_certify_nothing():
    features = np.random.default_rng(0).normal(size=(30, 40))
    features[1] = features[0]
    assert full_rank(features, np.arange(30.0)) is None


def test_random_labels_are_memorized_with_one_unit_each():
    generator = np.random.default_rng(0)
    inputs, labels = generator.normal(size=(1000, 40)), generator.integers(10, size=1000)
    found = memorizer(inputs, np.eye(10)[labels])
    scores = found.predict(inputs)
    assert (scores.argmax(1) == labels).all()
    assert found.outputs.shape == (1000, 10)
    assert memorization(inputs, np.eye(10)[labels], width=1000).value < 1e-15
    assert memorization(inputs, np.eye(10)[labels], width=999) is None


def test_it_is_an_ordinary_two_layer_network():
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(20, 3)), generator.normal(size=20)
    found = memorizer(inputs, targets)
    first, biases = np.tile(found.direction, (20, 1)).T, -found.thresholds
    assert np.maximum(0, inputs @ first + biases) @ found.outputs == pytest.approx(found.predict(inputs))
    assert found.predict(inputs)[:, 0] == pytest.approx(targets, abs=1e-9)


def test_conflicting_targets_leave_the_floor_and_nothing_more():
    inputs = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), 2, axis=0)
    targets = np.arange(20.0)[:, None] % 3
    floor = label_conflicts(repeated(inputs), targets, numeric.SQUARED_ERROR).value
    bound = memorization(inputs, targets, width=10)
    assert bound.value == pytest.approx(floor, rel=1e-9) and bound.evidence["units"] == 10

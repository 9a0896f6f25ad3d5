from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from dlcli.decomposition.least_squares import bottleneck_floor, least_squares, linear_autoencoder, ridge

DIGITS = load_digits()
IMAGES, ONE_HOT = DIGITS.data / 16, np.eye(10)[DIGITS.target]


def gaussian(n=50, p=6, t=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, p)) + 2, generator.normal(size=(n, t)) - 1


@pytest.mark.parametrize("rank, value", [(None, 0.30802243), (3, 0.64721384)])
def test_digits_to_one_hot_has_its_known_minimum(rank, value):
    found = least_squares(IMAGES, ONE_HOT, rank=rank)
    assert found.low <= found.high == pytest.approx(value, abs=5e-9)
    assert found.gap < 1e-12


def test_the_linear_autoencoder_of_digits_is_pca():
    found = linear_autoencoder(IMAGES, 8)
    reference = PCA(8).fit(IMAGES)
    rebuilt = reference.inverse_transform(reference.transform(IMAGES))
    assert found.high == pytest.approx(1.53044819, abs=5e-9)
    assert found.high == pytest.approx(np.sum((rebuilt - IMAGES) ** 2) / len(IMAGES), rel=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_no_deep_linear_network_lies_below(bias):
    """Alternating least squares on both layers descends to the closed form and never under it."""
    inputs, targets = gaussian()
    if bias:
        inputs, targets = inputs - inputs.mean(0), targets - targets.mean(0)
    found = least_squares(inputs, targets, bias=bias, rank=2)
    for seed in range(3):
        first = np.random.default_rng(seed).normal(size=(6, 2))
        for _ in range(300):
            second = np.linalg.lstsq(inputs @ first, targets)[0]
            first = np.linalg.lstsq(inputs, targets)[0] @ np.linalg.pinv(second)
            assert np.sum((inputs @ first @ second - targets) ** 2) / 50 >= found.low
        assert np.sum((inputs @ first @ second - targets) ** 2) / 50 == pytest.approx(found.high, rel=1e-6)


def test_the_weights_have_the_rank_and_reach_the_upper_end():
    inputs, targets = gaussian()
    found = least_squares(inputs, targets, rank=2)
    maps, offset = found.weights
    assert np.linalg.matrix_rank(maps) == 2
    assert np.mean(np.sum((inputs @ maps + offset - targets) ** 2, axis=1)) == pytest.approx(found.high, rel=1e-12)


def test_more_features_than_examples_fit_exactly():
    found = least_squares(*gaussian(n=10, p=20))
    assert found.low == 0.0 and found.high < 1e-20


def test_scaled_targets_scale_the_minimum_by_the_square():
    inputs, targets = gaussian()
    assert least_squares(inputs, 3 * targets).high == pytest.approx(9 * least_squares(inputs, targets).high, rel=1e-12)


def test_a_wider_bottleneck_never_has_a_greater_minimum():
    inputs, targets = gaussian()
    values = [least_squares(inputs, targets, rank=rank).high for rank in range(4)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(np.sum(np.var(targets, axis=0)))


def test_ridge_splits_its_objective_as_scikit_learn_finds_it():
    inputs, targets = gaussian()
    found = ridge(inputs, targets, penalty=0.3)
    reference = Ridge(alpha=0.3 * 50).fit(inputs, targets)
    risk = np.mean(np.sum((reference.predict(inputs) - targets) ** 2, axis=1))
    assert found.evidence["train_risk"] == pytest.approx(risk, rel=1e-10)
    assert found.high == pytest.approx(risk + 0.3 * np.sum(reference.coef_**2), rel=1e-10)
    assert found.gap < 1e-12
    assert found.evidence["train_risk"] > least_squares(inputs, targets).high


def test_the_floor_of_a_bottleneck_holds_for_every_encoder():
    """Even for one that knows the targets: the best predictions of rank 2 reach it, a linear map is above it."""
    inputs, targets = gaussian()
    floor = bottleneck_floor(targets, 2)
    centred = targets - targets.mean(0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    best = (left[:, :2] * singular[:2]) @ right[:2]
    assert floor == pytest.approx(np.sum((best - centred) ** 2) / 50, rel=1e-12)
    assert floor < least_squares(inputs, targets, rank=2).low
    assert bottleneck_floor(targets, 3) < 1e-20

from __future__ import annotations

import gzip
import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from dlcli.decomposition.certificates import repeated
from dlcli.decomposition.floors import (
    bernoulli_entropy,
    bounded_scores,
    canonical_conflicts,
    constant_prediction,
    context_floor,
    rescaling,
    smoothing_entropy,
    target_entropy,
)
from dlcli.decomposition.softmax_regression import cross_entropies, softmax_regression
from dlcli.metrics import multiclass

DATA = Path(os.environ.get("DLCLI_DATA", "."))
TEXT, PIXELS = DATA / "text/tinyshakespeare.txt", DATA / "fashion-mnist/train-images-idx3-ubyte.gz"
BITS = np.array(list(product((0, 1), repeat=5)))


@pytest.mark.parametrize("metric, floor", [(multiclass.ZERO_ONE, 0.3125), (multiclass.CROSS_ENTROPY, 0.5770)])
def test_a_model_without_positions_cannot_name_the_first_of_five_bits(metric, floor):
    bound = canonical_conflicts(np.sort(BITS, axis=1), BITS[:, 0], metric, "permutations of the tokens")
    assert bound.value == pytest.approx(floor, abs=5e-5)
    assert bound.method == "label conflicts under permutations of the tokens"


def test_without_the_invariance_there_is_no_conflict():
    assert canonical_conflicts(BITS, BITS[:, 0], multiclass.ZERO_ONE, "nothing").value == 0


def test_label_smoothing_has_its_published_floor():
    assert smoothing_entropy(0.1, 10) == pytest.approx(0.5003, abs=5e-5)
    assert smoothing_entropy(0.0, 10) == 0


def test_soft_targets_cost_their_entropy_and_conflicts_the_entropy_of_the_mean():
    smooth = 0.9 * np.eye(10) + 0.01
    assert target_entropy(smooth).value == pytest.approx(smoothing_entropy(0.1, 10), rel=1e-12)
    groups = repeated(np.r_[0.0, 0.0, np.arange(1.0, 9.0)])
    assert target_entropy(np.eye(10), groups).value == pytest.approx(2 * math.log(2) / 10, rel=1e-12)


def test_grey_targets_cost_their_binary_entropy():
    assert bernoulli_entropy(np.array([[0.5, 0.0], [1.0, 0.5]])).value == pytest.approx(math.log(2), rel=1e-12)


@pytest.mark.skipif(not PIXELS.is_file(), reason="DLCLI_DATA has no Fashion-MNIST")
def test_fashion_mnist_has_its_known_floor():
    images = np.frombuffer(gzip.decompress(PIXELS.read_bytes()), np.uint8, offset=16).reshape(60_000, 784)
    entropies = np.array([bernoulli_entropy(np.array([[level / 255]])).value for level in range(256)])
    assert entropies[images].sum(1).mean() == pytest.approx(188.28, abs=0.005)


def conditional_entropies(tokens, window, stride):
    """The definition, by dictionaries: mean over k = 1..window of H(next | k before)."""
    total = 0.0
    starts = range(0, len(tokens) - window, stride)
    for k in range(1, window + 1):
        contexts, pairs = {}, {}
        for start in starts:
            context, following = tuple(tokens[start : start + k]), tokens[start + k]
            contexts[context] = contexts.get(context, 0) + 1
            pairs[context, following] = pairs.get((context, following), 0) + 1
        total -= sum(count * math.log(count / contexts[context]) for (context, _), count in pairs.items())
    return total / len(starts) / window


@pytest.mark.parametrize("window, stride", [(1, 1), (3, 1), (8, 1), (8, 8), (30, 1)])
def test_the_context_floor_is_the_mean_of_conditional_entropies(window, stride):
    tokens = np.random.default_rng(0).choice(4, size=600, p=[0.7, 0.1, 0.1, 0.1])
    floor = context_floor(tokens, window, stride).value
    assert floor == pytest.approx(conditional_entropies(tokens.tolist(), window, stride), rel=1e-10)


def test_a_periodic_text_costs_nothing_and_a_constant_one_neither():
    assert context_floor(np.tile([0, 1, 2, 3], 50), 7).value == pytest.approx(0, abs=1e-3)
    assert context_floor(np.zeros(100, int), 7).value == 0


@pytest.mark.skipif(not TEXT.is_file(), reason="DLCLI_DATA has no tiny-shakespeare")
@pytest.mark.parametrize("window, floor", [(64, 0.1642), (256, 0.0411)])
def test_tiny_shakespeare_has_its_known_floor(window, floor):
    text = TEXT.read_text()
    characters = sorted(set(text))
    tokens = np.searchsorted(characters, list(text))[: int(0.9 * len(text))]
    assert len(tokens) == 1_003_854
    assert context_floor(tokens, window).value == pytest.approx(floor, abs=5e-5)


def test_bounded_scores_cannot_reach_zero():
    best = np.array([[2.0, -2.0, -2.0]])
    assert bounded_scores(3, 2.0).value == pytest.approx(cross_entropies(best, np.eye(3)[:1])[0], rel=1e-12)


def test_the_best_constant_is_above_the_class_minimum():
    labels = np.array([0, 0, 0, 1, 2, 2])
    bound = constant_prediction(labels, multiclass.CROSS_ENTROPY)
    assert bound.value == pytest.approx(softmax_regression(np.zeros((6, 1)), labels).high, abs=1e-7)


def rescaled(scores, labels):
    """The cross-entropy of the scores as `rescaling` changes them."""
    factor, biases = rescaling(scores, labels)
    return cross_entropies(factor * scores + biases, np.eye(scores.shape[1])[labels]).mean()


def test_rescaled_scores_lie_between_the_class_minimum_and_the_scores_themselves():
    generator = np.random.default_rng(0)
    inputs, labels = generator.normal(size=(200, 4)), generator.integers(3, size=200)
    scores = 5 * inputs @ generator.normal(size=(4, 3))
    value = rescaled(scores, labels)
    assert softmax_regression(inputs, labels).low <= value
    assert value < 0.5 * cross_entropies(scores, np.eye(3)[labels]).mean()
    assert value <= constant_prediction(labels, multiclass.CROSS_ENTROPY).value + 1e-9


def test_the_factor_of_overconfident_scores_is_recovered():
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(50_000, 3))
    labels = (scores + generator.gumbel(size=scores.shape)).argmax(1)
    assert rescaling(4 * scores, labels)[0] == pytest.approx(0.25, rel=0.03)


def test_rescaled_scores_are_those_of_a_general_minimizer():
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(300, 4)) * [1, 5, 0.1, 2] + [0, 1, -1, 0]
    labels = generator.integers(4, size=300)
    reference = minimize(
        lambda point: cross_entropies(point[0] * scores + point[1:], np.eye(4)[labels]).mean(), np.eye(5)[0], tol=1e-12
    )
    assert rescaled(scores, labels) == pytest.approx(reference.fun, abs=1e-8)

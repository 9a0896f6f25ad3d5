from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcli.metrics import next_token as tokens
from dlcli.protocols import Batch

GENERATOR = torch.Generator().manual_seed(0)
SCORES = 3 * torch.randn(6, 5, 4, generator=GENERATOR)  # (batch, length, vocabulary)
BATCH = Batch(torch.zeros(6, 5).long(), torch.randint(4, (6, 5), generator=GENERATOR))
SURPRISE = -SCORES.double().log_softmax(2).gather(2, BATCH.targets[..., None]).squeeze(2).numpy()  # (batch, length)


def rows(metric):
    return metric.rows(SCORES, BATCH).double().numpy()


def test_the_risk_is_the_mean_surprise_over_all_tokens():
    assert tokens.CROSS_ENTROPY.reduce(rows(tokens.CROSS_ENTROPY)) == pytest.approx(SURPRISE.mean(), rel=1e-6)


def test_perplexity_is_the_exponential_of_the_mean_and_no_mean_of_exponentials():
    value = tokens.PERPLEXITY.reduce(rows(tokens.PERPLEXITY))
    assert value == pytest.approx(math.exp(SURPRISE.mean()), rel=1e-6)
    assert value < np.exp(SURPRISE.mean(1)).mean() - 0.1


def test_bits_per_character_are_all_bits_over_all_characters():
    characters = np.array([1, 0, 3, 2])  # a token may be the inner part of a character
    metric = tokens.bits_per_character(characters)
    expected = SURPRISE.sum() / math.log(2) / characters[BATCH.targets.numpy()].sum()
    assert metric.reduce(rows(metric)) == pytest.approx(expected, rel=1e-6)


def test_the_error_is_the_share_of_tokens_that_are_not_the_likeliest():
    wrong = SCORES.argmax(2) != BATCH.targets
    assert tokens.ZERO_ONE.reduce(rows(tokens.ZERO_ONE)) == pytest.approx(wrong.double().mean().item())


def test_no_constant_prediction_does_better_than_the_least_constant_risk():
    targets = BATCH.targets.numpy()
    counts = np.stack([(targets == token).sum(0) for token in range(4)], 1)  # (length, vocabulary)
    shares = torch.from_numpy(counts / len(targets))
    best = shares.clamp_min(1e-300).log().expand(6, 5, 4)
    for metric in (tokens.CROSS_ENTROPY, tokens.ZERO_ONE):
        reached = metric.reduce(metric.rows(best, BATCH).double().numpy())
        assert reached == pytest.approx(metric.constant_risk(targets), rel=1e-6)
        assert metric.reduce(rows(metric)) > metric.constant_risk(targets)


def test_the_units_claim_no_margin_for_single_tokens():
    """A mean below ln 2 does not prove each token right, so the certificate by scaled scores must not apply."""
    assert tokens.CROSS_ENTROPY.unit not in ("nats", "margin")


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_of_the_cross_entropy_is_that_of_its_rows(smoothing):
    mean = tokens.mean_cross_entropy(SCORES, BATCH, smoothing)
    assert mean.item() == pytest.approx(tokens.cross_entropy(SCORES, BATCH, smoothing).mean().item(), rel=1e-6)

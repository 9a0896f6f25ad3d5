from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from dlcli.decomposition.linear_vae import linear_vae

IMAGES = load_digits().data / 16
PIXELS = IMAGES[:, IMAGES.var(0) > 1e-4]


@pytest.mark.parametrize("latents, nats", [(2, 4.503750), (8, -6.666105)])
def test_digits_have_their_known_minimum_and_one_is_negative(latents, nats):
    assert PIXELS.shape[1] == 55
    assert linear_vae(PIXELS, latents).high == pytest.approx(nats, abs=6e-7)


def test_the_minimum_is_the_likelihood_of_the_returned_decoder():
    found = linear_vae(PIXELS, 3)
    decoder, centre, noise = found.weights
    model = multivariate_normal(centre, decoder @ decoder.T + noise * np.eye(55))
    assert found.high == pytest.approx(-model.logpdf(PIXELS).mean(), rel=1e-10)


def test_it_agrees_with_scikit_learn_up_to_its_divisor():
    """scikit-learn divides the covariance by n - 1."""
    assert linear_vae(PIXELS, 5).high == pytest.approx(-PCA(5, svd_solver="full").fit(PIXELS).score(PIXELS), abs=0.02)
    assert linear_vae(PIXELS, 5).high <= -PCA(5, svd_solver="full").fit(PIXELS).score(PIXELS)


@pytest.mark.parametrize("noise", [0.01, 0.05, 1.0])
def test_a_fixed_noise_is_never_better_and_its_decoder_reaches_it(noise):
    found = linear_vae(PIXELS, 3, noise)
    decoder, centre, _ = found.weights
    model = multivariate_normal(centre, decoder @ decoder.T + noise * np.eye(55))
    assert found.high == pytest.approx(-model.logpdf(PIXELS).mean(), rel=1e-10)
    assert found.high >= linear_vae(PIXELS, 3).high


def test_an_unbounded_likelihood_is_refused():
    """Pixels that are always black: as many latents as there is variance drive the noise to zero."""
    with pytest.raises(ValueError, match="no minimum"):
        linear_vae(IMAGES, 64)

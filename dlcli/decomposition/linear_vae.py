"""The exact minimum of the negative log-likelihood over linear variational autoencoders: probabilistic PCA."""

from __future__ import annotations

import math

import numpy as np

from dlcli.decomposition.optimum import Optimum


def linear_vae(inputs: np.ndarray, latents: int, noise: float | None = None) -> Optimum:
    """min over decoders N(Wz + mu, s2 I) with z ~ N(0, I_latents) of the mean negative ELBO per example, in nats.

    inputs: (n, d). `noise`: s2 where it is fixed, else it is learned too. A linear encoder with one variance per latent
    holds the posterior of the optimal decoder, so ELBO and likelihood agree there (Tipping & Bishop 1999, equations
    3.6-3.8; Lucas et al. 2019, arXiv:1911.02469). A density: the minimum may be negative, and is -inf where the data
    leave no variance outside `latents` directions (ValueError: there is no minimum to report).
    """
    data = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    n, size = data.shape
    centre = data.mean(0)
    _, singular, right = np.linalg.svd(data - centre, full_matrices=False)
    variances = np.zeros(size)
    variances[: len(singular)] = singular**2 / n
    tail = variances[latents:]
    s2 = noise if noise is not None else float(tail.mean()) if len(tail) else 0.0
    if s2 <= np.finfo(np.float64).eps * variances[0]:
        raise ValueError(f"no minimum: {latents} latents hold all variance of the data, the likelihood is unbounded")
    held = np.maximum(variances[:latents], s2)
    quadratic = float(np.sum(variances[:latents] / held) + np.sum(tail) / s2)
    value = 0.5 * (size * math.log(2 * math.pi) + np.sum(np.log(held)) + len(tail) * math.log(s2) + quadratic)
    decoder = right[:latents].T * np.sqrt(held - s2)[: len(right)]
    method = f"probabilistic PCA, {latents} latents"
    weights = (decoder, centre, np.array(s2))
    return Optimum(float(value), float(value), method, weights, True, {"noise_variance": s2})

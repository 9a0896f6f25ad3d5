"""The likelihood of a variational autoencoder: what a latent description costs, and what it leaves unexplained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.errors import UsageError
from dlcli.metrics.elbo import elbo_metrics
from dlcli.metrics.mean import widen
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Split
from dlcli.registry import register
from dlcli.schema import Count, NonNegative
from dlcli.tasks.pictures import grid, looks_like_image
from dlcli.tasks.units import log_volume

CHUNK = 1000  # examples whose pixels are looked at together
ROWS, COLUMNS = 8, 8  # of a grid of pictures


class Autoencoder(Protocol):
    """The models that can be trained on this."""

    latents: int
    constant: bool
    affine: bool
    shared: Tensor

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]: ...
    def decode(self, latents: Tensor) -> Tensor: ...


class Likelihood(NamedTuple):
    """How an example is distributed, given the numbers of the decoder."""

    density: bool
    rows: Callable[[Autoencoder, Tensor, Tensor], Tensor]  # (model, numbers, inputs) -> -log p(x | z), (batch,)
    show: Callable[[Tensor], Tensor]  # numbers -> means, in the numbers of the data set
    draw: Callable[[Autoencoder, Tensor, Noise], Tensor]  # -> an example, likewise
    bounds: Callable[[Autoencoder, Split], tuple[Bound, ...]]
    # (model, variances of the latents) -> what these add to `rows` at their means, (batch,): the expectation over all
    # draws, where decoding is affine; None: there is no closed form
    spread: Callable[[Autoencoder, Tensor], Tensor] | None


class Reconstruction(NamedTuple):
    spec: DataSpec
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]
    likelihood: Likelihood
    importance_samples: int
    undefined = ""
    random = True
    drawn = 0

    def predict(self, model: Autoencoder, batch: Batch, noise: Noise) -> Tensor:
        """With an affine decoder and Gaussian noise the expectation itself, in place of a draw."""
        if model.affine and self.likelihood.spread is not None:
            return expected_terms(self.likelihood, model, batch.inputs)
        return terms(self.likelihood, model, batch.inputs, noise)

    def head(self, model: nn.Module) -> None:
        return None

    def architecture(self, model: Autoencoder) -> Architecture:
        """With an affine encoder beside it, that is probabilistic PCA."""
        known = model.affine and self.likelihood.spread is not None
        return Architecture(latents=model.latents) if known else Architecture()

    def bounds(self, model: Autoencoder, train: Split) -> tuple[Bound, ...]:
        return self.likelihood.bounds(model, train)

    def afterwards(self, model: Autoencoder, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        rows = importance_weighted(self.likelihood, model, batch.inputs, noise, self.importance_samples)
        return {f"importance_weighted_{self.importance_samples}": rows}

    def sample(self, model: Autoencoder, count: int, noise: Noise) -> Tensor:
        return self.likelihood.draw(model, model.decode(noise.normal(model.latents)), noise)

    def pictures(self, model: Autoencoder, split: Split, noise: Noise) -> dict[str, np.ndarray]:
        if not looks_like_image(self.spec.shape):
            return {}
        show = self.likelihood.show
        shown = split.batch(slice(ROWS * COLUMNS // 2)).inputs
        mean, _ = model.encode(shown)
        pairs = torch.stack([self.spec.to_source(shown), show(model.decode(mean))], 1).flatten(0, 1)
        rows = max(1, min(ROWS, len(mean) // 2))
        ends = mean.repeat(2, 1)[: 2 * rows].view(rows, 2, 1, model.latents)  # a split may have one example
        places = torch.linspace(0, 1, COLUMNS, device=mean.device)
        between = torch.lerp(ends[:, 0], ends[:, 1], places[:, None]).flatten(0, 1)
        return {
            "samples": grid(show(model.decode(noise.normal(model.latents)))),
            "reconstructions": grid(pairs),
            "interpolation": grid(show(model.decode(between))),
        }


@register("task", "reconstruction")
def reconstruction(
    spec: DataSpec,
    *,
    likelihood: Literal["auto", "bernoulli", "gaussian"],
    beta: NonNegative,
    free_bits: NonNegative,
    importance_samples: Count,
) -> Reconstruction:
    """Negative evidence lower bound in nats per example, reconstruction and KL apart; one drawn latent per example.

    Gaussian densities are those of the numbers of the data set, whatever its standardization. The importance-weighted
    bound (Burda et al. 2015, arXiv:1509.00519, equation 8) of the test split shows how much of the loss is only a loose
    bound. Grey pixels under a Bernoulli likelihood are soft targets: their entropy is a floor of the loss.
    """
    pixels = spec.levels > 0
    if likelihood == "bernoulli" and not pixels:
        raise UsageError(
            f"task.likelihood=bernoulli needs pixels, and data set {spec.name} is made of numbers",
            "use task.likelihood=gaussian",
        )
    bernoulli = likelihood == "bernoulli" or (likelihood == "auto" and pixels)
    form = bernoulli_likelihood(spec) if bernoulli else gaussian_likelihood(spec)
    spec = spec._replace(outputs=math.prod(spec.shape) + int(not bernoulli))
    objective = partial(training_loss, form, beta, free_bits)
    return Reconstruction(spec, (Phase("train", "", objective),), elbo_metrics(form.density), form, importance_samples)


def terms(likelihood: Likelihood, model: Autoencoder, inputs: Tensor, noise: Noise) -> Tensor:
    """(batch, 1 + latents): -log likelihood under one draw of the latents, and the divergence of each from N(0, 1)."""
    mean, log_variance = map(widen, model.encode(inputs))
    latents = mean + (log_variance / 2).exp() * noise.normal(model.latents)
    unexplained = likelihood.rows(model, model.decode(latents), inputs)
    return torch.cat([unexplained[:, None], divergences(mean, log_variance)], 1)


def expected_terms(likelihood: Likelihood, model: Autoencoder, inputs: Tensor) -> Tensor:
    """The same, in expectation over the draw; float64, as large numbers of both signs are added."""
    mean, log_variance = (part.double() for part in model.encode(inputs))
    unexplained = likelihood.rows(model, model.decode(mean.to(inputs.dtype)).double(), inputs)
    unexplained = unexplained + likelihood.spread(model, log_variance.exp())
    return torch.cat([unexplained[:, None], divergences(mean, log_variance)], 1)


def divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def training_loss(
    likelihood: Likelihood, beta: float, free_bits: float, model: Autoencoder, batch: Batch, noise: Noise
) -> Tensor:
    """A latent's divergence counts from `free_bits` on, in the mean over the batch."""
    means = terms(likelihood, model, batch.inputs, noise).mean(0)
    return means[0] + beta * means[1:].clamp(min=free_bits).sum()


def importance_weighted(
    likelihood: Likelihood, model: Autoencoder, inputs: Tensor, noise: Noise, samples: int
) -> Tensor:
    """-log of the mean of p(x, z) / q(z | x) over so many draws of z, (batch,) nats: a tighter bound with each."""
    mean, log_variance = map(widen, model.encode(inputs))
    log_weights = []
    for _ in range(samples):  # one after another: all at once would take `samples` times the memory
        drawn = noise.normal(model.latents)
        latents = mean + (log_variance / 2).exp() * drawn
        log_prior_over_posterior = 0.5 * (drawn.square() + log_variance - latents.square()).sum(1)
        log_weights.append(log_prior_over_posterior - likelihood.rows(model, model.decode(latents), inputs))
    return math.log(samples) - torch.stack(log_weights).logsumexp(0)


def bernoulli_likelihood(spec: DataSpec) -> Likelihood:
    """Pixels as probabilities of a 1; the numbers of the decoder are log odds."""

    def pixels(inputs: Tensor) -> Tensor:
        steps = spec.levels - 1
        return (spec.to_source(inputs) * steps).round().flatten(1) / steps  # standardizing and back had rounded them

    def rows(model: Autoencoder, numbers: Tensor, inputs: Tensor) -> Tensor:
        return cross_entropy(widen(numbers).flatten(1), pixels(inputs)).sum(1)

    def draw(model: Autoencoder, numbers: Tensor, noise: Noise) -> Tensor:
        return widen(numbers).sigmoid()  # the probabilities themselves, as is usual to show

    def bounds(model: Autoencoder, train: Split) -> tuple[Bound, ...]:
        entropy, total = 0.0, torch.zeros((), dtype=torch.float64)
        for start in range(0, len(train), CHUNK):
            shares = pixels(train.batch(slice(start, start + CHUNK)).inputs).double()
            entropy += binary_entropy(shares).sum().item()
            total = total + shares.sum(0)
        floor = Bound("lower", entropy / len(train), "certified", "entropy of the grey pixels, as soft targets")
        constant = binary_entropy(total / len(train)).sum().item()
        return (floor, *constant_bound(model, constant, "every pixel by its own mean, latents unused"))

    return Likelihood(False, rows, lambda numbers: widen(numbers).sigmoid(), draw, bounds, None)


def gaussian_likelihood(spec: DataSpec) -> Likelihood:
    """Numbers about the decoder's means, with one variance, learned and shared by all."""
    volume, size = log_volume(spec), math.prod(spec.shape)

    def rows(model: Autoencoder, numbers: Tensor, inputs: Tensor) -> Tensor:
        squares = (inputs - widen(numbers)).flatten(1).square().sum(1)
        log_variance = model.shared[0].to(squares.dtype)
        return 0.5 * (size * (math.log(2 * math.pi) + log_variance) + squares / log_variance.exp()) + volume

    def show(numbers: Tensor) -> Tensor:
        return spec.to_source(widen(numbers))

    def draw(model: Autoencoder, numbers: Tensor, noise: Noise) -> Tensor:
        if spec.levels:
            return show(numbers)  # the noise of pixels is not what one wants to see
        return show(numbers + (model.shared[0] / 2).exp() * noise.normal(*spec.shape))

    def bounds(model: Autoencoder, train: Split) -> tuple[Bound, ...]:
        inputs = train.batch(slice(None)).inputs.flatten(1).double()
        variance = inputs.var(0, correction=0).mean().item()
        constant = 0.5 * size * (math.log(2 * math.pi * variance) + 1) + volume if variance > 0 else math.inf
        return constant_bound(model, constant, "one Gaussian about the mean, latents unused")

    def spread(model: Autoencoder, variances: Tensor) -> Tensor:
        points = torch.cat([torch.zeros(1, model.latents), torch.eye(model.latents)]).to(model.shared)
        origin, *ends = model.decode(points).flatten(1).to(variances.dtype)
        squares = (torch.stack(ends) - origin).square().sum(1)  # (latents,)
        return variances @ squares / (2 * model.shared[0].to(variances.dtype).exp())

    return Likelihood(True, rows, show, draw, bounds, spread)


def constant_bound(model: Autoencoder, value: float, method: str) -> tuple[Bound, ...]:
    """A decoder that does not look at the latents, and an encoder that says nothing: in the class if it has biases."""
    return (Bound("upper", value, "certified", method),) if model.constant and math.isfinite(value) else ()


def cross_entropy(log_odds: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(log_odds, targets, reduction="none")


def binary_entropy(shares: Tensor) -> Tensor:
    return torch.special.entr(shares) + torch.special.entr(1 - shares)

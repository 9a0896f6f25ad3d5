"""The game of a generative adversarial network: two phases, and measures of what is drawn in place of a risk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.metrics.mixture import Mixture, mixture_metrics
from dlcli.metrics.two_samples import DRAWN, Features, discrepancy_metric, feature_metrics
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Split
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Positive
from dlcli.tasks.games import GAMES, Game, real_penalty, slope_penalty
from dlcli.tasks.pictures import frame, grid, looks_like_image, scatter

POINTS = 40  # that are drawn for a picture with each of the examples that it has noise for


class Players(Protocol):
    """The models that can play."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    latent: int
    pack: int

    def generate(self, latents: Tensor) -> Tensor: ...
    def judge(self, inputs: Tensor) -> Tensor: ...


class Adversarial(NamedTuple):
    spec: DataSpec
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]
    undefined = "two players with opposed losses have no common minimum; measures of drawn examples stand in its place"
    random = True
    drawn = DRAWN

    def predict(self, model: Players, batch: Batch, noise: Noise) -> Tensor:
        """Drawn examples, (batch, *spec.shape), by the averaged generator."""
        return model(noise.normal(model.latent))

    def head(self, model: nn.Module) -> None:
        return None

    def architecture(self, model: nn.Module) -> Architecture:
        return Architecture()

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        return ()

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def sample(self, model: nn.Module, count: int, noise: Noise) -> Tensor:
        return self.spec.to_source(model(noise.normal(model.latent)))

    def pictures(self, model: Players, split: Split, noise: Noise) -> Mapping[str, np.ndarray]:
        """Drawn images, or drawn points beside as many given ones."""
        if looks_like_image(self.spec.shape):
            return {"samples": grid(self.sample(model, 0, noise))}
        if self.spec.shape != (2,):
            return {}
        given = split.batch(slice(DRAWN)).inputs
        drawn = model(noise.normal(POINTS, model.latent).flatten(0, 1))
        corners = frame(given)
        return {"samples": np.concatenate([scatter(given, corners), scatter(drawn[:DRAWN], corners)], 1)}


@register("task", "adversarial")
def adversarial(
    spec: DataSpec,
    truth: Mapping[str, Any],
    read_features: Callable[[str, DataSpec], Features],
    *,
    loss: Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge"],
    penalty: Literal["none", "between", "real"],
    penalty_weight: NonNegative,
    discriminator_steps: Count,
    discriminator_lr: Positive,
    features: str | None,
) -> Adversarial:
    """Generative adversarial game: discriminator and generator take turns on one batch, each with its optimizer.

    A step is one turn of the discriminator; the generator has its turn in every `discriminator_steps`-th. Reported are
    measures of drawn examples: on known mixtures modes and quality, everywhere the distance to given examples, and
    with `features` those of images. truth: of the data set's facts. read_features: (run directory, spec) -> features.
    """
    game = GAMES[loss]
    phases = (
        Phase(
            "discriminator",
            "discriminator",
            partial(discriminator_loss, game, penalty, penalty_weight),
            lr=discriminator_lr,
        ),
        Phase("generator", "generator", partial(generator_loss, game), every=discriminator_steps),
    )
    seen = None if features is None else read_features(features, spec)
    return Adversarial(spec, phases, measures(spec, truth, seen))


def measures(spec: DataSpec, truth: Mapping[str, Any], features: Features | None) -> dict[str, Metric]:
    """What can be said of drawn examples: against the truth, in the numbers themselves, in features."""
    found: dict[str, Metric] = {}
    if "modes" in truth:
        modes = torch.tensor(truth["modes"], dtype=torch.float64)
        found |= mixture_metrics(Mixture(modes, truth["deviation"], spec.to_source))
    found["discrepancy"] = discrepancy_metric(features or (lambda inputs: inputs.flatten(1)))
    if features is not None:
        found |= feature_metrics(features)
    return found


def discriminator_loss(game: Game, penalty: str, weight: float, model: Players, batch: Batch, noise: Noise) -> Tensor:
    real = batch.inputs
    with torch.no_grad():
        generated = model.generate(noise.normal(model.latent))
    loss = game.discriminator(model.judge(real), model.judge(generated))
    if penalty == "between":
        return loss + weight * slope_penalty(model.judge, real, generated, noise.uniform(), model.pack)
    if penalty == "real":
        return loss + weight * real_penalty(model.judge, real, model.pack)
    return loss


def generator_loss(game: Game, model: Players, batch: Batch, noise: Noise) -> Tensor:
    """Also lets the average follow, by the weights that the step before has left."""
    model.average.follow(model.generator)
    return game.generator(model.judge(model.generate(noise.normal(model.latent))))

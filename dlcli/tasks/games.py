"""What the two players of a GAN minimize, given the scores of real and generated examples; no model is known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-12  # the derivative of a root at zero is infinite


class Game(NamedTuple):
    """Losses of the scores, (packs,) each, averaged. The discriminator's scores are high for what it takes as real."""

    discriminator: Callable[[Tensor, Tensor], Tensor]  # (scores of real, scores of generated) -> scalar
    generator: Callable[[Tensor], Tensor]  # scores of generated -> scalar


def logistic(real: Tensor, generated: Tensor) -> Tensor:
    """Cross-entropy of "real" against "generated", in nats, summed over the two: 2 ln 2 where nothing is told apart."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def least_squares(real: Tensor, generated: Tensor) -> Tensor:
    return 0.5 * ((real - 1).square().mean() + generated.square().mean())


def difference(real: Tensor, generated: Tensor) -> Tensor:
    """Minus the estimate of the Wasserstein distance, as long as the scores are 1-Lipschitz."""
    return generated.mean() - real.mean()


def hinge(real: Tensor, generated: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


GAMES = {
    # Goodfellow et al. 2014, arXiv:1406.2661: equation 1, and the objective of section 3 whose gradient does not fade.
    "minimax": Game(logistic, lambda generated: -F.softplus(generated).mean()),
    "non_saturating": Game(logistic, lambda generated: F.softplus(-generated).mean()),
    # Mao et al. 2017, arXiv:1611.04076, equation 9: targets 0 and 1.
    "least_squares": Game(least_squares, lambda generated: 0.5 * (generated - 1).square().mean()),
    # Arjovsky et al. 2017, arXiv:1701.07875.
    "wasserstein": Game(difference, lambda generated: -generated.mean()),
    # Lim & Ye 2017, arXiv:1705.02894.
    "hinge": Game(hinge, lambda generated: -generated.mean()),
}


def slope_penalty(judge: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, mix: Tensor, pack: int) -> Tensor:
    """Mean of (|gradient of the score| - 1)^2 at points between real and generated examples; mix: (batch,) in [0, 1).

    The examples of a pack share their place between the two. Source: Gulrajani et al. 2017, arXiv:1704.00028, eq. 3.
    """
    place = mix.repeat_interleave(pack)[: len(real)].view(-1, *[1] * (real.dim() - 1))
    return (gradient_norms(judge, real.lerp(generated, place), pack) - 1).square().mean()


def real_penalty(judge: Callable[[Tensor], Tensor], real: Tensor, pack: int) -> Tensor:
    """Half the mean squared norm of the score's gradient at real examples: R1 of Mescheder et al. 2018, 1801.04406."""
    return 0.5 * gradient_norms(judge, real, pack).square().mean()


def gradient_norms(judge: Callable[[Tensor], Tensor], inputs: Tensor, pack: int) -> Tensor:
    """Norm of the gradient of each score with respect to its pack of examples, (packs,), differentiable."""
    points = inputs.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(judge(points).sum(), points, create_graph=True)
    packs = len(points) // pack
    squares = slopes[: packs * pack].reshape(packs, -1).square().sum(1)
    return (squares + TINY).sqrt()

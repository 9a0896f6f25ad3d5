"""A first layer that makes the patches of the training images uncorrelated, each direction with variance one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ENOUGH = 5000  # images, from which the covariance of so few numbers is known well
LEAST = 5e-4  # added to each variance, so that directions without any do not become noise


def whitening(images: Tensor, side: int) -> nn.Conv2d:
    """Patches of side x side -> their coordinates along the eigenvectors of the patches' covariance, and minus those.

    images: (n, channels, height, width), as the model reads them. (batch, channels, height, width) ->
    (batch, 2 channels side^2, height - side + 1, width - side + 1). The kernels stay as they are, the bias is trained.
    Source: Page 2019, "How to train your ResNet 8"; both signs as in Jordan 2024, arXiv:2404.00498, section 3.1.
    """
    channels = images.shape[1]
    patches = images[:ENOUGH].double().unfold(2, side, 1).unfold(3, side, 1)  # (n, channels, h, w, side, side)
    rows = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
    variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    kernels = (directions / (variances + LEAST).sqrt()).T.view(-1, channels, side, side).to(images.dtype)
    layer = nn.Conv2d(channels, 2 * len(kernels), side)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([kernels, -kernels]))
        layer.bias.zero_()
    layer.weight.requires_grad_(False)
    return layer

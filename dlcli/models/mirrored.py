"""Features of an image and of its mirror image, averaged where a model is evaluated."""

from __future__ import annotations

from torch import Tensor, nn


class Mirrored(nn.Module):
    """Trained on images as they come; evaluated as the mean over an image and its mirror image.

    A linear head turns the mean of the features into the mean of the scores, so the model is one function whose risk
    is decomposed like any other. Test-time augmentation as in Krizhevsky, Sutskever & Hinton 2012, section 4.1.
    """

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images) if self.training else (self.body(images) + self.body(images.flip(-1))) / 2

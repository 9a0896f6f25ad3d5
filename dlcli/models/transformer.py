"""Transformers over signals, images and tables (encoder), and over text that is to be continued (decoder)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.errors import UsageError
from dlcli.models.attention import DEVIATION, Block, Shape
from dlcli.models.positions import Learned, Rotary, Sinusoidal
from dlcli.models.predictor import UNKNOWN, Predictor
from dlcli.models.sequences import EachPosition, Readout, Steps, ordered, read_out
from dlcli.protocols import Architecture, DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count, DropRate, Positive


@register("model", "transformer", normalization="layer")
def transformer(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    heads: Count,
    expansion: Positive,
    feedforward: Literal["gelu", "swiglu"],
    placement: Literal["pre", "post"],
    positions: Literal["learned", "sinusoidal", "rotary", "none"],
    bias: bool,
    tied: bool,
    readout: Literal["last", "mean", "all"],
    read: Literal["rows", "pixels"],
    dropout: DropRate,
) -> Predictor | TiedPredictor:
    """Transformer: attention over the steps of the inputs; on text a causal decoder.

    Source: Vaswani et al. 2017, arXiv:1706.03762; pre-norm decoder and initial weights as in GPT-2 (Radford et al.
    2019). Normalization acts position by position. Raises UsageError where the heads do not divide the width.
    """
    shape = block_shape("transformer", spec, width, depth, heads, expansion, feedforward, placement, bias, dropout)
    reader: nn.Module
    if spec.vocabulary is None:
        steps = Steps(spec.shape, read)
        length, projection = steps.length, nn.Linear(steps.features, width)
        nn.init.normal_(projection.weight, std=DEVIATION)
        reader = nn.Sequential(steps, projection)
    else:
        length, reader = spec.shape[0], nn.Embedding(len(spec.vocabulary.tokens), width)
        nn.init.normal_(reader.weight, std=DEVIATION)
    body, features = encoder(spec, shape, reader, length, positions, readout, normalization)
    if tied and spec.causal:
        return TiedPredictor(body)
    return Predictor(body, features, spec.outputs, architecture(spec, reader, positions, readout))


def architecture(spec: DataSpec, reader: nn.Module, positions: str, readout: Readout) -> Architecture:
    """An encoder without positions that reads the mean off does not see the order of the steps."""
    if spec.causal or positions != "none" or readout != "mean":
        return UNKNOWN
    steps = reader[0] if isinstance(reader, nn.Sequential) else nn.Identity()
    return Architecture(canonical=lambda inputs: ordered(steps(inputs)), invariance="permutations of the steps")


class TiedPredictor(nn.Module):
    """The scores of the next token are products with the embeddings of the tokens (Press & Wolf 2016, 1608.05859).

    Its last layer is part of its first, so the risk is not convex in it: `head` is None.
    """

    head = None

    def __init__(self, body: nn.Sequential):
        super().__init__()
        self.body = body  # (batch, length) -> (batch, length, width); its first module is the embedding

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(self.body(inputs), self.body[0].weight)  # (batch, length, tokens)


def block_shape(
    model: str,
    spec: DataSpec,
    width: int,
    depth: int,
    heads: int,
    expansion: float,
    feedforward: str,
    placement: str,
    bias: bool,
    dropout: float,
) -> Shape:
    if width % heads:
        raise UsageError(
            f"model '{model}': model.heads={heads} do not divide model.width={width}",
            f"use model.heads={max(count for count in range(1, heads + 1) if width % count == 0)}, or another width",
        )
    # A gated network has three matrices where the plain one has two: two thirds of the units cost the same.
    hidden = max(1, round(expansion * width * (2 / 3 if feedforward == "swiglu" else 1)))
    gated, prenorm = feedforward == "swiglu", placement == "pre"
    return Shape(width, depth, heads, hidden, gated, prenorm, bias, dropout, spec.causal)


def encoder(
    spec: DataSpec,
    shape: Shape,
    reader: nn.Module,
    length: int,
    positions: str,
    readout: Readout,
    normalization: Normalization,
) -> tuple[nn.Sequential, int]:
    """Inputs -> features, and the number of these. `reader` makes (batch, length, width) of the inputs."""
    place: nn.Module = nn.Identity()
    rotary = None
    if positions == "learned":
        place = Learned(length, shape.width, DEVIATION)
    elif positions == "sinusoidal":
        place = Sinusoidal(length, shape.width)
    elif positions == "rotary":
        head_width = shape.width // shape.heads
        if head_width % 2:
            raise UsageError(
                f"model.positions=rotary turns pairs of features, and a head has {head_width} of them",
                "use an even model.width / model.heads, or model.positions=learned",
            )
        rotary = Rotary(length, head_width)
    blocks = [Block(shape, rotary, normalization) for _ in range(shape.depth)]
    closing = EachPosition(normalization, shape.width) if shape.prenorm else nn.Identity()
    last, features = read_out(spec, readout, length, shape.width, bidirectional=False)
    return nn.Sequential(reader, place, nn.Dropout(shape.dropout), *blocks, closing, last), features

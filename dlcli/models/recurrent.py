"""Recurrent networks: plain, GRU and LSTM, over signals, images, tables and text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dlcli.errors import UsageError
from dlcli.models.predictor import Predictor
from dlcli.models.sequences import EachPosition, Steps, read_out
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count, DropRate


@register("model", "rnn")
def rnn(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    activation: Literal["tanh", "relu"],
    bidirectional: bool,
    readout: Literal["last", "mean", "all"],
    read: Literal["rows", "pixels"],
    dropout: DropRate,
) -> Predictor:
    """Plain recurrent network: h_t = tanh(W x_t + U h_(t-1) + b), the units of Elman 1990 (Cognitive Science 14)."""

    def layer(inputs: int) -> nn.RNNBase:
        return nn.RNN(inputs, width, nonlinearity=activation, batch_first=True, bidirectional=bidirectional)

    return recurrent(spec, normalization, "rnn", layer, width, depth, bidirectional, readout, read, dropout)


@register("model", "gru")
def gru(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    bidirectional: bool,
    readout: Literal["last", "mean", "all"],
    read: Literal["rows", "pixels"],
    dropout: DropRate,
) -> Predictor:
    """Gated recurrent units: a reset gate and an update gate (Cho et al. 2014, arXiv:1406.1078).

    Differs: the reset gate multiplies U h behind the matrix, as in the framework, so that one fused kernel computes it.
    """

    def layer(inputs: int) -> nn.RNNBase:
        return nn.GRU(inputs, width, batch_first=True, bidirectional=bidirectional)

    return recurrent(spec, normalization, "gru", layer, width, depth, bidirectional, readout, read, dropout)


@register("model", "lstm")
def lstm(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    bidirectional: bool,
    forget_bias: float,
    readout: Literal["last", "mean", "all"],
    read: Literal["rows", "pixels"],
    dropout: DropRate,
) -> Predictor:
    """Long short-term memory: a cell with input, forget and output gates.

    Source: Hochreiter & Schmidhuber 1997 (Neural Computation 9), with the forget gate of Gers et al. 2000; a forget
    bias of 1 as Jozefowicz et al. 2015 (ICML) recommend.
    """

    def layer(inputs: int) -> nn.RNNBase:
        made = nn.LSTM(inputs, width, batch_first=True, bidirectional=bidirectional)
        with torch.no_grad():
            for name, bias in made.named_parameters():
                if name.startswith("bias"):  # gates stand in the order input, forget, cell, output; two biases add up
                    bias[width : 2 * width] = forget_bias if name.startswith("bias_ih") else 0.0
        return made

    return recurrent(spec, normalization, "lstm", layer, width, depth, bidirectional, readout, read, dropout)


class Layer(nn.Module):
    """A recurrence over the steps, normalization and dropout. (batch, length, inputs) -> (batch, length, outputs)."""

    def __init__(self, recurrence: nn.RNNBase, after: nn.Module, dropout: float):
        super().__init__()
        self.recurrence, self.after, self.dropout = recurrence, after, nn.Dropout(dropout)

    def forward(self, steps: Tensor) -> Tensor:
        outputs = self.after(self.recurrence(steps)[0])
        # The order in which masks are drawn is that of memory, and kernels differ in how they lay their outputs.
        return self.dropout(outputs.contiguous()) if self.dropout.p else outputs


def recurrent(
    spec: DataSpec,
    normalization: Normalization,
    model: str,
    layer: Callable[[int], nn.RNNBase],
    width: int,
    depth: int,
    bidirectional: bool,
    readout: Literal["last", "mean", "all"],
    read: Literal["rows", "pixels"],
    dropout: float,
) -> Predictor:
    """Layers over the steps of the inputs; tokens are first looked up in an embedding of the same width.

    Normalization acts on the outputs of each layer, position by position; inside a recurrence it would cost the fused
    kernels. Raises UsageError for weight normalization, and for reading a text that is to be continued backwards.
    """
    if parametrize.is_parametrized(normalization.wrap(nn.Linear(1, 1))):
        raise UsageError(
            f"model '{model}' takes no weight normalization: the weights of its fused layers cannot be reparametrized",
            "use normalization=none, layer, rms, group or batch",
        )
    if spec.causal and bidirectional:
        raise UsageError(
            f"model.bidirectional=true would show model '{model}' the tokens that it is to predict",
            "use model.bidirectional=false",
        )
    body: list[nn.Module]
    if spec.vocabulary is None:
        steps = Steps(spec.shape, read)
        body, length, inputs = [steps], steps.length, steps.features
    else:
        body, length, inputs = [nn.Embedding(len(spec.vocabulary.tokens), width)], spec.shape[0], width
    outputs = 2 * width if bidirectional else width
    for _ in range(depth):
        body.append(Layer(layer(inputs), EachPosition(normalization, outputs), dropout))
        inputs = outputs
    last, features = read_out(spec, readout, length, outputs, bidirectional)
    return Predictor(nn.Sequential(*body, last), features, spec.outputs)

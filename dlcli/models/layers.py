"""What the models are put together from: layers with their normalization, activations, sizes of maps."""

from __future__ import annotations

from torch import nn

from dlcli.errors import UsageError
from dlcli.protocols import DataSpec, Normalization

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}


def dense(inputs: int, outputs: int, normalization: Normalization) -> list[nn.Module]:
    """A fully connected layer and the module behind it. (batch, inputs) -> (batch, outputs)."""
    after = normalization.after(outputs, 0)
    return [normalization.wrap(nn.Linear(inputs, outputs, bias=not adds_shift(after))), after]


def convolution(
    dims: int, inputs: int, outputs: int, kernel: int, stride: int, padding: int, normalization: Normalization
) -> list[nn.Module]:
    """A convolution and the module behind it. (batch, inputs, *positions) -> (batch, outputs, *fewer positions)."""
    after = normalization.after(outputs, dims)
    bias = not adds_shift(after)
    layer = CONVOLUTIONS[dims](inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)
    return [normalization.wrap(layer), after]


def adds_shift(after: nn.Module) -> bool:
    """Whether a normalization brings its own bias, so that one in the layer before would be there twice."""
    return any(name.endswith("bias") for name, _ in after.named_parameters())


def require_numbers(spec: DataSpec, model: str) -> None:
    if spec.vocabulary is not None:
        raise UsageError(
            f"model '{model}' reads numbers, and '{spec.name}' is made of tokens",
            f"models that fit '{spec.name}': transformer, lstm, gru, rnn",
        )


def positions(spec: DataSpec, model: str) -> tuple[int, ...]:
    """Length of a signal, or height and width of an image. Raises UsageError for tables and tokens."""
    require_numbers(spec, model)
    if len(spec.shape) < 2:
        raise UsageError(
            f"model '{model}' needs signals or images, and '{spec.name}' is a table of {spec.shape[0]} features",
            f"models that fit '{spec.name}': mlp, linear, kernel",
        )
    return spec.shape[1:]


def convolved(sizes: tuple[int, ...], kernel: int, stride: int, padding: int) -> tuple[int, ...]:
    """Sizes of the maps behind a convolution or a pooling; below 1 where the kernel does not fit."""
    return tuple((size + 2 * padding - kernel) // stride + 1 for size in sizes)

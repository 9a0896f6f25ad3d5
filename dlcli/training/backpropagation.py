"""Dense nets backpropagated by hand: for affine layers one behind the other, a gradient is one product of matrices.

Autograd records each operation, allocates each gradient and leaves it apart from the vector that the update reads. For
layers whose products take some hundred microseconds that is a tenth of a step and more, so here the products are
written where they belong. Source: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
Nature 323, 1986, doi 10.1038/323533a0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcli.protocols import Batch, Slope
from dlcli.training.parameters import FlatParameters, StackedParameters

WORTH_ROUNDING = 2**21  # multiplications of a product: for fewer, a shorter type only takes longer to call


class Activation(NamedTuple):
    """One whose slope can be told from what it gave."""

    apply: Callable[[Tensor], Tensor]  # in place
    back: Callable[[Tensor, Tensor], Tensor]  # (slope of the loss behind it, what it gave) -> slope before it


ACTIVATIONS = {
    nn.ReLU: Activation(torch.relu_, lambda slope, given: torch.ops.aten.threshold_backward(slope, given, 0)),
    nn.Tanh: Activation(torch.tanh_, torch.ops.aten.tanh_backward),
    nn.Sigmoid: Activation(torch.sigmoid_, torch.ops.aten.sigmoid_backward),
}


class Layer(NamedTuple):
    """values @ weight.T + bias, then `activation`. Which parameter is which, by position."""

    weight: int
    bias: int | None
    activation: Activation | None = None


class Chain:
    """The layers of a dense net, or of several with their weights in rows: then each tensor has `runs` in front."""

    def __init__(self, parameters: FlatParameters | StackedParameters, layers: Sequence[Layer]):
        self.parameters, self.layers = parameters, layers
        self._found: tuple[Tensor, torch.dtype, int] | None = None

    def over(self, parameters: FlatParameters | StackedParameters) -> Chain:
        """That of another net of this form, or of several."""
        return Chain(parameters, self.layers)

    def gradients(self, loss: Slope, batch: Batch, products: torch.dtype) -> Tensor:
        """Loss of the batch, () or (runs,), whose gradients are left in `parameters.gradients`.

        products: the type in which large matrices are multiplied; another than that of the weights does to these what
        autocast does.
        """
        weights = self.parameters.weights
        inputs = batch.inputs.flatten(weights.dim())
        self._find(products, inputs.shape[-2])
        given, scores = self._forward(inputs)
        value, slope = loss(scores.to(weights.dtype), batch)
        self._backward(slope, given)
        for own, rounded in self._rounded:
            own[1].copy_(rounded[1])
        return value

    def _find(self, products: torch.dtype, examples: int) -> None:
        """Where weights and gradients are, which may have moved; those in another type than theirs, rounded for this
        step.
        """
        parameters, found = self.parameters, self._found
        if found is None or found[0] is not parameters.weights or found[1:] != (products, examples):
            self._places = list(parameters.places(parameters.weights, parameters.gradients))
            self._rounded = []
            for position in self._worth_rounding(examples) if products != parameters.weights.dtype else ():
                own = self._places[position]
                self._places[position] = tuple(torch.empty_like(each, dtype=products) for each in own)
                self._rounded.append((own, self._places[position]))
            self._found = parameters.weights, products, examples
        for own, rounded in self._rounded:
            rounded[0].copy_(own[0])

    def _worth_rounding(self, examples: int) -> list[int]:
        """The parameters of layers with large products; of one run, so that a stack does as each of its runs does."""
        sizes = [self._places[layer.weight][0].shape[-2:].numel() for layer in self.layers]
        large = [layer for layer, size in zip(self.layers, sizes, strict=True) if examples * size >= WORTH_ROUNDING]
        return [position for layer in large for position in (layer.weight, layer.bias) if position is not None]

    def _forward(self, values: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each layer is given, and the scores."""
        multiply, add = (torch.mm, torch.addmm) if values.dim() == 2 else (torch.bmm, torch.baddbmm)
        given = []
        for layer in self.layers:
            weight = self._places[layer.weight][0].mT
            if self._rounded:  # to be told that there is nothing to do takes as long as a small activation
                values = values.to(weight.dtype)
            given.append(values)
            if layer.bias is None:
                values = multiply(values, weight)
            else:
                values = add(self._places[layer.bias][0].unsqueeze(-2), values, weight)
            if layer.activation is not None:
                values = layer.activation.apply(values)
        return given, values

    def _backward(self, slope: Tensor, given: list[Tensor]) -> None:
        """slope: of the loss, at the scores."""
        multiply = torch.mm if slope.dim() == 2 else torch.bmm
        for layer, values, below in zip(self.layers[::-1], given[::-1], (*self.layers[-2::-1], None), strict=True):
            weight, gradient = self._places[layer.weight]
            if self._rounded:
                slope = slope.to(weight.dtype)
            multiply(slope.mT, values, out=gradient)
            if layer.bias is not None:
                torch.sum(slope, -2, out=self._places[layer.bias][1])
            if below is not None:
                slope = multiply(slope, weight)
                if below.activation is not None:
                    slope = below.activation.back(slope, values)


def chain(modules: Sequence[nn.Module], parameters: FlatParameters) -> Chain | None:
    """That of a model which flattens its inputs and then is these modules, one behind the other.

    None where one of them is neither an affine layer nor an activation of the table, where a hook may change what it
    gives, and where the parameters are not theirs.
    """
    positions = {leaf: position for position, leaf in enumerate(parameters.leaves)}
    layers: list[Layer] = []
    for module in modules:
        kind = type(module)
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            return None
        if kind is nn.Linear and {module.weight, module.bias} <= {*positions, None}:
            bias = None if module.bias is None else positions.pop(module.bias)
            layers.append(Layer(positions.pop(module.weight), bias))
        elif kind in ACTIVATIONS and layers and layers[-1].activation is None:
            layers[-1] = layers[-1]._replace(activation=ACTIVATIONS[kind])
        elif kind is not nn.Identity and not (kind is nn.Dropout and module.p == 0):
            return None
    return Chain(parameters, layers) if layers and not positions else None

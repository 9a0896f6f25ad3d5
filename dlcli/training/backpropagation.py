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
        self._lies: tuple[Tensor, torch.dtype] | None = None

    def over(self, parameters: FlatParameters | StackedParameters) -> Chain:
        """That of another net of this form, or of several."""
        return Chain(parameters, self.layers)

    def gradients(self, loss: Slope, batch: Batch, products: torch.dtype) -> Tensor:
        """Loss of the batch, () or (runs,), whose gradients are left in `parameters.gradients`.

        products: the type in which matrices are multiplied; another than that of the weights does what autocast does.
        """
        self._find(products)
        weights = self.parameters.weights
        *given, scores = self._forward(batch.inputs.flatten(weights.dim()).to(products))
        value, slope = loss(scores.to(weights.dtype), batch)
        self._backward(slope.to(products), given)
        if self._rounded is not None:
            self.parameters.gradients.copy_(self._rounded[1])
        return value

    def _find(self, products: torch.dtype) -> None:
        """Where weights and gradients are, which may have moved; of another type than theirs, rounded for this step."""
        parameters = self.parameters
        whole = parameters.weights, parameters.gradients
        if self._lies is None or self._lies[0] is not parameters.weights or self._lies[1] != products:
            own = parameters.weights.dtype == products
            self._rounded = None if own else [torch.empty_like(each, dtype=products) for each in whole]
            self._places = list(parameters.places(*(self._rounded or whole)))
            self._lies = parameters.weights, products
        if self._rounded is not None:
            self._rounded[0].copy_(parameters.weights)

    def _forward(self, values: Tensor) -> list[Tensor]:
        """What each layer is given, and the scores."""
        multiply, add = (torch.mm, torch.addmm) if values.dim() == 2 else (torch.bmm, torch.baddbmm)
        given = [values]
        for layer in self.layers:
            weight = self._places[layer.weight][0].mT
            if layer.bias is None:
                values = multiply(values, weight)
            else:
                values = add(self._places[layer.bias][0].unsqueeze(-2), values, weight)
            if layer.activation is not None:
                values = layer.activation.apply(values)
            given.append(values)
        return given

    def _backward(self, slope: Tensor, given: list[Tensor]) -> None:
        """slope: of the loss, at the scores."""
        multiply = torch.mm if slope.dim() == 2 else torch.bmm
        for layer, values, below in zip(self.layers[::-1], given[::-1], (*self.layers[-2::-1], None), strict=True):
            weight, gradient = self._places[layer.weight]
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

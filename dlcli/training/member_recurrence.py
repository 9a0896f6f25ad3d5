"""Recurrent layers of runs that are trained together: `vmap` has no rule for the functions of torch that compute them.

In steps, a plain recurrence or a GRU of all runs costs the calls of one; alone, each makes them in every step of time.
An LSTM is left alone: on a CPU it is one call for all steps of time, so a stack of sixteen, each making its own call,
gains up to a half over 8 steps and loses up to a third over 40.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Activation = Callable[[Tensor], Tensor]
Steps = Callable[..., list[Tensor]]


def recurrence(function: Callable[..., Any], *arguments: Any) -> Any:
    """`torch.gru`, `rnn_tanh` or `rnn_relu` within `vmap`: one layer with biases, the batch first."""
    inputs, state, weights, biases, layers, _, _, bidirectional, *rest = arguments
    if (biases, layers, rest) != (True, 1, [True]) or len(weights) != (8 if bidirectional else 4):
        return function(*arguments)  # it says what `vmap` cannot do
    return Members.apply(function, inputs, state, *weights)


class Members(Function):
    """(batch, length, inputs), a state (directions, batch, width) and four weights of each direction, to what the
    function gives of them: the outputs and the last state. Gradients are those of the steps in which `vmap` does it.
    """

    @staticmethod
    def forward(function: Callable[..., Any], *tensors: Tensor) -> Any:
        raise NotImplementedError("a recurrence of no members")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Sequence[int | None], function: Callable[..., Any], *own: Tensor) -> Any:
        inputs, state, *weights = (
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(own, dims[1:], strict=True)
        )
        return in_steps(IN_STEPS[function], inputs, state, weights), (0, 0)


def in_steps(steps: Steps, inputs: Tensor, states: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(runs, batch, length, directions * width), and the last states (runs, directions, batch, width).

    Within, all is (runs, features, batch), in which the gradient of a weight lies as the weight does.
    """
    columns = inputs.permute(0, 3, 2, 1)  # (runs, inputs, length, batch)
    outputs, last = [], []
    for direction, state in enumerate(states.mT.unbind(1)):
        own = weights[4 * direction : 4 * direction + 4]
        passed = steps(columns.flip(2) if direction else columns, state, *own)
        last.append(passed[-1])
        outputs.append(torch.stack(passed[::-1] if direction else passed, 1))  # (runs, length, width, batch)
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
    return output.permute(0, 3, 1, 2), torch.stack(last, 1).mT


def plain_steps(
    columns: Tensor, state: Tensor, weight: Tensor, again: Tensor, b: Tensor, c: Tensor, activation: Activation
) -> list[Tensor]:
    """h = activation(W x + b + U h + c). `again` is U, the weight of the state."""
    passed = []
    for product in products(columns, weight, b + c):
        state = activation(torch.baddbmm(product, again, state))
        passed.append(state)
    return passed


def gru_steps(columns: Tensor, state: Tensor, weight: Tensor, again: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """h = z h + (1 - z) tanh(W x + b + r (U h + c)), with the gates r and z, which stand before it in all tensors.

    The state keeps its type where products have one of fewer bits, as it does in the framework.
    """
    width = state.shape[1]
    parts, passed = (2 * width, width), []
    (gates, new), (c_gates, c_new) = again.split(parts, 1), c.split(parts, 1)
    for product in products(columns, weight, b + torch.cat((c_gates, torch.zeros_like(c_new)), 1)):
        for_gates, for_new = product.split(parts, 1)
        reset, keep = torch.baddbmm(for_gates, gates, state).sigmoid().chunk(2, 1)
        candidate = torch.addcmul(for_new, reset, torch.baddbmm(c_new.unsqueeze(2), new, state)).tanh()
        state = torch.lerp(candidate.to(state.dtype), state, keep.to(state.dtype))
        passed.append(state)
    return passed


def products(columns: Tensor, weight: Tensor, bias: Tensor) -> Sequence[Tensor]:
    """W x + b of every step, (runs, units, batch) each."""
    return torch.baddbmm(bias.unsqueeze(2), weight, columns.flatten(2)).unflatten(2, columns.shape[2:]).unbind(2)


IN_STEPS: dict[Callable[..., Any], Steps] = {
    torch.rnn_tanh: partial(plain_steps, activation=torch.tanh),
    torch.rnn_relu: partial(plain_steps, activation=torch.relu),
    torch.gru: gru_steps,
}

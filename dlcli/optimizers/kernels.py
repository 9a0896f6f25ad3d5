"""One step of the common rules, in two equal forms: public tensor operations, and the framework's fused kernel.

A fused kernel reads and writes each number once, but it is private and may change with any version. So the first
step on a device tries it on a few numbers and keeps it only if it agrees with the public form. A stack of runs whose
numbers are tensors (runs, 1) always takes the public form.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Number = float | Tensor  # a tensor: one entry per run of a stack, (runs, 1)


class Kernel:
    """A rule `(weights, gradients, *memory, **numbers)` that works in place, in its fastest trusted form."""

    def __init__(self, plain: Callable[..., None], fused: Callable[..., None], memory: int, **numbers: float):
        self.plain = plain
        self.fused = fused
        self.memory = memory  # how many tensors like `weights` the rule remembers
        self.numbers = numbers  # one example of legal settings
        self._trusted: dict[str, bool] = {}

    def __call__(self, *tensors: Tensor, **numbers: Number | bool) -> None:
        # A compiler makes one loop of the public form; a private kernel it would leave alone.
        public = torch.compiler.is_compiling() or _stacked(numbers) or not self.trusts(tensors[0].device.type)
        if public or tensors[0].is_contiguous():
            (self.plain if public else self.fused)(*tensors, **numbers)
            return
        counts = [tensor for tensor in tensors if tensor.dim() == 0]
        for row in zip(*(tensor for tensor in tensors if tensor.dim()), strict=True):  # a fused kernel sees no gaps
            self.fused(*row, *counts, **numbers)

    def trusts(self, device: str) -> bool:
        """Whether the fused kernel exists on this kind of device, and does what the public form does."""
        if device not in self._trusted:
            self._trusted[device] = self._agrees(device)
        return self._trusted[device]

    def _agrees(self, device: str) -> bool:
        expected, found = ([torch.full((3,), 0.5, device=device) for _ in range(2 + self.memory)] for _ in range(2))
        steps = [torch.ones((), device=device)] if "beta1" in self.numbers else []
        self.plain(*expected, *steps, **self.numbers)
        try:
            self.fused(*found, *steps, **self.numbers)
        except (AttributeError, TypeError, RuntimeError):  # gone, of another signature, not on this device
            return False
        return all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(expected, found, strict=True))


def _stacked(numbers: dict[str, Number | bool]) -> bool:
    return any(isinstance(number, Tensor) and number.dim() > 0 for number in numbers.values())


def add_scaled(target: Tensor, direction: Tensor, scale: Number) -> None:
    """target += scale * direction, in place and in one pass."""
    if isinstance(scale, Tensor):
        target.addcmul_(direction, scale)
    else:
        target.add_(direction, alpha=scale)


def _coupled(weights: Tensor, gradients: Tensor, weight_decay: Number) -> Tensor:
    """The gradient of loss + weight_decay / 2 * sum of squared weights."""
    absent = not isinstance(weight_decay, Tensor) and weight_decay == 0
    return gradients if absent else gradients + weight_decay * weights


def _plain_momentum(weights, gradients, velocity, *, lr, momentum, nesterov, weight_decay):
    gradients = _coupled(weights, gradients, weight_decay)
    velocity.mul_(momentum).add_(gradients)
    add_scaled(weights, gradients + momentum * velocity if nesterov else velocity, -lr)


def _fused_momentum(weights, gradients, velocity, *, lr, momentum, nesterov, weight_decay):
    torch._fused_sgd_(
        [weights],
        [gradients],
        [velocity] if momentum else [],  # the kernel refuses a velocity that it has no use for
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        dampening=0.0,
        maximize=False,
        is_first_step=False,  # a velocity of zero makes the first step what the framework's own would be
    )


def _plain_adam(weights, gradients, average, square, step, *, lr, beta1, beta2, eps, weight_decay):
    gradients = _coupled(weights, gradients, weight_decay)
    average.lerp_(gradients, 1 - beta1)
    square.lerp_(gradients * gradients, 1 - beta2)
    step = step.to(weights.dtype)
    deviation = (square / _bias(beta2, step)).sqrt_().add_(eps)
    weights.sub_((average / deviation).mul_(lr / _bias(beta1, step)))


def _plain_adamw(weights, gradients, average, square, step, *, lr, beta1, beta2, eps, weight_decay):
    weights.mul_(1 - lr * weight_decay)
    _plain_adam(weights, gradients, average, square, step, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=0.0)


def _bias(beta: Number, step: Tensor) -> Tensor:
    """1 - beta**step, without the cancellation that single precision suffers for beta near one."""
    logarithm = beta.log() if isinstance(beta, Tensor) else math.log(beta) if beta else -math.inf
    return -torch.expm1(step * logarithm)


def _fused_adam(weights, gradients, average, square, step, **numbers):
    state = [weights], [gradients], [average], [square], [], [step]
    torch._fused_adam_(*state, amsgrad=False, maximize=False, **numbers)


def _fused_adamw(weights, gradients, average, square, step, **numbers):
    state = [weights], [gradients], [average], [square], [], [step]
    torch._fused_adamw_(*state, amsgrad=False, maximize=False, **numbers)


def _plain_adagrad(weights, gradients, total, *, lr, eps, weight_decay):
    gradients = _coupled(weights, gradients, weight_decay)
    total.addcmul_(gradients, gradients)
    weights.sub_((gradients / total.sqrt().add_(eps)).mul_(lr))


def _fused_adagrad(weights, gradients, total, *, lr, eps, weight_decay):
    step = torch.ones((), device=weights.device)  # read only by a decay of lr that schedules do instead
    numbers = {"lr": lr, "eps": eps, "weight_decay": weight_decay, "lr_decay": 0.0, "maximize": False}
    torch._fused_adagrad_([weights], [gradients], [total], [step], **numbers)


_ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": 0.1}
momentum_step = Kernel(_plain_momentum, _fused_momentum, 1, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
adam_step = Kernel(_plain_adam, _fused_adam, 2, **_ADAM)
adamw_step = Kernel(_plain_adamw, _fused_adamw, 2, **_ADAM)
adagrad_step = Kernel(_plain_adagrad, _fused_adagrad, 1, lr=0.1, eps=1e-3, weight_decay=0.1)

"""The tensors of a stack in the places of one model's own, which then computes with them under `vmap`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Place = tuple[Any, Any]  # a dictionary and a key of it, or a list and an index


def stack_constants(models: Sequence[nn.Module], leaves: Sequence[str]) -> dict[str, Tensor]:
    """Buffers and frozen parameters of all models by name, (runs, *shape); each model's own become their rows."""
    stacked = {}
    own = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    for name in [name for name in own[0] if name not in leaves]:
        stacked[name] = torch.stack([tensors[name].detach() for tensors in own])
        for tensors, row in zip(own, stacked[name], strict=True):
            tensors[name].data = row
    return stacked


def places(model: nn.Module, names: Sequence[str]) -> list[list[Place]]:
    """Where the modules of a model hold each of these parameters and buffers, which several may share."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    held = [
        (tensor, (tensors, key))
        for module in model.modules()
        for tensors in (used_weights(module), module._buffers)
        for key, tensor in (tensors.items() if isinstance(tensors, dict) else enumerate(tensors))
    ]
    return [[place for tensor, place in held if tensor is own[name]] for name in names]


def used_weights(module: nn.Module) -> Any:
    """Those that `forward` reads. A recurrence has them in a list, which it makes anew if its parameters change."""
    return module._flat_weights if isinstance(module, nn.RNNBase) else module._parameters


@contextmanager
def standing_in(places: list[list[Place]], tensors: Sequence[Tensor]) -> Iterator[None]:
    """These tensors in place of a model's own: `functional_call` without its checks, a tenth of a small step."""
    own = [tensors_of[key] for (tensors_of, key), *_ in places]
    put(places, tensors)
    try:
        yield
    finally:
        put(places, own)


def put(places: list[list[Place]], tensors: Sequence[Tensor]) -> None:
    for some, tensor in zip(places, tensors, strict=True):
        for tensors_of, key in some:
            tensors_of[key] = tensor

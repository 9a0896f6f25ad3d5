"""Settings that are legal one by one, and do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dlcli import registry


class Problem(NamedTuple):
    text: str
    hint: str


def misfits(config: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with a config whose sections may still be anything."""
    training = config.get("training")
    if not isinstance(training, dict):
        return
    epochs, steps = training.get("epochs"), training.get("steps")
    if epochs is not None and steps is not None:
        yield Problem("training.epochs and training.steps are both set", "keep one, set the other to null")
    if epochs is None and steps is None and {"epochs", "steps"} <= set(training):
        yield Problem("neither training.epochs nor training.steps is set", "training.epochs=40, for example")
    batch, parts = training.get("batch_size"), training.get("accumulate")
    if type(batch) is int and type(parts) is int and parts > batch > 0:
        hint = f"training.accumulate is at most training.batch_size, {batch}"
        yield Problem(f"training.accumulate={parts} cuts a batch of {batch} into more parts than it has", hint)
    yield from components(config, training)
    yield from sharded(config, training)


def components(config: dict[str, Any], training: dict[str, Any]) -> Iterator[Problem]:
    """Settings of `training` that a chosen component cannot serve."""
    model = config.get("model")
    if training.get("clip_norm") is not None:
        entry = chosen(config, "optimizer")
        if entry is not None and entry.meant_for.get("gradient") == "exact":
            message = f"optimizer={entry.name} searches along exact gradients: training.clip_norm would mislead it"
            yield Problem(message, "training.clip_norm=null, or another optimizer")
    batch, pack = training.get("batch_size"), model.get("pack") if isinstance(model, dict) else None
    if type(batch) is int and type(pack) is int and pack > batch > 0:
        message = f"training.batch_size={batch} is less than one pack of model.pack={pack} examples"
        yield Problem(message, f"training.batch_size is {pack} at least; a multiple of it wastes no example")


def sharded(config: dict[str, Any], training: dict[str, Any]) -> Iterator[Problem]:
    """What asks for weights in one piece, where each rank has a part of them."""
    if training.get("sharded") is not True:
        return
    rule, model = chosen(config, "optimizer"), chosen(config, "model")
    if rule is not None and not rule.meant_for.get("elementwise"):
        message = f"optimizer={rule.name} looks at many weights at once, and training.sharded leaves each rank a part"
        rules = registry.catalogue("optimizer").items()
        fitting = ", ".join(name for name, each in rules if each.meant_for.get("elementwise"))
        yield Problem(message, f"training.sharded=false, or one of {fitting}")
    if model is not None and model.meant_for.get("tasks"):
        message = f"model={model.name} is no chain of layers, which training.sharded gathers one after the other"
        yield Problem(message, "training.sharded=false")
    for setting, off in (("average", None), ("diagnostics", False), ("on_nonfinite", "stop")):
        if training.get(setting) not in (off, "skip"):
            wanted = {None: "null", False: "false"}.get(off, off)
            yield Problem(
                f"training.{setting} needs the weights in one piece, and training.sharded leaves each rank a part",
                f"training.{setting}={wanted}, or training.sharded=false",
            )


def chosen(config: dict[str, Any], group: str) -> registry.Entry | None:
    """What the config names of a group; None where it names nothing that there is."""
    section = config.get(group)
    return registry.find(group, section.get("name")) if isinstance(section, dict) else None

"""A run that is for several ranks: who starts them, and what those do that keep no run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from dlcli.build import build
from dlcli.errors import BusyError, DistributedError, Diverged, StorageError
from dlcli.training import device, elastic, ranks
from dlcli.training.directory import RunDirectory
from dlcli.training.faults import machine_faults
from dlcli.training.loop import alone, course
from dlcli.training.sharding import sharded
from dlcli.training.signals import Stop

Config = dict[str, Any]


def apart(config: Config) -> bool:
    """Whether this process is to start the ranks of a run, or to join them first."""
    return ranks.here() == ranks.ALONE and (ranks.started() or config["training"]["devices"] > 1)


def on_ranks(turn: Callable[..., Any], config: Config, /, **arguments: Any) -> Any:
    """`turn(config=..., stop=..., **arguments)` in rank 0, while the others train along; what it returns.

    Under `torchrun` this process is one of them already; its return value is None in the others.
    """
    if ranks.started():
        return take_part(turn, config, arguments)
    return elastic.start(config["training"]["devices"], take_part, turn, config, arguments)


def take_part(turn: Callable[..., Any], config: Config, arguments: dict[str, Any]) -> Any:
    wanted = config["training"]["device"] in ("auto", "cuda") and torch.cuda.device_count() > 0
    with Stop(shared=True) as stop:
        if ranks.join(wanted, config["training"]["rank_timeout"]).rank > 0:
            return follow(config, stop)
        return turn(config=config, stop=stop, **arguments)


def at(folder: Path, turn: Callable[..., Any], config: Config, stop: Stop, **arguments: Any) -> Any:
    """`turn(directory, ...)` at a run directory, which is locked by the process that writes it: here, or in rank 0."""
    if apart(config):
        with first_cause(folder):
            return on_ranks(in_directory, config, folder=folder, then=turn, **arguments)
    return in_directory(folder, turn, config=config, stop=stop, **arguments)


@contextmanager
def first_cause(folder: Path) -> Iterator[None]:
    """Rank 0 has noted at most that it lost the others. Who has started the ranks knows more, and notes it."""
    try:
        yield
    except DistributedError as fault:
        if not ranks.started():
            with suppress(BusyError, StorageError), RunDirectory(folder) as directory:
                directory.write_status("failed", directory.previous.get("step", 0), fault.message)
                raise  # from within, so that the hint names the directory
        raise


def in_directory(folder: Path, then: Callable[..., Any], **arguments: Any) -> Any:
    with RunDirectory(folder) as directory:
        return then(directory=directory, **arguments)


class Silence:
    """A journal and console of which rank 0 has the real ones."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


def follow(config: Config, stop: Stop) -> None:
    """Train along with rank 0, from where it stands, to the last step."""
    device.threads(config["training"]["threads"])
    run = build(config)
    while True:
        run.align()
        try:
            with machine_faults(), sharded(run):
                alone(course(run, Path(), {}, Silence(), Silence(), stop))
            return ranks.leave()
        except Diverged:
            if run.training.on_nonfinite != "rollback":
                raise

"""What all runs of an output root have reached: asked before a run is decomposed, told after it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlcli import build
from dlcli.conclusion.exact import architecture
from dlcli.decomposition import ledger
from dlcli.decomposition.ledger import Ledger
from dlcli.errors import StorageError
from dlcli.protocols import Bound
from dlcli.training.directory import RunDirectory
from dlcli.training.run import Run

Config = dict[str, Any]


class Pool:
    """The ledger, as one run sees it. A ledger that cannot be read or written costs a warning, never the run."""

    def __init__(self, run: Run, config: Config, keys: Mapping[str, str]):
        self.ledger, self.keys = Ledger(Path(config["output_root"])), keys
        self.bounds: dict[str, Bound] = {}
        self.subclasses: list[str] = []
        self.version = self.fault = ""
        if run.task.undefined:
            return
        try:
            self.look(run, config)
        except StorageError as fault:
            self.fault = fault.message

    def look(self, run: Run, config: Config) -> None:
        known = {each.best.function_class for each in self.ledger.standings() if each.best.data == self.keys["data"]}
        known.discard(self.keys["class"])
        if known:
            self.subclasses = [narrower for narrower in narrower_classes(run, config) if narrower in known]
            self.ledger.record([], [(narrower, self.keys["class"]) for narrower in self.subclasses])
        self.version = self.ledger.version
        for name, metric in run.task.metrics.items():
            place = ledger.loss_key(self.keys, name, metric.unit)
            found = self.ledger.bound(self.keys["class"], self.keys["data"], place)
            if found is not None:
                self.bounds[name] = found

    def enter(self, summary: Mapping[str, Any], directory: RunDirectory) -> None:
        root, path = self.ledger.path.parent.absolute(), directory.path
        place = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        try:
            self.ledger.record(*ledger.entries(summary, place))
        except StorageError as fault:
            directory.log.warning(fault.message)


def narrower_classes(run: Run, config: Config) -> Iterator[str]:
    """Classes that the run's class contains: fewer units in its hidden layers, or fewer layers."""
    declared = architecture(run)
    if not declared.hidden:
        return
    deepest = len(declared.hidden)
    for depth in range(1, deepest + 1) if declared.deepens else (deepest,):
        for width in range(1, declared.hidden[0] + 1):
            changed = config | {"model": config["model"] | {"width": width, "depth": depth}}
            yield build.class_key(changed, run.task)["id"]

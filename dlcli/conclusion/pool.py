"""What all runs of an output root have reached: asked before a run is decomposed, told after it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
from torch import Tensor

from dlcli import build
from dlcli.decomposition import ledger
from dlcli.decomposition.ledger import Ledger, Member
from dlcli.errors import CheckpointError, StorageError
from dlcli.protocols import Bound
from dlcli.training.directory import RunDirectory
from dlcli.training.run import Run

Config = dict[str, Any]
Relation = Literal["the class itself", "narrower", "shallower"]


class Known(NamedTuple):
    """The weights of a member, and in words where they come from."""

    state: dict[str, Tensor]
    words: str


class Pool:
    """The ledger, as one run sees it. A ledger that cannot be read or written costs a warning, never the run."""

    def __init__(self, run: Run, config: Config, keys: Mapping[str, str]):
        self.ledger, self.keys = Ledger(Path(config["output_root"])), keys
        self.bounds: dict[str, Bound] = {}
        self.related: dict[Relation, list[str]] = {"the class itself": [keys["class"]]}  # classes that have members
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
            for relation, narrower in nested_classes(run, config):
                if narrower in known:
                    self.related.setdefault(relation, []).append(narrower)
            self.ledger.record([], [(narrower, self.keys["class"]) for narrower in self.subclasses])
        self.version = self.ledger.version
        for name, metric in run.task.metrics.items():
            place = ledger.loss_key(self.keys, name, metric.unit)
            found = self.ledger.bound(self.keys["class"], self.keys["data"], place)
            if found is not None:
                self.bounds[name] = found

    @property
    def subclasses(self) -> list[str]:
        return [each for relation in ("narrower", "shallower") for each in self.related.get(relation, [])]

    def best(self, relation: Relation) -> Known | None:
        """The weights with the least decomposed risk that can still be read."""
        try:
            classes = self.related.get(relation, []) if not self.fault else []
            places = [(each, self.keys["data"], self.keys["loss"]) for each in classes]
            members = [member for place in places for member in self.ledger.witnesses(*place)]
        except StorageError as fault:
            self.fault = fault.message
            return None
        for member in sorted(members, key=lambda each: each.risk):
            state = self.weights(member)
            if state is not None:
                return Known(state, f"{member.method.split('; ')[0]} of {member.run}")
        return None

    def weights(self, member: Member) -> dict[str, Tensor] | None:
        """Those of a witness, or else the final ones of its run; None if they are lost or others by now."""
        folder = self.ledger.path.parent / member.run
        try:
            content = (folder / "witnesses" / f"{member.witness[:16]}.safetensors").read_bytes()
        except OSError:
            try:
                content = safetensors.torch.save(build.newest_weights(folder))
            except (CheckpointError, StorageError):
                return None
        return safetensors.torch.load(content) if sha256(content).hexdigest() == member.witness else None

    def enter(self, summary: Mapping[str, Any], directory: RunDirectory) -> None:
        root, path = self.ledger.path.parent.absolute(), directory.path
        place = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        try:
            self.ledger.record(*ledger.entries(summary, place))
        except StorageError as fault:
            directory.log.warning(fault.message)


def nested_classes(run: Run, config: Config) -> Iterator[tuple[Relation, str]]:
    """Classes that the run's class contains: fewer units in its hidden layers, or fewer layers."""
    declared = run.task.architecture(run.model)
    if not declared.hidden:
        return
    deepest = len(declared.hidden)
    config = config | {"normalization": build.normalization_section(config)}  # read once for all of them
    for depth in range(1, deepest + 1) if declared.rectified else (deepest,):
        relation: Relation = "narrower" if depth == deepest else "shallower"
        for width in range(1, declared.hidden[0] + 1):
            changed = config | {"model": config["model"] | {"width": width, "depth": depth}}
            yield relation, build.class_key(changed, run.task)["id"]

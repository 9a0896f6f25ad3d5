"""A sweep as a whole: its jobs, their folders, and the check of every one before the first has begun."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from dlcli.config import check, hydra_node, overrides, search
from dlcli.config.composition import Loader, plain
from dlcli.errors import UsageError

LONGEST_FOLDER = 100
QUOTES = re.compile(r"[\"'(){}\[\]]")
NOT_IN_FOLDER = re.compile(r"[^A-Za-z0-9=,.+_-]+")


class Job(NamedTuple):
    overrides: tuple[str, ...]  # as Hydra's sweeper spells them, those that do not vary included
    folder: str  # name of its directory, from the keys that vary
    config: dict[str, Any]  # checked


class Sweep(NamedTuple):
    """What Hydra's sweeper and launcher plugins need to run it, and what they will run."""

    loader: Loader  # `config_loader` of the HydraContext
    master: DictConfig  # the config of the sweep itself, node `hydra` included
    arguments: list[str]  # for `sweeper.sweep`
    jobs: list[Job]  # of a search those at the ends of its space, which stand for what it will draw
    total: int  # jobs

    def into(self, directory: Path) -> None:
        """Send the jobs to folders under `directory`."""
        hydra_node.prepare(self.master, str(directory), ".")


def open_sweep(texts: Sequence[str], config_dir: Path | None, saved: dict[str, Any] | None = None) -> Sweep:
    loader = Loader(config_dir, saved)
    master = loader.compose_whole(texts, sweeping=True)
    hydra_node.check_settings(master.hydra)
    arguments = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)  # texts, references unread
    if "trials" in master.hydra.sweeper:
        return _open_search(loader, master, arguments)
    grid = [f"{key}={values}" for key, values in (master.hydra.sweeper.get("params") or {}).items()] + arguments
    swept = [override.key for override in _swept(grid)]
    jobs, problems = [], {}
    for job_overrides in _points(loader, grid):
        composed = loader.compose([*master.hydra.overrides.hydra, *job_overrides])
        config = plain(composed.config)
        if found := check.check(config, composed.places):
            problems |= dict.fromkeys(found)
        else:
            jobs.append(Job(job_overrides, "", check.cast(config)))
    check.refuse(list(problems))
    _refuse_twins(jobs, swept)
    names = _folders([[text for text in job.overrides if text.partition("=")[0] in swept] for job in jobs])
    jobs = [job._replace(folder=name) for job, name in zip(jobs, names, strict=True)]
    loader.job_folders.update((job.overrides, job.folder) for job in jobs)
    loader.checked.update((job.overrides, job.config) for job in jobs)
    return Sweep(loader, master, arguments, jobs, len(jobs))


def _open_search(loader: Loader, master: DictConfig, arguments: list[str]) -> Sweep:
    axes, fixed = search.space(arguments)
    first = {axis.key: axis.ends[0] for axis in axes}
    points = [first, *({**first, axis.key: end} for axis in axes for end in axis.ends[1:])]
    jobs, problems = [], {}
    for point in points:
        texts = (*fixed, *(f"{key}={value}" for key, value in point.items()))
        composed = loader.compose([*master.hydra.overrides.hydra, *texts])
        config = plain(composed.config)
        problems |= dict.fromkeys(check.check(config, composed.places))
        jobs.append((texts, config))
    check.refuse(list(problems))
    total = int(master.hydra.sweeper.trials)
    return Sweep(loader, master, arguments, [Job(texts, "", check.cast(config)) for texts, config in jobs], total)


def _swept(grid: list[str]) -> list[overrides.Override]:
    """The overrides that vary; UsageError for a grid of no points or of too many."""
    swept = [override for override in overrides.parse(grid) if override.is_sweep]
    total = 1
    for override in swept:
        count = 1 if override.is_pattern else overrides.points(override)
        if count == 0:
            raise UsageError(f"{override.text!r} names no value at all", "an empty range or list makes no jobs")
        total *= count
        if total > overrides.MAX_JOBS:
            raise UsageError(f"the sweep has more than {overrides.MAX_JOBS} jobs", "shorten its lists of values")
    return swept


def _points(loader: Loader, grid: list[str]) -> list[tuple[str, ...]]:
    """The overrides of each job, spelled as Hydra's sweeper will spell them."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(grid)
    (points,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    if not points:
        raise UsageError("the sweep has no jobs", "a pattern matches no option")
    if len(points) > overrides.MAX_JOBS:
        raise UsageError(f"the sweep has {len(points)} jobs", f"{overrides.MAX_JOBS} are legal")
    return [tuple(point) for point in points]


def _refuse_twins(jobs: list[Job], swept: list[str]) -> None:
    seen: dict[str, Job] = {}
    for job in jobs:
        content = json.dumps(job.config, sort_keys=True)
        if content in seen:
            point = " ".join(text for text in job.overrides if text.partition("=")[0] in swept)
            raise UsageError(f"two jobs of the sweep are the same run: {point}", "name each value once")
        seen[content] = job


def _folders(points: list[list[str]]) -> list[str]:
    """A name for each job, legal in every file system and unlike every other."""
    names: list[str] = []
    taken: set[str] = set()
    for point in points:
        name = NOT_IN_FOLDER.sub("_", QUOTES.sub("", ",".join(point)))[:LONGEST_FOLDER] or "run"
        number = 1
        unique = name
        while unique.lower() in taken:  # some file systems do not tell upper from lower case
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique.lower())
        names.append(unique)
    return names

"""`dlcli train -m`: many runs from one command line, through the sweeper and launcher plugins of Hydra."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from dlcli import config as configs
from dlcli.errors import SweepFailed, UsageError
from dlcli.sweeps.processes import start_server
from dlcli.training.cores import visible_gpus
from dlcli.verbs.arguments import naming_plugins

SWEEP = "sweep.json"  # what a resumed sweep is composed from again
FORKING = {"hydra/launcher=process", "hydra/launcher=ensemble"}


def run(overrides: Sequence[str], config_dir: Path | None, source: Path | None, plugins: Sequence[str]) -> int:
    saved = configs.load_saved(source / "config.yaml") if source else None
    if FORKING & set(overrides) and not visible_gpus():
        start_server()  # it imports torch while the jobs are composed
    sweep = configs.open_sweep(overrides, config_dir, saved)  # every job is checked before the first begins
    from dlcli.trackers import require
    from dlcli.training.directory import claim, claim_exact
    from dlcli.training.durable import replace

    for job in sweep.jobs:
        require(job.config)
    first = sweep.jobs[0].config
    root = (
        claim_exact(first["run_dir"])
        if first["run_dir"]
        else claim(first["output_root"], first["name"] or "sweep", first["seed"])
    )
    if saved is not None:
        replace(root / "base.yaml", configs.text(saved).encode())
    description = {"overrides": list(overrides), "config_dir": config_dir and str(config_dir.absolute())}
    replace(root / SWEEP, json.dumps(description, indent=2).encode())
    replace(root / "command.txt", f"{shlex.join(sys.argv)}\n".encode())
    return carry_out(sweep, root, plugins)


def resume(root: Path, overrides: Sequence[str], plugins: Sequence[str]) -> int:
    """What is left of a sweep: finished jobs are kept, started ones go on, failed ones are tried again."""
    if overrides:
        raise UsageError(
            "a sweep is resumed as it was started", "resume one of its runs to change settings, or start anew"
        )
    described = read_description(root)
    saved = configs.load_saved(root / "base.yaml") if (root / "base.yaml").is_file() else None
    folder = described["config_dir"]
    with naming_plugins(root):
        sweep = configs.open_sweep(described["overrides"], folder and Path(folder), saved)
    return carry_out(sweep, root.absolute(), plugins)


def read_description(root: Path) -> dict[str, Any]:
    from dlcli.report.summary import read_object

    described = read_object(root / SWEEP)
    if not isinstance(described.get("overrides"), list) or not all(isinstance(o, str) for o in described["overrides"]):
        raise UsageError(f"{root / SWEEP} is damaged", "start the sweep again")
    return {"config_dir": None, **described}


def carry_out(sweep: configs.Sweep, root: Path, plugins: Sequence[str]) -> int:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        raise UsageError(
            "`torchrun` starts the ranks of one run, and this is a sweep", "give each job ranks: training.devices=2"
        )
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    from dlcli.sweeps.task import SweepTask
    from dlcli.training.lock import Lock
    from dlcli.training.tracker import tensorboard_command

    lock = Lock(root)
    lock.acquire()
    try:
        sweep.into(root)
        shown = configs.shown(root)
        print(f"sweep  {sweep.total} jobs in {shown}\nwatch  {tensorboard_command(shown)}", flush=True)
        context = HydraContext(config_loader=sweep.loader, callbacks=Callbacks())
        task = SweepTask(root, sweep.total, tuple(sys.argv), tuple(plugins))
        sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=sweep.master)
        sweeper.validate_batch_is_legal = lambda batch: None  # would compose every job again, and each was checked
        batches = sweeper.sweep(arguments=sweep.arguments)
    except BrokenExecutor as fault:  # of Hydra's joblib launcher, which gives up where one of its processes is gone
        reason = "a process of the launcher was killed, by somebody or for want of memory, and it gave up"
        raise SweepFailed(reason, f"go on with: dlcli resume {shlex.quote(str(configs.shown(root)))}") from fault
    finally:
        lock.release()
    outcomes = [ended.return_value for batch in batches for ended in batch]
    return conclude(root, outcomes, sweep.jobs[0].config["pictures"])


def conclude(root: Path, outcomes: Sequence[Any], asked: str) -> int:
    """The tables of all runs, results.csv, report.html, and what failed. asked: the setting `pictures`."""
    from rich.console import Console

    from dlcli.report.comparison import print_comparison
    from dlcli.report.page import write_page
    from dlcli.report.pictures import LATER, into_tensorboard, pictures, worth_drawing
    from dlcli.report.results import results_csv
    from dlcli.report.studies import print_study
    from dlcli.report.summary import read_run
    from dlcli.study import study
    from dlcli.training.durable import replace
    from dlcli.verbs.report import with_search

    runs = [read_run(root / outcome.folder) for outcome in outcomes]
    replace(root / "results.csv", results_csv(runs).encode())
    studied = study(runs)
    print()
    print_comparison(runs, Console())
    print_study(studied, Console())
    studied = with_search(studied, root)
    worth = worth_drawing(asked, sum(run["summary"]["timing"]["training"] for run in runs if run["summary"]))
    drawn, shown = pictures(studied, runs) if worth else [], configs.shown(root)
    if drawn:
        into_tensorboard(drawn, root)
    page = f"{configs.shown(write_page(root, studied, runs, drawn))}{'' if worth else LATER}"
    print(f"\ntable: {configs.shown(root / 'results.csv')}\npage:  {page}\nagain: dlcli report {shown}")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise SweepFailed(
            f"{len(failed)} of {len(outcomes)} jobs failed, the first: {failed[0].folder}: {failed[0].reason}",
            f"each has a train.log in its folder; try them again with: dlcli resume {configs.shown(root)}",
        )
    return 0

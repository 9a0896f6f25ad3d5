"""One process's turn at a run directory: build, restore, train, conclude, and a status whatever happens."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dlcli import config as configs
from dlcli.build import Read, build
from dlcli.errors import CheckpointError, DlcliError, Interrupted, Pruned, StorageError
from dlcli.ranked import apart, on_ranks
from dlcli.report.summary import flatten
from dlcli.trackers import Followers, require
from dlcli.training import checkpoint, device, program, sharding
from dlcli.training.directory import RunDirectory, claim, claim_exact, read_environment
from dlcli.training.environment import differences, environment
from dlcli.training.evaluate import Cut
from dlcli.training.faults import machine_faults
from dlcli.training.loop import Course, alone, course
from dlcli.training.progress import Display, warning
from dlcli.training.ranks import ALONE, leave
from dlcli.training.recovery import train_on
from dlcli.training.run import Run
from dlcli.training.saving import forget
from dlcli.training.signals import Stop
from dlcli.training.tracker import Tracker, tensorboard_command

Config = dict[str, Any]
FREE_TO_CHANGE = (
    *("decompose.", "checkpoint.", "tracking.", "name", "tags", "pictures"),
    *("training.rank_timeout", "training.greatest_loss"),
    *(f"training.{name}" for name in ("log_every", "diagnostics", "landscape", "threads", "devices", "sharded")),
)
SLOW = 5  # seconds of a save that are told
LENGTHS = ("training.epochs", "training.steps")  # change the run from where it stands: schedules see the new length


def train(
    config: Config, argv: Sequence[str], stop: Stop, display: Display, read: Read | None = None
) -> dict[str, Any]:
    """A new run, to its end. Nothing is left on disk if its parts do not fit or its data are not usable."""
    if apart(config):
        return on_ranks(train, config, argv=argv, display=display)
    with machine_faults():
        run = prepare(config, stop, read=read)
        program.prepare(run, say=display.say)
        with RunDirectory(claim_directory(config)) as directory:
            display.log_to(directory.log)
            directory.write_config(configs.text(config))
            begin(directory, argv, run)
            return alone(carry_out(run, config, directory, None, stop, display))


def train_in(directory: RunDirectory, config: Config, argv: Sequence[str], stop: Stop, display: Display) -> Any:
    """A new run in a directory that is claimed already, as a job of a sweep: its failure is kept there too."""
    return alone(new_course(directory, config, argv, stop, display))


def resume(
    directory: RunDirectory, config: Config, argv: Sequence[str], stop: Stop, display: Display
) -> dict[str, Any]:
    """Go on from the newest good checkpoint, or from the start if none was ever acknowledged."""
    return alone(resumed_course(directory, config, argv, stop, display))


def new_course(
    directory: RunDirectory, config: Config, argv: Sequence[str], stop: Stop, display: Display, read: Read | None = None
) -> Course[dict[str, Any]]:
    """read: what gives the data, where runs share them."""
    display.log_to(directory.log)
    directory.write_config(configs.text(config))
    with accounted(directory, None), machine_faults():
        run = prepare(config, stop, read=read)
        program.prepare(run, shared=read is not None, say=display.say)
        begin(directory, argv, run)
        return (yield from carry_out(run, config, directory, None, stop, display))


def resumed_course(
    directory: RunDirectory, config: Config, argv: Sequence[str], stop: Stop, display: Display, read: Read | None = None
) -> Course[dict[str, Any]]:
    display.log_to(directory.log)
    refuse_changes(configs.load_saved(directory.path / "config.yaml"), config)
    with machine_faults():
        with accounted(directory, None):
            noted, asked = read_environment(directory.path), config["training"]["threads"]
            run = prepare(config, stop, noted.get("threads") if asked == "auto" else asked, read)
            program.prepare(run, noted.get("step", {}).get("kind"), read is not None, display.say)
            step = restore(run, config, directory, display)
        directory.write_config(configs.text(config))
        directory.write_command(list(argv))
        return (yield from carry_out(run, config, directory, step, stop, display))


def prepare(config: Config, stop: Stop, threads: int | None = None, read: Read | None = None) -> Run:
    """Build the run. threads: of the process that began it; with another number sums may end in other bits."""
    require(config)
    device.keep_memory()
    device.threads(threads or config["training"]["threads"])
    run = build(config, read)
    if stop.requested:
        raise Interrupted(f"stopped by signal {stop.requested} before the first step", "start it again", stop.requested)
    return run


def claim_directory(config: Config) -> Path:
    if config["run_dir"] is not None:
        return claim_exact(config["run_dir"])
    what = config["name"] or f"{config['model']['name']}-{config['dataset']['name']}"
    return claim(config["output_root"], what, config["seed"])


def begin(directory: RunDirectory, argv: Sequence[str], run: Run) -> None:
    """The files that every run starts with, beside its config."""
    directory.write_command(list(argv))
    directory.write_environment(facts(run) | {"run_id": uuid.uuid4().hex, "step": run.program._asdict()})


def facts(run: Run) -> dict[str, Any]:
    return environment(str(run.device), torch.get_num_threads())


def carry_out(
    run: Run, config: Config, directory: RunDirectory, step: int | None, stop: Stop, display: Display
) -> Course[dict[str, Any]]:
    """Train to the end and conclude. step: where a resumed run stands; None starts anew."""
    identity = identify(run, config, directory)

    def acknowledge(saved: int, seconds: float) -> None:
        path = checkpoint.path_of(directory.checkpoints, saved)
        directory.log.info(f"{path.name} saved")
        directory.acknowledge(saved)
        followers.publish(saved)
        display.event("checkpoint_saved", step=saved, path=str(path))
        if seconds > SLOW:
            warn(f"saving {path.name} took {seconds:.0f} s: the disk is slow")

    warn = partial(warning, display)
    followers = Followers(directory.path, config, warn)
    with accounted(directory, run), followers, Tracker(directory.path, step) as tracker:
        for line in headline(run, directory.path):
            display.say(line)
        display.event("started" if step is None else "resumed", **position(run, directory.path))
        if step is None:
            for oddity in (*run.data.facts["warnings"], *device.doubts(run.device, run.training.precision)):
                warn(oddity)
        if (seconds := run.program.compiler_s) is not None:
            run.state.seconds["compilation"] = run.state.seconds.get("compilation", 0.0) + seconds
        display.start(run.steps, run.state.step)
        try:
            work = partial(course, run, directory.checkpoints, identity, tracker, display, stop, acknowledge)
            run.align()
            with sharding.sharded(run):
                yield from train_on(work, run, directory, tracker, warn)
            leave()
            run.ranks = ALONE  # the others have no part in what follows
            stop.own()
        finally:
            display.stop()
        refuse_stop(stop, directory.path)
        from dlcli.conclusion.conclude import conclude  # scipy comes with it, which no step needs

        with suppress(Cut), run.evaluated():
            summary = conclude(run, config, directory, tracker, stop.asked_to_end, display.say)
            followers.publish(run.state.step)
        refuse_stop(stop, directory.path)
    risks = {split: {name: risk["value"] for name, risk in found.items()} for split, found in summary["risks"].items()}
    display.event("finished", **position(run, directory.path), risks=risks)
    return summary


def position(run: Run, run_dir: Path) -> dict[str, Any]:
    return {"run_dir": str(run_dir), "step": run.state.step, "steps": run.steps}


def refuse_stop(stop: Stop, run_dir: Path) -> None:
    if stop.requested:
        message = f"stopped by signal {stop.requested} after the last step: the checkpoint is saved, the report is not"
        raise Interrupted(message, f"continue with: dlcli resume {shlex.quote(str(run_dir))}", stop.requested)


def headline(run: Run, run_dir: Path) -> list[str]:
    """What a person wants to know before the first step."""
    data = run.data.facts
    counts = ", ".join(f"{len(split)} {name}" for name, split in run.data.splits().items())
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    device_name = f"cpu ({torch.get_num_threads()} threads)" if run.device.type == "cpu" else str(run.device)
    return [
        f"run    {configs.shown(run_dir)}",
        f"data   {run.data.spec.name}: {counts} ({data['origin']})",
        f"model  {parameters:,} parameters, {run.steps} steps of {run.batches.batch_size} examples on {device_name}",
        f"watch  {tensorboard_command(configs.shown(run_dir))}",
    ]


def identify(run: Run, config: Config, directory: RunDirectory) -> dict[str, Any]:
    """What a checkpoint says of its run, so that no other run can go on from it."""
    return {"run": read_environment(directory.path).get("run_id"), "config": config, "data": fingerprints(run)}


def restore(run: Run, config: Config, directory: RunDirectory, display: Display) -> int | None:
    """Put the newest good checkpoint into `run`; its step, or None where there is none yet."""
    noted = read_environment(directory.path)
    expected, report = checkpoint.expect(run.tensors()), partial(warning, display)
    loaded = checkpoint.load_newest(directory.checkpoints, expected, report, noted.get("run_id"))
    for difference in differences(noted, facts(run)):
        report(f"{difference}: the resumed run may differ in its last bits")
    if directory.previous.get("state") == "running":
        report("the previous process ended without saying so (killed, or the machine stopped)")
    if loaded is None and directory.acknowledged is not None:
        raise CheckpointError(
            f"no checkpoint is left in {directory.checkpoints}, and one of step {directory.acknowledged} was saved",
            "restore it from a backup, or start a new run with: dlcli train --from RUN_DIR",
        )
    if loaded is None:
        display.say("no checkpoint was saved yet: starting from step 0")
        return None
    refuse_other_run(loaded, run, config)
    run.restore(loaded.tensors, loaded.state)
    # The process that saved it may have been killed before it could forget older ones.
    forget(directory.checkpoints, run.checkpoint.keep, run.state.best_step)
    display.say(f"resuming from step {loaded.step}")
    return loaded.step


def fingerprints(run: Run) -> dict[str, str]:
    """By split, of what is in it; and of what the numbers are called: classes, columns, tokens."""
    facts, splits = run.data.facts, run.data.splits()
    return {n: facts.get(f"{n}_sha256") or s.sha256() for n, s in splits.items()} | {"names": facts["names_sha256"]}


def refuse_other_run(loaded: checkpoint.Loaded, run: Run, config: Config) -> None:
    """A checkpoint goes on under its own configuration and data only; what may change is listed above."""
    refuse_changes(loaded.identity.get("config", {}), config)
    known, found = loaded.identity.get("data", {}), fingerprints(run)
    if known != found:
        changed = ", ".join(name for name in found if known.get(name) != found[name]) or "splits"
        raise CheckpointError(
            f"the data set has changed since {loaded.path.name} was saved: {changed}",
            "restore the data that the run was started with, or start a new run with: dlcli train --from RUN_DIR",
        )
    if run.steps < loaded.step:
        raise CheckpointError(
            f"{loaded.path.name} is past the end of a run of {run.steps} steps", "ask for more, not fewer epochs"
        )


def refuse_changes(before: Config, now: Config) -> None:
    changed = changes(before, now)
    foreign = [key for key in changed if not key.startswith(FREE_TO_CHANGE) and key not in LENGTHS]
    if foreign:
        raise CheckpointError(
            f"a run goes on with the settings that it was started with, and these have changed: {', '.join(foreign)}",
            "start a new run with other settings: dlcli train --from RUN_DIR KEY=VALUE",
        )


def changes(before: Config, now: Config) -> list[str]:
    """Dotted keys whose values differ, where a run is kept left out."""
    old, new = flatten(before), flatten(now)
    return [key for key in {**old, **new} if key not in ("run_dir", "output_root") and old.get(key) != new.get(key)]


@contextmanager
def accounted(directory: RunDirectory, run: Run | None) -> Iterator[None]:
    """status.json says how this turn ended, and train.log why. run: None if it is still to be built.

    A turn that ended before it began leaves the status of the turn before as it is.
    """

    def step() -> int:
        return run.state.step if run else directory.previous.get("step", 0)

    if run:
        directory.write_status("running", step())
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        if run or not directory.previous:
            directory.write_status("interrupted", step(), str(stopped) or "stopped at once by a second signal")
        raise
    except Pruned as ended:
        directory.write_status("pruned", step(), ended.message)
        raise
    except BaseException as error:
        directory.log.error("the run failed", exc_info=error)
        reason = error.message if isinstance(error, DlcliError) else f"{type(error).__name__}: {error}"
        with suppress(StorageError):  # the first fault is the one to tell
            if run or not directory.previous:
                directory.write_status("failed", step(), reason[:500])
        raise
    if run:
        directory.write_status("done", step())

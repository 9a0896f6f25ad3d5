"""Jobs on a cluster, through the engines that are there: Slurm through submitit, and Ray.

Both queue what they are given and see the file system of the sweep. A job that was preempted or moved goes on from its
newest checkpoint, because carrying out a job is resuming it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

from dlcli.errors import UsageError
from dlcli.sweeps import Job, Outcome, carry_out
from dlcli.sweeps.processes import Forks


class Slurm:
    """Satisfies `dispatch.Place`. What Slurm and the job print lies in the folder `slurm` of the sweep."""

    def __init__(self, root: Path, slots: int, engine: str, parameters: Mapping[str, Any]):
        """engine: of submitit, "slurm" or, to try it out on this machine, "local"."""
        try:
            import submitit
        except ImportError:
            raise missing("slurm", "submitit") from None
        self.slots = slots
        try:
            self._executor = submitit.AutoExecutor(folder=root / "slurm", cluster=engine)
            self._executor.update_parameters(name=root.name[:60], **parameters)
        except (RuntimeError, NameError, AssertionError) as error:  # no sbatch here; a parameter that it does not know
            raise UsageError(f"submitit refuses: {error}"[:200], "set hydra.launcher.*, or engine: local") from error

    def start(self, job: Job) -> Any:
        return self._executor.submit(Requeued(), job)

    def wait(self, running: Sequence[Any], seconds: float) -> list[Any]:
        ended = [each for each in running if each.done()]
        if not ended:
            time.sleep(seconds)
        return ended

    def outcome(self, ended: Any) -> Outcome:
        job = ended.submission().args[0]
        try:
            return ended.result()
        except Exception as fault:  # submitit has several, and raises again what the job has raised
            reason = f"{ended.state}: {str(fault).splitlines()[0] if str(fault) else type(fault).__name__}"
            return Outcome(Path(job.folder).name, "failed", 0.0, reason)

    def stop(self, running: Any, at_once: bool) -> None:
        running.cancel()  # SIGTERM, and after a while SIGKILL


class Requeued:
    """`carry_out`, which Slurm may interrupt: at the end of its time, or for a job that is more urgent."""

    def __call__(self, job: Job) -> Outcome:
        return carry_out(job)

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class Ray:
    """Satisfies `dispatch.Place`. A job has as many cores and GPUs as it asks for, and a process of its own. With GPUs
    that is Ray's worker, which ends with it. On cores the worker only waits for a fork of a server that has imported
    torch once: on the machine of the sweep that of the sweep, elsewhere one beside the worker.
    """

    def __init__(self, slots: int, address: str | None, cpus: float, gpus: float):
        """address: of a cluster that is running; None starts one on this machine."""
        try:
            import ray
        except ImportError:
            raise missing("ray", "ray") from None
        self.slots, self._ray, self._jobs = slots, ray, {}
        forks = None if gpus else Forks()  # its imports go on while Ray starts
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UsageError(f"Ray does not answer: {error}"[:200], "see hydra.launcher.address") from error
        asked = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        if forks is None:
            self._start = ray.remote(**asked, max_calls=1)(carry_out).remote
        else:
            self._start = partial(ray.remote(**asked)(in_a_fork).remote, forks.address)

    def start(self, job: Job) -> Any:
        started = self._start(job)
        self._jobs[started] = job
        return started

    def wait(self, running: Sequence[Any], seconds: float) -> list[Any]:
        return self._ray.wait(list(running), timeout=seconds)[0]

    def outcome(self, ended: Any) -> Outcome:
        job = self._jobs.pop(ended)
        try:
            return self._ray.get(ended)
        except (self._ray.exceptions.RayError, KeyboardInterrupt) as fault:
            reason = f"{type(fault).__name__}: its worker process is gone, killed or for want of memory"
            return Outcome(Path(job.folder).name, "failed", 0.0, reason)

    def stop(self, running: Any, at_once: bool) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.cancel(running, force=at_once)  # as Ctrl-C in the worker

    def leave(self) -> None:
        """Ray takes a second to end, in which the sweep can go on with its tables."""
        if self._ours:
            threading.Thread(target=self._ray.shutdown).start()


def in_a_fork(address: str, job: Job) -> Outcome:
    """`carry_out` in a process of its own, which stops where this call is interrupted, or its process ends."""
    try:
        server = Client(address)
    except OSError:  # this is another machine than that of the sweep
        server = Client(own_forks().address)
    with server:
        server.send(job)
        try:
            while not server.poll(1.0):
                pass
        except KeyboardInterrupt:  # as Ray cancels
            server.send("stop")
        return server.recv()


@cache
def own_forks() -> Forks:
    return Forks(imports=["ray"])


def missing(extra: str, package: str) -> UsageError:
    return UsageError(
        f"hydra/launcher={extra} needs the package {package}", f"install it: pip install 'dlcli-train[{extra}]'"
    )

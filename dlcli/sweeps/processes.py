"""Jobs as processes of this machine: whatever one of them does, the others and their memory know nothing of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path
from typing import Any, NamedTuple

from dlcli.sweeps import Job, Outcome, carry_out

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # more of them, times the jobs, only get in their way
MEMORY = "; by somebody, or by the system for want of memory"


class Child(NamedTuple):
    """A process at work on something, and what it says."""

    what: Any
    process: multiprocessing.process.BaseProcess
    answer: Connection
    share: str | None  # of the GPUs

    def __hash__(self) -> int:
        return hash(self.process.name)


class Nursery:
    """Starts processes. On CPUs each is forked from a server that has imported torch and done nothing else; where there
    are GPUs it is a fresh interpreter, which sees its own GPU from before torch is imported.
    """

    def __init__(self, slots: int, gpus: Sequence[str] = (), imports: Sequence[str] = ()):
        """slots: processes that may live at once. gpus: a share of one for each, or for fewer; none: they are on CPUs.
        imports: modules of the program that calls this, which every fork would else import by itself.
        """
        self.slots = min(slots, len(gpus)) if gpus else slots
        self._free = list(gpus)
        self._context = multiprocessing.get_context("spawn" if gpus else "forkserver")
        if not gpus:
            start_server(imports)

    def start(self, work: Callable[[Any, Connection], None], what: Any, name: str) -> Child:
        """A process that calls `work(what, answer)` and ends; what it sends to `answer` is for whoever started it."""
        ours, theirs = self._context.Pipe(duplex=False)
        share = self._free.pop(0) if self._free else None
        process = self._context.Process(target=work, args=(what, theirs), name=name)
        with environment(ONE_THREAD if share is None else ONE_THREAD | {"CUDA_VISIBLE_DEVICES": share}):
            process.start()
        theirs.close()  # so that ours ends where the process does
        return Child(what, process, ours, share)

    def end(self, child: Child) -> int:
        """Its exit code, once it has ended."""
        child.process.join()
        child.answer.close()
        if child.share is not None:
            self._free.append(child.share)
        return child.process.exitcode


def start_server(imports: Sequence[str] = ()) -> None:
    """Let the server of the forks begin with its imports, unless it has; nobody waits for it before the first fork."""
    multiprocessing.set_forkserver_preload([*imports, "dlcli.sweeps.warm"])
    with environment(ONE_THREAD):
        forkserver.ensure_running()


class Processes:
    """Satisfies `dispatch.Place`: each job in a process of its own."""

    def __init__(self, slots: int, gpus: Sequence[str] = (), imports: Sequence[str] = ()):
        """As of a Nursery."""
        self._nursery = Nursery(slots, gpus, imports)
        self.slots = self._nursery.slots

    def start(self, job: Job) -> Child:
        return self._nursery.start(work, job, f"job {job.number}")

    def wait(self, running: Sequence[Child], seconds: float) -> list[Child]:
        ended = wait([each.process.sentinel for each in running], seconds)
        return [each for each in running if each.process.sentinel in ended]

    def outcome(self, ended: Child) -> Outcome:
        told = None
        with suppress(EOFError):
            told = ended.answer.recv()
        code = self._nursery.end(ended)
        return told or Outcome(Path(ended.what.folder).name, "failed", 0.0, reason(code))

    def stop(self, running: Child, at_once: bool) -> None:
        (running.process.kill if at_once else running.process.terminate)()


class Forks:
    """Jobs of other processes of this machine, at the socket `address`: who sends one is sent its outcome. The job
    stops with a checkpoint where it is told to, or where nobody waits for it any more.
    """

    def __init__(self, imports: Sequence[str] = ()):
        """imports: as for Processes."""
        self._place = Processes(slots=0, imports=imports)
        self._alone = threading.Lock()  # `multiprocessing` looks at all children whenever it starts one
        self._listener = Listener(family="AF_UNIX")  # in a folder of this user alone
        self.address = self._listener.address
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            threading.Thread(target=self._carry_out, args=(self._listener.accept(),), daemon=True).start()

    def _carry_out(self, asker: Connection) -> None:
        with asker:
            job = asker.recv()
            with self._alone:
                running = self._place.start(job)
            if asker in wait([running.process.sentinel, asker]):
                self._place.stop(running, at_once=False)
                wait([running.process.sentinel])
            with self._alone:
                outcome = self._place.outcome(running)
            with suppress(OSError):
                asker.send(outcome)


def work(job: Job, answer: Connection) -> None:
    """The life of the process."""
    belong_to_the_sweep(job)
    answer.send(carry_out(job))


def belong_to_the_sweep(job: Job) -> None:
    """Ctrl-C at the terminal is for the sweep, which then stops its jobs; they end where it does. Everything that
    libraries print goes to the train.log of the job.
    """
    os.setpgid(0, 0)
    threading.Thread(target=end_with_the_sweep, daemon=True).start()
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    with Path(job.folder, "train.log").open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def end_with_the_sweep() -> None:
    """If the sweep is killed its jobs stop, with a checkpoint."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def environment(added: dict[str, str]) -> Iterator[None]:
    """What a process that is started meanwhile finds in its environment."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def reason(code: int, log: str = "train.log") -> str:
    """Why a process ended that has not said so itself. log: where what it printed is."""
    if code >= 0:
        return f"its process ended with exit code {code}, see {log}"
    name = signal.Signals(-code).name
    return f"killed by signal {-code} ({name}){MEMORY if name == 'SIGKILL' else ''}"

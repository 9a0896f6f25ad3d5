"""One run on several processes of this machine, started and watched by torch's elastic launcher.

The parent has composed and checked the config; the ranks get it as plain data, never the command line. Each rank leaves
a note of how it ended, so that the parent tells the first cause and not what the others met because of it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from dlcli.errors import DistributedError, DlcliError, Interrupted
from dlcli.training.cores import allowed_cores

LOOK = 0.1  # seconds between looks at the ranks
AFTERWARDS = 1.0  # seconds that a rank which has lost another waits, so that the launcher sees the other's end first
PROCESS = "process-"  # and the number of one: a file beside the notes, once it takes signals
RESUME = "continue with: dlcli resume RUN_DIR"


def start(ranks: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work(*arguments)` returns in rank 0 of so many new processes. All of this is picklable.

    Raises what the first rank to fail has raised, DistributedError where it died without a word, Interrupted after a
    signal to this process, which the ranks then have too.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed.elastic", "torch.multiprocessing"):  # what they warn of we tell ourselves
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="dlcli-ranks-") as room, surroundings(ranks):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # a free port
            local_addr="localhost",
            max_restarts=0,  # `dlcli resume` starts again, from a checkpoint that was verified
            monitor_interval=LOOK,
            logs_specs=DefaultLogsSpecs(log_dir=room),
        )
        notes = Path(room) / "notes"
        notes.mkdir()
        try:
            with passing_on(signal.SIGUSR1, notes):
                return elastic_launch(config, rank)(notes, work, arguments)[0]
        except SignalException as stopped:
            raise cause(notes, ranks) or Interrupted(
                f"stopped by signal {int(stopped.sigval)}", RESUME, stopped.sigval
            ) from None
        except ChildFailedError as failed:
            codes = {each.local_rank: each.exitcode for each in failed.failures.values()}
            raise cause(notes, ranks, codes) or DistributedError(
                f"a rank ended without a word: {codes}", RESUME
            ) from None


@contextmanager
def surroundings(ranks: int) -> Iterator[None]:
    """The environment that the ranks inherit: threads shared out, no warnings of lost connections beside our own."""
    added = {"OMP_NUM_THREADS": str(max(1, allowed_cores() // ranks)), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def passing_on(number: signal.Signals, notes: Path) -> Iterator[None]:
    """To one of the ranks, which tells the others; what ends a run the launcher passes on itself."""

    def send(*received: Any) -> None:
        for path in sorted(notes.glob(f"{PROCESS}*"))[:1]:
            with suppress(ProcessLookupError):
                os.kill(int(path.name.removeprefix(PROCESS)), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, send)
    try:
        yield
    finally:
        signal.signal(number, before)


def rank(notes: Path, work: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """The life of one rank."""
    os.setpgid(0, 0)  # Ctrl-C at the terminal is for the parent, which then signals the ranks
    note = notes / os.environ["RANK"]
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is something to save
    (notes / f"{PROCESS}{os.getpid()}").touch()
    try:
        result = work(*arguments)
    except DlcliError as fault:
        note.write_text(json.dumps([type(fault).__name__, fault.exit_code, fault.message, fault.hint]))
        if isinstance(fault, DistributedError):
            time.sleep(AFTERWARDS)
        end(fault.exit_code or 1)  # of 0 (Pruned) torch would wait for the others
    except Exception as bug:
        note.write_text(json.dumps(["", 1, f"{type(bug).__name__}: {bug}", ""]))
        end(1)
    note.write_text("[]")
    return result


def end(code: int) -> NoReturn:
    """Leave this process at once. Threads of gloo that still hold connections to the others sometimes abort an orderly
    end of the interpreter, and what is to be kept is on the disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def cause(notes: Path, ranks: int, codes: dict[int, int] | None = None) -> Exception | None:
    """What went wrong first: what a rank has raised of itself, or else a rank that died; last, lost connections."""
    ended = {number: told(notes / str(number)) for number in range(ranks)}
    faults = [fault for fault in ended.values() if isinstance(fault, Exception)]
    own = [fault for fault in faults if not isinstance(fault, DistributedError)]
    if own:
        return own[0]
    dead = next((number for number, end in ended.items() if end is None), None)
    if codes is None or dead is None:
        return faults[0] if faults else None
    code = codes.get(dead)
    how = f"died (signal {-code})" if code is not None and code < 0 else "did not answer any more"
    return DistributedError(f"rank {dead} {how}", next((fault.hint for fault in faults), RESUME))


def told(note: Path) -> Exception | bool | None:
    """What the note of a rank says: a fault, True for a good end; None where there is no note."""
    if not note.is_file():
        return None
    content = json.loads(note.read_text() or "[]")
    if not content:
        return True
    kind, code, message, hint = content
    if not kind:
        return RuntimeError(message)
    if code > 128:
        return Interrupted(message, hint, code - 128)
    kinds = {each.__name__: each for each in DlcliError.__subclasses__()}
    return kinds.get(kind, DlcliError)(message, hint)

"""Commands from a warm process: torch is imported once, and every command line runs in a fork with the fault it is to
meet. Run as a program: one JSON request per line of stdin, one JSON answer per line of stdout.
"""

import builtins
import ctypes
import datetime
import errno
import gc
import importlib
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

CALLS = ("open", "write", "pwrite", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate")


def wrapped(call, deed, counter, nth):
    def run(*arguments, **keywords):
        counter[0] += 1
        if counter[0] != nth:
            return call(*arguments, **keywords)
        return deed(call, *arguments, **keywords)

    return run


def kill_before(call, *arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(call, *arguments, **keywords):
    try:
        return call(*arguments, **keywords)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def fail(name):
    number = getattr(errno, name)

    def deed(call, *arguments, **keywords):
        raise OSError(number, os.strerror(number))

    return deed


def arm(calls, nth, deed):
    """The nth call of these functions of `os`, in the order of all of them, meets `deed`. Returns the counter."""
    counter = [0]
    for name in calls:
        setattr(os, name, wrapped(getattr(os, name), deed, counter, nth))
    return counter


def arm_function(path, nth, error):
    """The nth call of the function MODULE:NAME raises an error of that name or number, or comes seconds later."""
    module, name = path.split(":")
    home = importlib.import_module(module)

    def deed(call, *arguments, **keywords):
        if hasattr(errno, str(error)):
            return fail(error)(call)
        if isinstance(error, str):
            raise getattr(builtins, error)("injected")
        until = time.monotonic() + error
        os.write(2, b"asleep\n")
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))  # a signal on the very way into a sleep is not seen before its end
        os.write(2, b"awake\n")
        return call(*arguments, **keywords)

    setattr(home, name, wrapped(getattr(home, name), deed, [0], nth))


def disturb_clock(errors):
    """At each look the wall clock is wrong by the next of these seconds."""
    wrong, wall, now = itertools.cycle(errors), time.time, datetime.datetime.now

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return now(tz) + datetime.timedelta(seconds=next(wrong))

    importlib.import_module("dlcli.training.directory").datetime = Clock
    time.time = lambda: wall() + next(wrong)


def be_bound_by_modes():
    """The owner of a file that has no permission gets none, root neither: two capabilities less (capset(2))."""
    library, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()
    assert library.capget(header, held) == 0
    held[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of those in effect
    assert library.capset(header, held) == 0


def obey(request):
    """In the fork: become the command."""
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    for descriptor, (path, flags) in enumerate(
        (
            ("/dev/null", os.O_RDONLY),
            (request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        )
    ):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = ["dlcli", *request["words"]]
    if size := request["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if files := request["open_files"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if request["umask"] is not None:
        os.umask(request["umask"])
    if request["bound_by_modes"]:
        be_bound_by_modes()
    if cores := request["cores"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if request["no_threads"]:
        threading.stack_size(1 << 46)  # more than there is to address, so that the system refuses every thread
    if errors := request["clock"]:
        disturb_clock(errors)
    counter = [0]
    if extra := request["memory"]:  # bytes beyond what is in use
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + extra, used + extra))
    if pause := request["slow_sync"]:  # seconds; training then goes on for many steps while a checkpoint is written
        os.fsync = lambda descriptor, sync=os.fsync: (time.sleep(pause), sync(descriptor))[1]
    if request["no_sync"]:  # a killed process loses no page cache; only the order of calls matters
        os.fsync = lambda descriptor: None
    if fault := request["fault"]:
        deeds = {"count": lambda call, *a, **k: call(*a, **k), "before": kill_before, "after": kill_after}
        counter = arm(fault["calls"], fault["nth"], deeds.get(fault["deed"]) or fail(fault["deed"]))
    if request["function"]:
        arm_function(*request["function"])
    if request["no_pictures"]:  # most of the time of a tiny run, and no part of what is kept
        importlib.import_module("dlcli.conclusion.exhibit").draw = lambda *arguments: []
    from dlcli.cli import main

    code = main(request["words"])
    if request["fault"]:
        sys.stderr.write(f"\ncalls {counter[0]}\n")
    return code


def wait(pid, seconds):
    """Exit code, or minus the signal, and the kilobytes of memory that it took at most; None if it still runs."""
    until = time.monotonic() + seconds
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return {"code": os.waitstatus_to_exitcode(status), "peak": usage.ru_maxrss}
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def serve():
    ours = ("dlcli.config.composition", "dlcli.report.figures", "dlcli.conclusion.conclude")
    for module in ("matplotlib.pyplot", "scipy.stats", *ours):
        importlib.import_module(module)
    import torch

    import dlcli.report.table
    import dlcli.session  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()
    requests, answers = sys.stdin, sys.__stdout__
    print("{}", file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            answer = wait(request["wait"], request["seconds"])
        else:
            pid = os.fork()
            if pid == 0:
                code = obey(request)
                for stream in (sys.stdout, sys.stderr):
                    with suppress(OSError, ValueError):
                        stream.flush()
                os._exit(code)  # tearing down a copy of everything would take seconds
            answer = {"pid": pid}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()

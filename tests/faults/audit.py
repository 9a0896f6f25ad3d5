"""What a command does to the system it runs on, as strace saw it: programs started, names written, addresses called."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

WRITING = ("creat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "mknod", "mknodat", "unlink", "unlinkat",
           "rmdir", "link", "linkat", "symlink", "symlinkat", "truncate", "chmod", "fchmodat", "fchmodat2", "chown",
           "lchown", "fchownat", "setxattr", "lsetxattr", "removexattr", "utime", "utimes", "utimensat", "mount",
           "umount2", "pivot_root", "chroot", "swapon")  # fmt: skip
OPENING = ("open", "openat", "openat2")
STARTING = ("execve", "execveat")
CALLING = ("connect", "bind", "sendto")
FORBIDDEN = ("ptrace", "process_vm_writev", "bpf", "init_module", "finit_module")
CALLS = (*WRITING, *OPENING, *STARTING, *CALLING, *FORBIDDEN, "chdir", "fchdir")
WORDS = ["strace", "-ff", "--seccomp-bpf", "-y", "-qq", "-s", "0", "-e", "signal=none",
         "-e", "trace=" + ",".join(f"?{call}" for call in CALLS)]  # fmt: skip
FLAGS = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\w+)(?:<(.*)>)?")
STRING = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
SYSTEM = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/")  # what any program may write


class Deed(NamedTuple):
    kind: str  # starts | writes | calls | forbidden
    what: str  # a path, or the line of the trace


class Trace:
    """The files that `strace -ff -o PREFIX` writes, one per thread; `new` reads on where it stopped."""

    def __init__(self, folder: Path):
        self.prefix, self.read = folder / "trace", {}

    def words(self) -> list[str]:
        return [*WORDS, "-o", str(self.prefix)]

    def new(self, cwd: Path) -> list[Deed]:
        """What all processes have done since the last look. They had begun in the folder `cwd`."""
        found: list[Deed] = []
        for path in sorted(self.prefix.parent.glob("trace.*")):
            with path.open("rb") as file:
                file.seek(self.read.get(path, 0))
                text = file.read()
            self.read[path] = self.read.get(path, 0) + len(text)
            found += deeds(text.decode(errors="replace").splitlines(), str(cwd))
        return found


def deeds(lines: Sequence[str], cwd: str) -> Iterator[Deed]:
    """Of the trace of one thread. A call that failed counts like one that did not, for it was tried; only programs
    that are not there (the shell's and Python's way to search a path) have not been started."""
    for line in lines:
        if not (match := CALL.match(line)):
            assert "exited" in line or "killed by" in line or line.endswith("= ?"), f"not understood: {line}"
            continue
        name, arguments, result, opened = match.groups()
        paths = [whole(cwd, base, path) for base, path in STRING.findall(arguments)]
        if name == "chdir" and result == "0":
            cwd = paths[0]
        elif name == "fchdir" and result == "0":
            cwd = text(arguments.partition("<")[2].rpartition(">")[0])
        elif name in STARTING and result == "0":
            yield Deed("starts", paths[0])
        elif name in WRITING or (name in OPENING and FLAGS.search(arguments)):
            named = paths[1:] if name.startswith("symlink") else paths
            for path in [text(opened)] if opened else named:  # what was opened is told without its links
                yield Deed("writes", path)
        elif name in CALLING and "AF_INET" in arguments:
            yield Deed("calls", line)
        elif name in FORBIDDEN:
            yield Deed("forbidden", line)


def whole(cwd: str, base: str, path: str) -> str:
    """The absolute path of a name that a call was given, below the folder that it was given with it or its own."""
    return os.path.normpath(os.path.join(text(base) or cwd, text(path)))  # noqa: PTH118


def text(quoted: str) -> str:
    """A path as strace spells it, with C's escapes."""
    return os.fsdecode(codecs.escape_decode(quoted.encode())[0])


def offences(found: Sequence[Deed], rooms: Sequence[Path], programs: Sequence[str] = ()) -> list[Deed]:
    """What is not allowed: to write outside of `rooms`, to start anything but `programs`, and to call anybody."""
    homes = (*SYSTEM, *(f"{room}/" for room in rooms))
    return [
        deed
        for deed in found
        if not (deed.kind == "writes" and f"{deed.what}/".startswith(homes))
        and not (deed.kind == "starts" and deed.what in programs)
    ]

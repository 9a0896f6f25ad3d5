"""Under strace, over everything hostile that the other files have: no program but the known is started, nothing is
written outside of the run directory and the cache of data, and nobody is called.

The canary that hostile input tries to make lies outside of those, so that every attempt is seen, whatever it was.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import test_command_line, test_data, test_security, test_streamed_data
from tests.faults.audit import CALLS, Deed, Trace, deeds, offences
from tests.faults.conftest import Warm
from tests.faults.runs import COMMON, KINDS

KIND = test_security.KIND
WORDS = ["train", *KINDS[KIND], *COMMON]
PROGRAMS = [path for name in ("git", "uname", "fc-list") if (path := shutil.which(name))]
PROGRAMS.append("/sbin/ldconfig")  # by which Python finds a library that `datasets` asks for
READERS = (["verify"], ["eval"], ["resume"], ["decompose"], ["report"], ["report", "--format", "html"],
           ["diff", "run"], ["runs"], ["sample"], ["export", "--output", "run/exported.pt"])  # fmt: skip

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        shutil.which("strace") is None
        or subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode != 0,
        reason="strace is not installed, or not allowed",
    ),
]


class Audit:
    """Commands in forks of a warm process that is traced with all its children."""

    def __init__(self, room: Path):
        for name in ("traces", "warm", "cache", "home"):
            (room / name).mkdir()
        self.trace, self.cache, self.home = Trace(room / "traces"), room / "cache", room / "home"
        self.warm = Warm(room / "warm", self.trace.words())
        self.count = 0

    def deeds(self, *words, cwd, **circumstances) -> list[Deed]:
        places = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR")  # of matplotlib and torch
        environment = dict.fromkeys(places, str(self.home)) | {"DLCLI_CACHE": str(self.cache)}
        self.trace.new(cwd)
        process = self.warm.start(*words, cwd=cwd, env=environment, **circumstances)
        ended = process.wait(120)
        assert ended.code >= 0, ended
        self.count += 1
        found = self.trace.new(cwd)
        assert Deed("writes", str(process.room / "out")) in found, "nothing was traced"
        return [deed for deed in found if not deed.what.startswith(f"{process.room}/")]

    def offences(self, *words, cwd, rooms=(), **circumstances) -> list[Deed]:
        return offences(self.deeds(*words, cwd=cwd, **circumstances), [*rooms, self.cache, self.home], PROGRAMS)


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    made = Audit(tmp_path_factory.mktemp("audit"))
    yield made
    made.warm.process.communicate(timeout=30)


def report(found):
    """Only what somebody did."""
    guilty = {case: done for case, done in found.items() if done}
    assert not guilty, guilty


def test_the_parser_sees_what_a_program_does(tmp_path):
    program = (
        "import os, socket, subprocess, threading\n"
        "def work():\n    open('in a thread', 'w')\n"
        "worker = threading.Thread(target=work); worker.start(); worker.join()\n"
        "os.symlink('/elsewhere', 'link'); os.mkdir('folder'); os.chdir('folder'); open('below', 'a')\n"
        "os.rename('below', '../above'); os.truncate('../above', 3); open('../above').read()\n"
        "os.symlink('../above', 'door'); open('door', 'r+')\n"
        "subprocess.run(['touch', 'by a child']); open('\\xe9\\n', 'w')\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
    )
    trace, here = Trace(tmp_path), tmp_path / "here"
    here.mkdir()
    subprocess.run([*trace.words(), sys.executable, "-c", program], cwd=here, check=True)
    found = offences(trace.new(here), [])
    written = [deed.what.replace(f"{here}/", "") for deed in found if deed.kind == "writes"]
    assert sorted(set(written)) == sorted(
        ["in a thread", "link", "folder", "folder/below", "above", "folder/door", "folder/by a child", "folder/\xe9\n"]
    )
    assert shutil.which("touch") in [deed.what for deed in found if deed.kind == "starts"]
    assert [deed for deed in found if deed.kind == "calls"]
    assert not trace.new(here)
    assert not offences([Deed("writes", f"{here}/x"), Deed("starts", "/bin/true")], [here], ["/bin/true"])
    assert offences([Deed("writes", f"{here}x")], [here])


def test_a_call_that_failed_was_tried():
    (found,) = deeds(['openat(AT_FDCWD</a>, "../etc/passwd", O_WRONLY|O_CREAT, 0666) = -1 EACCES (...)'], "/a/b")
    assert found == Deed("writes", "/etc/passwd")
    assert {"openat", "execve", "connect", "renameat2"} <= set(CALLS)


def test_an_honest_run_writes_at_home_and_is_seen(audit, tmp_path):
    found = audit.deeds(*WORDS, "run_dir=run", cwd=tmp_path, no_pictures=False)
    rooms = [tmp_path / "run", tmp_path / "outputs", audit.cache, audit.home]
    assert not offences(found, rooms, PROGRAMS)
    assert len(offences(found, rooms[1:], PROGRAMS)) > 100, "a run makes about seven hundred durable calls"


def test_hostile_command_lines(audit, tmp_path):
    report(
        {case: audit.offences("train", *words, cwd=tmp_path) for case, (words, *_) in test_command_line.WORDS.items()}
    )


@pytest.mark.parametrize("verb", [["train"], ["config", "--check"], ["lr-find"]], ids=" ".join)
def test_hostile_configurations(audit, tmp_path, verb):
    found = {}
    for case, (content, _) in test_command_line.FILES.items():
        folder = tmp_path / case
        (folder / "conf").mkdir(parents=True)
        (folder / "conf" / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        found[case] = audit.offences(*verb, cwd=folder)
    report(found)


@pytest.mark.parametrize("verb", ["train", "data info", "data prepare", "predict"])
def test_hostile_data(audit, unbroken, tmp_path, verb):
    found = {}
    for case, (deed, *_) in {**test_data.CASES, **test_streamed_data.CASES, **test_streamed_data.TEXTS}.items():
        folder = tmp_path / case
        folder.mkdir()
        try:
            words = deed(folder)
        except pytest.skip.Exception:  # what it needs is not here
            continue
        name, run = words[0].partition("=")[2], folder / "run"
        if verb == "predict":
            shutil.copytree(unbroken(KIND)[0], run)
            words = [run, *(word.partition("=")[2] for word in words if word.startswith("dataset.path"))]
            if len(words) < 2:
                continue
        elif verb != "train":
            words = [name, *words[1:]]
        found[case] = audit.offences(*verb.split(), *words, cwd=folder, rooms=[run])
    assert len(found) > 40
    report(found)


def linked(name):
    """That file or folder of the run lies elsewhere."""

    def deed(folder, canary):
        outside = folder.parent / "outside"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)

    return deed


def with_hostile_events(folder, canary):
    for path in (folder / "tensorboard").iterdir():
        path.write_bytes(test_security.pickle.dumps(test_security.Canary(canary)))
    (folder / "tensorboard" / "plugins").mkdir()
    (folder / "tensorboard" / "plugins" / "evil.py").write_text(test_security.EVIL.format(canary))


RUNS = {
    **{deed.__name__: deed for deed in (*test_security.HOSTILE, test_security.with_pickled_notes, with_hostile_events)},
    **{
        f"{name} elsewhere": linked(name)
        for name in ("train.log", "metrics.jsonl", "report.html", "status.json", "environment.json", "config.yaml",
                     "command.txt", "run.lock", "tensorboard", "losses", "checkpoints",
                     "checkpoints/step-000000048", "checkpoints/step-000000048/model.safetensors")
    },
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_hostile_run_directories(audit, unbroken, tmp_path, case):
    """Whatever is asked of one that came from elsewhere; a report and a ledger are written where the user stands."""
    found = {}
    for number, (verb, *words) in enumerate(READERS):
        here = tmp_path / str(number)
        here.mkdir()
        folder = shutil.copytree(unbroken(KIND)[0], here / "run")
        (folder / "summary.json").unlink()
        RUNS[case](folder, here / "canary")
        found[f"{verb} {words}"] = audit.offences(
            verb, "run", *words, cwd=here, rooms=[folder, here / "outputs", here / "report.html"]
        )
    report(found)

"""No code runs from configs, checkpoints or data, nothing is written elsewhere, and no secret is kept.

The canary is a file that every hostile input tries to make. What hostile configs and data do is in their own files.
"""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlcli.errors import CheckpointError
from dlcli.training import checkpoint
from tests.faults.conftest import ENVIRONMENT
from tests.faults.runs import COMMON, KINDS
from tests.faults.told import told

KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]
COMMAND = Path(sys.executable).with_name("dlcli")
DAMAGES = 300
EVIL = "open('{}', 'w').close()\n"
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^(creat|rename|mkdir|unlink|rmdir|link|symlink|truncate|chmod)")
PROGRAMS = {"python", "dlcli", "git", "uname", "fc-list", "strace"}
if torch.version.cuda:
    PROGRAMS.add("ldconfig")  # by which libraries of CUDA look for others, as soon as torch is imported


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def hostile(tmp_path):
    """A working folder full of code that nobody asked for; returns it and the canary."""
    folder, canary = tmp_path / "here", tmp_path / "canary"
    (folder / "hydra_plugins" / "evil").mkdir(parents=True)
    evil = EVIL.format(canary)
    for name in (
        "torch",
        "yaml",
        "numpy",
        "evil",
        "sitecustomize",
        "usercustomize",
        "conftest",
        "hydra_plugins/evil/x",
    ):
        (folder / f"{name}.py").write_text(evil)
    (folder / "matplotlibrc").write_text("backend: module://evil\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git" / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = touch {canary}\n\tpager = touch {canary}\n"
        f"\tsshCommand = touch {canary}\n[alias]\n\trev-parse = !touch {canary}\n"
    )
    (folder / ".git" / "objects").mkdir()
    (folder / ".git" / "refs").mkdir()
    return folder, canary


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_a_run_writes_and_starts(hostile, tmp_path):
    folder, canary = hostile
    kinds = "trace=openat,creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,symlink,"
    kinds += "symlinkat,truncate,chmod,fchmodat,execve,connect"
    trace = tmp_path / "trace"
    (tmp_path / "home").mkdir()
    secret = "sesame-4711"
    subprocess.run(
        ["strace", "-f", "-y", "-qq", "-o", trace, "-e", kinds, COMMAND, *WORDS, "run_dir=run"],
        cwd=folder,
        env=ENVIRONMENT
        | {"PYTHONDONTWRITEBYTECODE": "1", "AWS_SECRET_ACCESS_KEY": secret, "HOME": str(tmp_path / "home")}
        | {"TMPDIR": str(tmp_path / "home")},
        check=True,
        capture_output=True,
        timeout=300,
    )
    allowed = (
        str(folder / "run"),
        str(folder / "outputs"),
        "outputs",
        "/dev/null",
        "/dev/tty",
        "/dev/shm",
        "/proc/self",
    )
    drawing = (
        str(tmp_path / "home" / ".cache"),
        str(tmp_path / "home" / ".config"),
        str(tmp_path / "home"),
    )  # matplotlib, and libraries that look for a folder of temporary files when they are imported
    for line in trace.read_text(errors="replace").splitlines():
        call = line.split(" ", 1)[1].lstrip()
        if call.startswith("execve") and " = 0" in call:
            assert Path(call.split('"')[1]).name.rstrip("0123456789.") in PROGRAMS, call
        elif call.startswith("connect"):
            assert "AF_INET" not in call, call
        elif WRITES.search(call) and " = -1" not in call and '"' in call:
            paths = [os.path.join(*found) for found in re.findall(r'(?:<([^>]*)>, )?"([^"]*)"', call)]  # noqa: PTH118
            assert all(path.startswith((*allowed, *drawing)) for path in paths), call
    assert not canary.exists()
    for path in (folder / "run").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def with_pickle(folder, canary):
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(pickle.dumps(Canary(canary)))


def with_pipes(folder, canary):
    for path in (folder / "checkpoints").glob("*/manifest.json"):
        path.unlink()
        os.mkfifo(path)


def with_links(folder, canary):
    for path in (folder / "checkpoints").glob("*/state.json"):
        path.unlink()
        path.symlink_to("/etc/passwd")


def with_devices(folder, canary):
    for path in (folder / "checkpoints").glob("*/model.safetensors"):
        path.unlink()
        path.symlink_to("/dev/zero")


def with_a_link_as_folder(folder, canary):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").symlink_to("/etc")


def with_a_file_as_folder(folder, canary):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_bytes(pickle.dumps(Canary(canary)))


def with_a_pipe_as_folder(folder, canary):
    shutil.rmtree(folder / "checkpoints")
    os.mkfifo(folder / "checkpoints")


def with_foreign_files(folder, canary):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    for name in ("model.ckpt", "pytorch_model.bin", "step-000000004", "step-000000008.pt"):
        (folder / "checkpoints" / name).write_bytes(pickle.dumps(Canary(canary)))


def with_a_pipe_as_config(folder, canary):
    (folder / "config.yaml").unlink()
    os.mkfifo(folder / "config.yaml")


def with_code_in_its_config(folder, canary):
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text + f"extra: !!python/object/apply:os.system ['touch {canary}']\n")


def with_a_target_in_its_config(folder, canary):
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        text.replace("model:\n", f"model:\n  _target_: os.system\n  _args_: [{canary}]\n")
    )


def with_pickled_notes(folder, canary):
    for name in ("status.json", "environment.json", "summary.json"):
        (folder / name).write_bytes(pickle.dumps(Canary(canary)))
    for path in (folder / "checkpoints").iterdir():
        shutil.rmtree(path)


HOSTILE = [with_pickle, with_pipes, with_links, with_devices, with_a_link_as_folder, with_a_file_as_folder,
           with_a_pipe_as_folder, with_foreign_files, with_a_pipe_as_config, with_code_in_its_config,
           with_a_target_in_its_config]  # fmt: skip


@pytest.mark.parametrize("deed", HOSTILE, ids=lambda deed: deed.__name__)
def test_a_hostile_run_directory(warm, unbroken, tmp_path, deed):
    folder, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "summary.json").unlink()
    deed(folder, canary)
    passwd = Path("/etc/passwd").read_bytes()
    for words in (["verify", folder], ["eval", folder], ["resume", folder]):
        ended = warm.start(*words).wait(30)
        if words[0] == "verify" and "config" in deed.__name__:
            continue  # only checkpoints are verified
        assert ended.code in (2, 4), ended
        told(ended, ended.code)
        assert "root:" not in ended.out + ended.err
    assert not canary.exists() and Path("/etc/passwd").read_bytes() == passwd


def test_hostile_notes(warm, unbroken, tmp_path):
    folder, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(unbroken(KIND)[0], folder)
    with_pickled_notes(folder, canary)
    for words in (["verify", folder], ["report", folder], ["eval", folder], ["resume", folder]):
        warm.start(*words).wait(60)
    assert not canary.exists()


def test_a_link_as_run_directory_is_not_written_through(warm, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("kept")
    (tmp_path / "run").symlink_to("elsewhere")
    told(warm.run(*WORDS, f"run_dir={tmp_path / 'run'}"), 2, "not empty")
    assert (tmp_path / "elsewhere" / "precious").read_text() == "kept"
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


@pytest.mark.parametrize("deed", ["truncation", "flipped bit"])
def test_no_damage_to_any_file_of_a_checkpoint_goes_unseen(unbroken, tmp_path, deed):
    """In this process: three hundred damages, spread over the files by their size, each file at least fifty times."""
    shutil.copytree(unbroken(KIND)[0] / "checkpoints", tmp_path / "checkpoints")
    path, older = checkpoint.checkpoints(tmp_path / "checkpoints")[:2]
    generator = random.Random(deed)
    files = sorted(path.iterdir())
    chosen = files * 50 + generator.choices(files, [file.stat().st_size for file in files], k=DAMAGES - 50 * len(files))
    assert len(chosen) == DAMAGES
    for file in chosen:
        content = file.read_bytes()
        damaged = bytearray(content)
        if deed == "truncation":
            damaged = damaged[: generator.randrange(len(damaged))]
        else:
            bit = generator.randrange(8 * len(damaged))
            damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        file.write_bytes(content)
    assert checkpoint.load(path).step > checkpoint.load(older).step

"""Group C of the catalogue, where a checkpoint is not what was written: hostile, forged, of another dlcli, of another
model, or among thousands of others (C8 to C15, C24). What the disk does to one is in `test_storage`.
"""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
import torch

from dlcli.training import checkpoint, strict_json, tensor_file
from tests.faults.left_behind import differences, outcome
from tests.faults.told import told
from tests.training.test_checkpoint import DEEDS, forge, plant

KIND = "batch norm and dropout"
NEWEST, OLDER = "step-000000048", "step-000000044"
MEGABYTES = 200  # beyond those of a verification of good checkpoints
SECONDS = 5


@pytest.fixture(scope="module")
def expected(unbroken):
    return outcome(unbroken(KIND)[0])


@pytest.fixture
def folder(unbroken, tmp_path):
    """A run that was killed before its report."""
    copy = shutil.copytree(unbroken(KIND)[0], tmp_path / "run")
    (copy / "summary.json").unlink()
    return copy


@pytest.fixture(scope="module")
def usual(warm, unbroken):
    """Kilobytes that a verification takes."""
    return warm.run("verify", unbroken(KIND)[0]).peak


def quickly(warm, *words):
    started = time.monotonic()
    ended = warm.run(*words)
    assert time.monotonic() - started < SECONDS, ended
    return ended


# C8 to C13: what a hostile checkpoint holds


@pytest.mark.short("with_link", "header: ten gigabytes")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_hostile_checkpoint_is_passed_over(warm, folder, usual, expected, deed):
    passwd = os.stat("/etc/passwd").st_mtime_ns  # noqa: PTH116
    DEEDS[deed](folder / "checkpoints" / NEWEST)
    for words in (["verify", folder], ["resume", folder]):
        ended = quickly(warm, *words)
        assert ended.peak - usual < MEGABYTES * 1024
        assert "root:" not in ended.out + ended.err
        if words[0] == "verify":
            told(ended, 4, "1 damaged")
    if deed == "with_declared_terabytes":  # sums that are right, and tensors that no such model has
        told(ended, 4, "does not fit this model")
        return
    assert ended.code == 0, ended
    assert f"warning: checkpoint {NEWEST} damaged (" in ended.out and f"; using {OLDER}" in ended.out
    assert not differences(outcome(folder), expected)
    assert os.stat("/etc/passwd").st_mtime_ns == passwd  # noqa: PTH116


def test_nothing_is_written_through_a_hard_link(warm, folder, expected, tmp_path):
    """Of every file of every checkpoint; a backup of links (`cp -al`) stays what it was."""
    shutil.copytree(folder / "checkpoints", tmp_path / "backup", copy_function=os.link)
    before = {path: path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    model = folder / "checkpoints" / NEWEST / "model.safetensors"
    (tmp_path / "precious").write_text("kept")
    model.unlink()
    os.link(tmp_path / "precious", model)
    assert warm.run("resume", folder).code == 0
    assert not differences(outcome(folder), expected)
    assert (tmp_path / "precious").read_text() == "kept"
    assert {path: path.read_bytes() for path in before} == before


# C14: another dlcli, another machine


def test_a_newer_format_is_refused_and_left_alone(warm, folder):
    forge(folder / "checkpoints" / NEWEST, version=2)
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())
    for words in (["resume", folder], ["eval", folder], ["export", folder, "--output", folder / "x.pt"]):
        told(warm.run(*words), 4, "was written by a newer dlcli (format 2)", "upgrade dlcli")
    told(warm.run("verify", folder), 4)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == before


@pytest.mark.short("threads-2")
@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("libraries", {"torch": "1.0"}),
        ("python", "3.9.1"),
        ("machine", "riscv64"),
        ("device", "cuda:0"),
        ("threads", 2),
    ],
)
def test_another_machine_is_told(warm, folder, expected, fact, value):
    """It resumes, and says that the last bits may differ; the threads of the run are kept."""
    notes = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(notes | {fact: value}))
    shutil.rmtree(folder / "checkpoints" / NEWEST)
    ended = warm.run("resume", folder)
    assert ended.code == 0, ended
    if fact == "threads":
        assert "warning" not in ended.out and "on cpu (2 threads)" in ended.out
        return
    named = "torch: 1.0, now " if fact == "libraries" else f"{fact}: {value}, now "
    assert f"warning: {named}" in ended.out and "may differ in its last bits" in ended.out
    assert not differences(outcome(folder), expected)


# C15: tensors that this model does not have


def without_a_tensor(kinds):
    kinds.pop(min(kinds))


def with_another(kinds):
    kinds["extra"] = tensor_file.Kind("F32", (2,))


def of_another_shape(kinds):
    first = min(kinds)
    kinds[first] = tensor_file.Kind(kinds[first].code, (*kinds[first].shape, 1))


def of_another_type(kinds):
    first = min(kinds)
    kinds[first] = tensor_file.Kind("F64", kinds[first].shape)


def of_other_names(kinds):
    for name in list(kinds):
        kinds[f"{name}x"] = kinds.pop(name)


@pytest.mark.short("of_other_names")
@pytest.mark.parametrize(
    ("deed", "what"),
    [(without_a_tensor, "missing"), (with_another, "extra"), (of_another_shape, "another shape or type"),
     (of_another_type, "another shape or type"), (of_other_names, "and 21 more")],
    ids=lambda each: getattr(each, "__name__", ""),
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(warm, folder, deed, what):
    """A valid checkpoint of another model: its sums are right, so that only the model can tell."""
    path = folder / "checkpoints" / NEWEST
    kinds = dict(checkpoint.manifest.read(path).tensors["model"])
    deed(kinds)
    listed = strict_json.parse((path / "manifest.json").read_bytes())["tensors"]
    plant(path, "model.safetensors", encoded(kinds))
    forge(path, tensors=listed | {"model": kinds})
    assert checkpoint.load(path).step == 48
    for _ in range(2):
        told(warm.run("resume", folder), 4, f"{NEWEST} does not fit this model: model/", what)
    told(warm.run("eval", folder), 4, f"{NEWEST} does not fit this model: model/")
    assert path.is_dir(), "it may serve another dlcli"


def encoded(kinds):
    """A file of zeros."""
    types = {code: dtype for dtype, code in tensor_file.CODES.items()}
    zeros = {name: torch.zeros(kind.shape, dtype=types[kind.code]) for name, kind in kinds.items()}
    return b"".join(tensor_file.encode(zeros))


# C24: how much lies beside


@pytest.mark.faults
def test_thousands_of_entries_and_gigabytes_beside_cost_nothing(warm, folder, expected):
    checkpoints = folder / "checkpoints"
    for number in range(5000):
        (checkpoints / f"step-{10**9 - number:09d}.damaged").mkdir()
        (checkpoints / f"note-{number}").touch()
    for name in ("archive.tar", f"{NEWEST}/model.safetensors"):
        with (checkpoints / name).open("ab") as sparse:
            sparse.truncate(5 * 2**30)
    started = time.monotonic()
    told(warm.run("verify", folder), 4, "1 damaged")
    assert warm.run("runs", folder.parent).code == 0
    assert time.monotonic() - started < 4
    assert f"using {OLDER}" in warm.run("resume", folder).out
    assert not differences(outcome(folder), expected)


@pytest.mark.faults
def test_a_resume_reads_no_older_checkpoint_than_it_needs(warm, folder, expected):
    """The newest good one, and as many as retention must keep; all others are of gigabytes."""
    shutil.rmtree(folder / "checkpoints" / NEWEST)
    for number in range(1, 40):
        step = folder / "checkpoints" / f"step-{number:09d}"
        step.mkdir()
        with (step / "model.safetensors").open("wb") as sparse:
            sparse.truncate(5 * 2**30)
    assert quickly(warm, "resume", folder).code == 0
    assert not differences(outcome(folder), expected)

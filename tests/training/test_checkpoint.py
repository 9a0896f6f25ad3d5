import errno
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from dlcli.errors import CheckpointError, Diverged, StorageError
from dlcli.training import checkpoint, strict_json
from dlcli.training.checkpoint import Damaged, checkpoints, expect, load, load_newest, path_of, prune, snapshot

STATE = {"step": 7, "best": None, "window": {"loss": 0.25}}


def tensors(scale=1.0):
    flat = torch.arange(12.0) * scale
    return {
        "model": {
            "weight": flat[:8].view(2, 4),
            "bias": flat[8:],
            "tied": flat[:8].view(2, 4),
            "seen": torch.tensor(3),
        },
        "optimizer": {"momentum": torch.randn(3, 5).T, "low": torch.ones(3, dtype=torch.bfloat16), "none": flat[:0]},
    }


def save(folder, step, tensors, state, identity):
    return checkpoint.save(folder, snapshot(step, tensors, state), identity)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path / "checkpoints", step, tensors(step), {**STATE, "step": step}, {"run": "a"})
    return tmp_path / "checkpoints"


def newest(folder):
    lines = []
    return load_newest(folder, expect(tensors()), lines.append), lines


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Saving and loading


def test_a_checkpoint_comes_back_to_the_bit(tmp_path):
    saved = tensors()
    path = save(tmp_path, 7, saved, STATE, {"run": "a"})
    loaded = load(path, expect(saved), run="a")
    assert (loaded.step, loaded.state, loaded.path, loaded.identity) == (7, STATE, path, {"run": "a"})
    assert loaded.tensors.keys() == saved.keys()
    for stem, named in saved.items():
        assert loaded.tensors[stem].keys() == named.keys()
        for name, tensor in named.items():
            assert loaded.tensors[stem][name].dtype == tensor.dtype
            assert torch.equal(loaded.tensors[stem][name], tensor)


def test_the_files_are_plain_safetensors(tmp_path):
    from safetensors.torch import load_file

    path = save(tmp_path, 7, tensors(), STATE, {})
    assert torch.equal(load_file(path / "model.safetensors")["weight"], tensors()["model"]["weight"])


def test_folders_are_named_by_step_and_ordered_by_it(tmp_path):
    for step in (120, 7, 1_000_000_000):
        save(tmp_path, step, tensors(), STATE, {})
    assert [path.name for path in checkpoints(tmp_path)] == ["step-1000000000", "step-000000120", "step-000000007"]


def test_no_checkpoint_yet_is_none(tmp_path):
    assert newest(tmp_path / "checkpoints") == (None, [])


def test_the_newest_is_loaded(folder):
    loaded, lines = newest(folder)
    assert loaded.step == 2 and not lines


def test_a_step_is_never_saved_over(folder):
    with pytest.raises(CheckpointError, match="exists already"):
        save(folder, 2, tensors(), STATE, {})
    assert newest(folder)[0].tensors["model"]["bias"][0] == 16


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_that_is_not_finite_is_refused(folder, bad):
    broken = tensors()
    broken["optimizer"]["momentum"][1, 1] = bad
    with pytest.raises(Diverged, match="'momentum' of the optimizer is not finite at step 3"):
        save(folder, 3, broken, STATE, {})
    assert newest(folder)[0].step == 2


def test_a_state_that_is_not_finite_is_refused(folder):
    with pytest.raises(Diverged, match="state"):
        save(folder, 3, tensors(), {"risk": float("nan")}, {})
    assert names(folder) == ["step-000000001", "step-000000002"]


def test_ten_thousand_entries_are_listed_without_reading_them(folder):
    for step in range(10_000, 20_000):
        path_of(folder, step).mkdir()
    assert len(checkpoints(folder)) == 10_002


# The storage fails


def test_too_little_space_is_told_before_writing(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "free_bytes", lambda path: 1000)
    monkeypatch.setattr("dlcli.training.durable.free_bytes", lambda path: 2_000_000)
    with pytest.raises(StorageError, match=r"step-000000003: not enough free space \(1.0 MB needed, 2.0 MB free\)"):
        save(folder, 3, tensors(), STATE, {})
    assert newest(folder)[0].step == 2


@contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_a_file_size_limit_is_a_storage_error_and_older_checkpoints_stay(folder, size):
    big = {"model": {"weight": torch.zeros(100_000)}}
    with file_size_limit(size), pytest.raises(StorageError, match=r"File too large .* MB needed, .* MB free") as caught:
        save(folder, 3, big, STATE, {})
    assert caught.value.exit_code == 6
    assert names(folder) == ["step-000000001", "step-000000002"]
    assert newest(folder)[0].step == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "mkdir"])
def test_a_failing_call_is_a_storage_error_and_older_checkpoints_stay(folder, monkeypatch, call, number):
    def fail(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError, match="step-000000003"):
            save(folder, 3, tensors(), STATE, {})
    loaded, lines = newest(folder)
    assert loaded.step == 2 and not lines
    save(folder, 3, tensors(), STATE, {})
    assert newest(folder)[0].step == 3


def test_no_sync_is_tried_twice_on_one_file(folder, monkeypatch):
    synced = []

    def fail(descriptor):
        synced.append(descriptor)
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError):
        save(folder, 3, tensors(), STATE, {})
    assert len(synced) == 1


def test_no_kill_at_any_system_call_loses_an_acknowledged_checkpoint(tmp_path):
    program = [sys.executable, str(Path(__file__).with_name("crash_points.py")), str(tmp_path)]
    finished = subprocess.run(program, capture_output=True, text=True, check=True, timeout=300)
    results = json.loads(finished.stdout)
    assert len(results) > 150
    for result in results:
        assert result["loaded"] >= result["acknowledged"] and result["right"] and not result["strays"], result


# Damage


def files(path):
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"])
def test_every_truncation_is_found_and_the_older_checkpoint_used(folder, name):
    target = path_of(folder, 2) / name
    content = target.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        target.write_bytes(content[:length])
        with pytest.raises(Damaged):
            load(path_of(folder, 2))
    loaded, lines = newest(folder)
    assert loaded.step == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"checkpoint step-000000002 damaged ({name}: ")
    assert lines[0].endswith("; using step-000000001")


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"])
def test_every_flipped_bit_is_found(folder, name):
    target = path_of(folder, 2) / name
    content = target.read_bytes()
    for position in range(0, len(content) * 8, 7):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        target.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load(path_of(folder, 2))
    target.write_bytes(content)
    assert load(path_of(folder, 2)).step == 2


def test_a_damaged_checkpoint_is_set_aside(folder):
    os.truncate(path_of(folder, 2) / "state.json", 3)
    newest(folder)
    assert names(folder) == ["step-000000001", "step-000000002.damaged"]


def test_a_second_damaged_checkpoint_of_a_step_is_set_aside_too(folder):
    path_of(folder, 2).rename(folder / "step-000000002.damaged")
    save(folder, 2, tensors(), STATE, {})
    os.truncate(path_of(folder, 2) / "state.json", 3)
    newest(folder)
    assert names(folder) == ["step-000000001", "step-000000002.damaged", "step-000000002.damaged-2"]


def test_no_good_checkpoint_is_an_error_and_stays_one(folder):
    for step in (1, 2):
        os.truncate(path_of(folder, step) / "model.safetensors", 0)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is usable") as caught:
            newest(folder)
        assert caught.value.exit_code == 4 and caught.value.hint


def test_what_a_killed_save_left_is_removed(folder):
    (folder / ".saving-step-000000003").mkdir()
    (folder / ".saving-step-000000003" / "model.safetensors").write_bytes(b"half")
    (folder / ".deleting-step-000000001").mkdir()
    assert newest(folder)[0].step == 2
    assert names(folder) == ["step-000000001", "step-000000002"]


def test_a_failing_machine_is_not_taken_for_a_damaged_checkpoint(folder, monkeypatch):
    def fail(*arguments, **keywords):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageError):
            newest(folder)
    assert newest(folder)[0].step == 2


# Another model, another run


def test_a_different_model_is_refused_with_three_names_and_nothing_set_aside(folder):
    wanted = expect(tensors())
    wanted["model"]["bias"] = (torch.float32, (5,))
    wanted["model"]["extra"] = (torch.float32, ())
    wanted["optimizer"]["low"] = (torch.float32, (3,))
    del wanted["optimizer"]["none"]
    with pytest.raises(CheckpointError) as caught:
        load_newest(folder, wanted, print)
    assert caught.value.message == (
        "step-000000002 does not fit this model: model/bias (another shape or type), model/extra (missing), "
        "optimizer/low (another shape or type) and 1 more"
    )
    assert names(folder) == ["step-000000001", "step-000000002"]


def test_a_checkpoint_of_another_run_is_refused(folder):
    with pytest.raises(CheckpointError, match="another run"):
        load_newest(folder, None, print, run="b")


def test_a_newer_format_is_refused_and_not_set_aside(folder):
    forge(path_of(folder, 2), version=2)
    with pytest.raises(CheckpointError, match="newer dlcli") as caught:
        newest(folder)
    assert not isinstance(caught.value, Damaged)
    assert "step-000000002" in names(folder)


# Hostile checkpoints (faults C8 to C13)


def forge(path, **changes):
    """A manifest with other entries and the right checksum of itself."""
    body = json.loads((path / "manifest.json").read_bytes()) | changes
    del body["digest"]
    digest = sha256(strict_json.dump(body)).hexdigest()
    (path / "manifest.json").write_bytes(strict_json.dump(body | {"digest": digest}))


def plant(path, name, content):
    """A file with other content and the right size and checksum in the manifest."""
    (path / name).write_bytes(content)
    listed = json.loads((path / "manifest.json").read_bytes())["files"]
    forge(path, files=listed | {name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}})


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_pipe(path):
    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")


def with_manifest_pipe(path):
    (path / "manifest.json").unlink()
    os.mkfifo(path / "manifest.json")


def with_socket(path):
    (path / "state.json").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path)  # the name of a socket is short
        listener.bind("state.json")
        os.chdir(here)


def with_link(path):
    (path / "state.json").unlink()
    (path / "state.json").symlink_to("/etc/passwd")


def with_endless_link(path):
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to("/dev/zero")


def as_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def as_file(path):
    shutil.rmtree(path)
    path.write_bytes(b"PK\x03\x04 a zip of pickles")


def as_pipe(path):
    shutil.rmtree(path)
    os.mkfifo(path)


def without_file(path):
    (path / "optimizer.safetensors").unlink()


def with_extra_file(path):
    (path / "extra.pt").write_bytes(b"\x80\x04.")


def with_folder(path):
    (path / "state.json").unlink()
    (path / "state.json").mkdir()


def swapped(path):
    shutil.copy(checkpoints(path.parent)[1] / "model.safetensors", path / "model.safetensors")


def renamed(path):
    shutil.rmtree(path)
    shutil.copytree(checkpoints(path.parent)[0], path)


def with_pickle(path):
    plant(path, "state.json", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04exit\x85R.")


def with_pickled_model(path):
    plant(path, "model.safetensors", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04exit\x85R.")


def with_huge_sparse_file(path):
    os.truncate(path / "model.safetensors", 10 * 2**30)


def with_declared_terabytes(path):
    kinds = {"weight": ["F32", [2**40]]}
    found = json.loads((path / "manifest.json").read_bytes())
    forge(path, tensors=found["tensors"] | {"model": kinds})


def with_path_as_stem(path):
    found = json.loads((path / "manifest.json").read_bytes())
    forge(path, tensors={"../../model": {}}, files=found["files"])


MANIFESTS = {
    "negative step": {"step": -2},
    "step of another type": {"step": "2"},
    "true as step": {"step": True},
    "files as list": {"files": []},
    "file as text": {"files": {"state.json": "x"}},
    "negative size": {"files": {"state.json": {"bytes": -1, "sha256": ""}}},
    "tensors as null": {"tensors": None},
    "tensor as number": {"tensors": {"model": {"weight": 3}}},
    "unknown type": {"tensors": {"model": {"weight": ["F8", [1]]}}},
    "negative shape": {"tensors": {"model": {"weight": ["F32", [-1]]}}},
    "hundred dimensions": {"tensors": {"model": {"weight": ["F32", [1] * 100]}}},
    "identity as list": {"identity": []},
    "another format": {"format": "lightning"},
    "version of another type": {"version": "1"},
    "extra key": {"code": "os.system"},
}
DOCUMENTS = {
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "infinity": b'{"a":1e999}',
    "NaN": b'{"a":NaN}',
    "million digits": b'{"a":' + b"1" * 1_000_000 + b"}",
    "duplicate key": b'{"a":1,"a":2}',
    "list": b"[1]",
    "null": b"null",
    "not text": b"\xff\xfe\x00",
    "empty": b"",
    "5 MB": b'{"a":"' + b"x" * 5_000_000 + b'"}',
}


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


FLOATS = {"weight": entry("F32", [2, 4], 0, 32)}
HEADERS = {
    "no header": b"",
    "header longer than the file": (2**62).to_bytes(8, "little") + b"{}",
    "nested header": safetensors(b"[" * 100_000),
    "duplicate tensor": safetensors(b'{"weight":{},"weight":{}}'),
    "metadata that is not finite": safetensors(b'{"__metadata__":{"a":NaN}}'),
    "other tensors": safetensors(FLOATS, b"\0" * 32),
    "overlap": safetensors({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"\0" * 3),
    "overflow": safetensors({"a": entry("F32", [2**47, 2**47], 0, 0)}),
    "ten gigabytes": safetensors({"a": entry("U8", [10**10], 0, 10**10)}),
    "offsets as text": safetensors({"a": entry("U8", [1], "0", "1")}, b"\0"),
    "trailing bytes": safetensors(FLOATS, b"\0" * 40),
    "million tensors": safetensors({str(n): {} for n in range(1_000_000)}),
}
DEEDS = {
    **{deed.__name__: deed for deed in (with_pipe, with_manifest_pipe, with_socket, with_link, with_endless_link)},
    **{deed.__name__: deed for deed in (as_link, as_file, as_pipe, without_file, with_extra_file, with_folder)},
    **{deed.__name__: deed for deed in (swapped, renamed, with_pickle, with_pickled_model, with_huge_sparse_file)},
    **{deed.__name__: deed for deed in (with_declared_terabytes, with_path_as_stem)},
    **{f"manifest: {what}": lambda path, c=changes: forge(path, **c) for what, changes in MANIFESTS.items()},
    **{
        f"manifest document: {what}": lambda path, d=document: (path / "manifest.json").write_bytes(d)
        for what, document in DOCUMENTS.items()
    },
    **{f"state: {what}": lambda path, d=document: plant(path, "state.json", d) for what, document in DOCUMENTS.items()},
    **{
        f"header: {what}": lambda path, d=document: plant(path, "model.safetensors", d)
        for what, document in HEADERS.items()
    },
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_hostile_checkpoint_is_refused_and_the_older_one_used(folder, deed):
    path = path_of(folder, 2)
    DEEDS[deed](path)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert len(caught.value.message) <= 200 and caught.value.message.isprintable() and caught.value.hint
    lines = []
    loaded = load_newest(folder, None, lines.append)
    assert loaded.step == 1
    assert len(lines) == 1 and len(lines[0]) <= 200 and lines[0].isprintable()


@pytest.mark.parametrize("name", ["model.ckpt", "pytorch_model.bin", "archive.tar"])
def test_a_foreign_file_is_not_a_checkpoint(tmp_path, name):
    (tmp_path / name).write_bytes(os.urandom(1000))
    with pytest.raises(CheckpointError, match="not a usable dlcli checkpoint"):
        load(tmp_path / name)


# Retention


def fill(folder, steps):
    for step in steps:
        save(folder, step, tensors(step), STATE, {})


def kept(folder):
    return [int(path.name.removeprefix("step-")) for path in checkpoints(folder)]


def test_the_newest_and_the_best_are_kept(tmp_path):
    fill(tmp_path, range(1, 8))
    prune(tmp_path, 3, protect=(2,))
    assert kept(tmp_path) == [7, 6, 5, 2]


def test_two_are_kept_whatever_is_asked(tmp_path):
    fill(tmp_path, range(1, 5))
    prune(tmp_path, 0)
    assert kept(tmp_path) == [4, 3]


def test_a_damaged_checkpoint_does_not_count_as_kept(tmp_path):
    fill(tmp_path, range(1, 7))
    for step in (3, 5):
        target = path_of(tmp_path, step) / "model.safetensors"
        content = bytearray(target.read_bytes())
        content[-1] ^= 1
        target.write_bytes(content)
    prune(tmp_path, 2)
    assert kept(tmp_path) == [6, 5, 4]


def test_retention_does_not_read_again_what_this_process_wrote(tmp_path, monkeypatch):
    fill(tmp_path, range(1, 5))
    monkeypatch.setattr("dlcli.training.manifest.read", lambda path: pytest.fail(f"{path} was read again"))
    prune(tmp_path, 2)
    assert kept(tmp_path) == [4, 3]


def test_a_snapshot_in_the_memory_of_an_older_one_is_a_copy_like_any_other():
    """Of a tensor of another shape, or that was not there, it gets new memory."""
    older, named = snapshot(1, tensors(), {}), tensors(2.0)
    older.tensors["model"]["bias"] = older.tensors["model"]["bias"][:1]
    del older.tensors["optimizer"]["low"]
    places = {name: each.data_ptr() for name, each in older.tensors["model"].items()}
    newer = snapshot(2, named, {}, older)
    for stem, part in named.items():
        for name, each in part.items():
            assert torch.equal(newer.tensors[stem][name], each)
            assert each.numel() == 0 or newer.tensors[stem][name].data_ptr() != each.data_ptr()
    kept = {name for name, each in newer.tensors["model"].items() if each.data_ptr() == places[name]}
    assert kept == {"weight", "tied", "seen"}

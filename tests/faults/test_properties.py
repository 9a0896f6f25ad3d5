"""Of the formats that dlcli parses itself: what was written is what is read, a part of it never passes for the whole,
and whatever else is given ends as the one error that its caller expects. CSV, NPZ, parquet, images and YAML have theirs
beside their readers."""

from __future__ import annotations

import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dlcli.config import overrides
from dlcli.datasets.idx import parse
from dlcli.datasets.vocabularies import chunks
from dlcli.errors import CheckpointError, DataError, UsageError
from dlcli.training import checkpoint, manifest, strict_json, tensor_file
from dlcli.training.events import Event, healed, record, records
from dlcli.training.manifest import File, Manifest

NAMES = st.text(st.characters(codec="utf-8"), max_size=12)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensors(draw):
    """Bits of every type, those that are no number among them."""
    dtype, shape = draw(st.sampled_from(list(tensor_file.CODES))), draw(SHAPES)
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    content = bytearray(draw(st.binary(min_size=count, max_size=count)))
    if dtype is torch.bool:
        content = bytearray(byte & 1 for byte in content)
    return torch.frombuffer(content, dtype=dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def kinds(named):
    return {name: tensor_file.kind(tensor.dtype, tensor.shape) for name, tensor in named.items()}


# The library keeps notes under one name
FILES = st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), tensors(), max_size=4)


@settings(deadline=None)
@given(FILES)
def test_tensors_are_read_as_they_were_written(named):
    found = tensor_file.decode(b"".join(tensor_file.encode(named)), kinds(named))
    assert {name: bits(tensor) for name, tensor in found.items()} == {name: bits(t) for name, t in named.items()}


@settings(deadline=None)
@given(FILES, st.data())
def test_a_part_of_the_tensors_is_refused(named, data):
    content = b"".join(tensor_file.encode(named))
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError):
        tensor_file.decode(content[:cut], kinds(named))
    with pytest.raises(ValueError):
        tensor_file.decode(content + b"\0", kinds(named))


@settings(deadline=None)
@given(st.binary(max_size=300), FILES)
def test_other_bytes_are_no_tensors(content, named):
    assume(content != b"".join(tensor_file.encode(named)))
    with pytest.raises(ValueError):
        tensor_file.decode(struct.pack("<Q", max(0, len(content) - 20)) + content, kinds(named))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
STEMS = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


@st.composite
def manifests(draw):
    named = draw(st.dictionaries(STEMS, FILES.map(kinds), max_size=2))
    files = {f"{stem}.safetensors": sum(kind.bytes for kind in found.values()) for stem, found in named.items()}
    digests = st.text("0123456789abcdef", min_size=64, max_size=64)
    declared = {name: File(size, draw(digests)) for name, size in {**files, "state.json": 9}.items()}
    return Manifest(draw(st.integers(0, 10**9 - 1)), draw(st.dictionaries(NAMES, JSON, max_size=3)), declared, named)


def folder_of(room: Path, written: Manifest, document: bytes) -> Path:
    path = room / f"step-{written.step:09d}"
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for name in written.files:
        (path / name).touch()
    (path / "manifest.json").write_bytes(document)
    return path


@settings(deadline=None, max_examples=50)
@given(manifests(), st.data())
def test_a_manifest_is_read_as_it_was_written_or_refused(tmp_path_factory, written, data):
    room, document = tmp_path_factory.getbasetemp(), manifest.dump(written)
    assert manifest.read(folder_of(room, written, document)) == written
    place, bit = data.draw(st.integers(0, len(document) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(document)
    changed[place] ^= 1 << bit
    for other in (bytes(changed), document[:place], document + b" "):
        with pytest.raises(manifest.CheckpointError):
            manifest.read(folder_of(room, written, other))


def replaced(value, path, other):
    """A copy of nested dicts and lists with something else at one place."""
    if not path:
        return other
    found = value.copy()
    found[path[0]] = replaced(found[path[0]], path[1:], other)
    return found


def paths_in(value, here=()):
    yield here
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths_in(value[key], (*here, key))


@settings(deadline=None, max_examples=50)
@given(st.data(), JSON)
def test_a_manifest_that_says_something_else_is_refused_or_means_the_same_files(tmp_path_factory, data, other):
    """Its own sum is right: only what it says can betray it. What it refuses, the older checkpoint stands in for."""
    folder = tmp_path_factory.mktemp("forged")
    for step in (1, 2):
        weight = {"model": {"weight": torch.arange(6.0).reshape(2, 3)}, "optimizer": {"mean": torch.ones(2)}}
        path = checkpoint.save(folder, checkpoint.snapshot(step, weight, {"step": step}), {"run": "a"})
    body = strict_json.parse((path / "manifest.json").read_bytes())
    del body["digest"]
    place = data.draw(st.sampled_from([path for path in paths_in(body) if path]))
    body = replaced(body, place, other)
    body = body | {"digest": sha256(strict_json.dump(body)).hexdigest()}
    (path / "manifest.json").write_bytes(strict_json.dump(body))
    try:
        found = checkpoint.load(path)
    except CheckpointError as refusal:
        assert len(refusal.message) <= 200 and refusal.message.isprintable() and refusal.hint
    else:
        assert torch.equal(found.tensors["model"]["weight"], weight["model"]["weight"]) and found.step == 2
    if place != ("version",):  # one of a newer dlcli is not passed over
        assert checkpoint.load_newest(folder, None, lambda line: None).step in (1, 2)


@given(arrays.arrays(np.uint8, arrays.array_shapes(max_dims=4, max_side=5)), st.data())
def test_an_idx_file_is_read_as_it_was_written_or_refused(array, data):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    found = parse(content, Path("a"))
    assert found.dtype == np.uint8 and np.array_equal(found, array)
    for other in (content[: data.draw(st.integers(0, len(content) - 1))], content + b"\0"):
        with pytest.raises(DataError):
            parse(other, Path("a"))


def headers(sizes):
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([0, 1, 2, 2**31, 2**32 - 1]), min_size=1, max_size=4).map(headers)
)
@example(headers([0, 2**24, 2**23, 2**27]))  # a fuzzer's find: nothing, of a shape that no array can have
def test_an_idx_file_of_other_bytes_fits_its_header_or_is_refused(content):
    try:
        found = parse(content, Path("a"))
    except DataError:
        return
    assert 4 + 4 * found.ndim + found.size == len(content)


STEPS = st.lists(st.integers(0, 20), max_size=5)


@given(STEPS, st.integers(0, 20), st.data())
def test_events_are_healed_to_whole_records_up_to_a_step(steps, last, data):
    stream = b"".join(record(Event(step=step).SerializeToString()) for step in steps)
    cut = data.draw(st.integers(0, len(stream)))
    kept = [Event.FromString(content).step for _, content in records(healed(stream[:cut], last))]
    whole = [Event.FromString(content).step for _, content in records(stream[:cut])]
    assert steps[: len(whole)] == whole and (cut < len(stream) or whole == steps)
    assert kept == [step for step in whole if step <= last]
    assert healed(healed(stream[:cut], last), last) == healed(stream[:cut], last)


@given(st.text(max_size=60))
def test_an_override_is_parsed_or_refused(text):
    try:
        (found,) = overrides.parse([text])
    except UsageError as fault:
        assert fault.message
    else:
        assert overrides.keys(found)


@given(st.text(max_size=80))
def test_a_text_is_its_chunks(text):
    assert "".join(chunks(text)) == text

"""A fuzzer for everything that dlcli parses: valid files are mutated, and end as what they are or as one DlcliError.

DLCLI_FUZZ is the number of mutants of each format, DLCLI_SEED the seed. A failure names the mutant, which is kept.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dlcli import registry
from dlcli.config import overrides, yaml_file
from dlcli.config.folders import packaged
from dlcli.datasets.idx import parse
from dlcli.errors import DlcliError
from dlcli.settings import Preparation
from dlcli.training import checkpoint, strict_json, tensor_file
from dlcli.training.events import healed

MUTANTS = int(os.environ.get("DLCLI_FUZZ", "25"))
SEED = int(os.environ.get("DLCLI_SEED", "0"))
WORDS = [b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"nan", b"1e999", b"-1", b'"', b"'", b",", b"\n", b"\r"]
WORDS += [b"[" * 200, b"{", b"&a *a", b"!!python/object:os.system ", b"\xef\xbb\xbf", b"\x1b[2J", b"9" * 400, b"../"]


def table():
    return "a,b,y\n" + "".join(f"{n % 7},{n * n % 11},{'no' if n % 3 else 'yes'}\n" for n in range(40))


def picture(shade):
    content = io.BytesIO()
    Image.fromarray(np.full((6, 6), shade, np.uint8)).save(content, "PNG")
    return content.getvalue()


def pictures():
    return {f"{label}/{n}.png": picture(20 * n + shade) for label, shade in (("a", 1), ("b", 9)) for n in range(5)}


def npz():
    content = io.BytesIO()
    np.savez(content, x=np.arange(120, dtype=np.float32).reshape(40, 3) % 7, y=np.arange(40) % 2)
    return content.getvalue()


def zipped():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in pictures().items():
            archive.writestr(name, image)
    return content.getvalue()


def tarred():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, image in pictures().items():
            member = tarfile.TarInfo(name)
            member.size = len(image)
            archive.addfile(member, io.BytesIO(image))
    return content.getvalue()


def parquet():
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as format

    content = io.BytesIO()
    columns = {"a": [n % 7 for n in range(40)], "b": [n * 0.5 for n in range(40)], "y": ["no", "yes"] * 20}
    format.write_table(pyarrow.table(columns), content)
    return content.getvalue()


def idx():
    return struct.pack(">IIII", 0x803, 4, 28, 28) + bytes(range(256)) * 12 + bytes(64)


def reads(dataset, name):
    """Read the file as a data set of that kind, whole."""

    def read(content, folder):
        (folder / name).write_bytes(content)
        section = yaml.safe_load((packaged() / "dataset" / f"{dataset}.yaml").read_text())
        source = {key: value for key, value in section.items() if key not in Preparation._fields}
        registry.build("dataset", {**source, "path": str(folder / name)}, seed=0)

    return read


def read_idx(content, folder):
    parse(content, folder / "images")


def read_yaml(content, folder):
    (folder / "a.yaml").write_bytes(content)
    yaml_file.read(folder / "a.yaml")


def read_words(content, folder):
    overrides.parse([content.decode(errors="replace")])


def saved(folder, step=2):
    tensors = {"model": {"weight": torch.arange(6.0).reshape(2, 3)}}
    return checkpoint.save(folder, checkpoint.snapshot(step, tensors, {"step": step}), {"run": "a"})


def read_checkpoint(name):
    """Put the content in the place of one file of a checkpoint. Where that is refused, the older one is used."""

    def read(content, folder):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / "checkpoints").mkdir()
        saved(folder / "checkpoints", 1)
        path = saved(folder / "checkpoints")
        (path / name).write_bytes(content)
        try:
            checkpoint.load(path)
        except checkpoint.Damaged:
            assert checkpoint.load_newest(folder / "checkpoints", None, lambda line: None).step == 1
            raise

    return read


def manifest_document():
    with tempfile.TemporaryDirectory() as folder:
        return (saved(Path(folder)) / "manifest.json").read_bytes()


def read_forged(content, folder):
    """A manifest whose own sum is right, whatever else it says."""
    with suppress(ValueError, RecursionError):
        body = json.loads(content)
        if isinstance(body, dict):
            body.pop("digest", None)
            digest = sha256(strict_json.dump(body)).hexdigest()
            content = strict_json.dump(body | {"digest": digest})
    read_checkpoint("manifest.json")(content, folder)


def read_json(content, folder):
    with suppress(ValueError):  # what its callers expect
        strict_json.parse_object(content)


def read_tensors(content, folder):
    with suppress(ValueError):
        tensor_file.decode(content, {"weight": tensor_file.kind(torch.float32, (2, 3))})


def read_events(content, folder):
    healed(content, 10)


def tensors():
    return b"".join(tensor_file.encode({"weight": torch.arange(6.0).reshape(2, 3)}))


FORMATS = {
    "csv": (lambda: table().encode(), reads("csv", "t.csv")),
    "npz": (npz, reads("npz", "t.npz")),
    "parquet": (parquet, reads("parquet", "t.parquet")),
    "zip of images": (zipped, reads("image_folder", "images.zip")),
    "tar of images": (tarred, reads("image_folder", "images.tar")),
    "text": (lambda: ("To be, or not to be: " * 60).encode(), reads("text", "t.txt")),
    "idx": (idx, read_idx),
    "yaml": (lambda: (packaged() / "config.yaml").read_bytes(), read_yaml),
    "override": (lambda: b"training={steps: 9, lr: [0.1, 1e-4]}", read_words),
    "manifest": (manifest_document, read_checkpoint("manifest.json")),
    "forged manifest": (manifest_document, read_forged),
    "weights": (tensors, read_checkpoint("model.safetensors")),
    "state": (lambda: b'{"step":2}', read_checkpoint("state.json")),
    "json": (lambda: b'{"a":[1,2.5,null,true],"b":{"c":"d"}}', read_json),
    "safetensors": (tensors, read_tensors),
    "events": (lambda: struct.pack("<QI", 3, 0) + b"abc" + bytes(4), read_events),
}


def mutant(content, generator):
    """One to four cuts, insertions, repetitions, flipped bits or changed numbers."""
    now = bytearray(content)
    for _ in range(generator.randint(1, 4)):
        place, length = generator.randrange(len(now) + 1), generator.choice([1, 2, 4, 8, 100])
        match generator.randrange(6):
            case 0:
                del now[place:]
            case 1:
                del now[place : place + length]
            case 2:
                now[place:place] = generator.choice(WORDS)
            case 3:
                now[place:place] = now[max(0, place - length) : place]
            case 4:
                now[place : place + length] = generator.randbytes(length)
            case 5 if now:
                now[place % len(now)] ^= 1 << generator.randrange(8)
    return bytes(now)


@pytest.mark.parametrize("name", FORMATS)
def test_a_mutant_is_read_or_refused(name, tmp_path):
    build, read = FORMATS[name]
    content, generator = build(), random.Random(f"{name} {SEED}")
    read(content, tmp_path)
    for number in range(MUTANTS):
        folder, changed = tmp_path / str(number), mutant(content, generator)
        folder.mkdir()
        try:
            read(changed, folder)
        except DlcliError as fault:
            assert fault.message and fault.hint, f"mutant {number} of {name}"
        except Exception as bug:
            (tmp_path / "mutant").write_bytes(changed)
            raise AssertionError(f"mutant {number} of {name}, kept in {tmp_path / 'mutant'}: {bug!r}") from bug

"""Names of columns, classes, files and run directories that a terminal would obey (F6): it never sees them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

EVIL = "\x1b[2J\u202e"
TABLE = f"a{EVIL},b,y{EVIL}\n" + "".join(f"{n % 7},{n * n % 11},{'no' + EVIL if n % 3 else 'yes'}\n" for n in range(60))
FAST = ["model=mlp", "training.epochs=2"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "t.csv"
    path.write_text(TABLE)
    return ["dataset=csv", f"dataset.path={path}"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for name in (f"a{EVIL}", "b\n"):
        (root / name).mkdir()
        for number in range(20):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}{EVIL}.png")
    return ["dataset=image_folder", f"dataset.path={root}"]


def harmless(ended):
    """What a terminal was shown."""
    assert ended.code == 0, ended
    for line in (ended.out + ended.err).split("\n"):
        assert line.isprintable(), ascii(line)
    return ended


@pytest.mark.parametrize("source", ["table", "images"])
def test_names_in_data(warm, tmp_path, request, source):
    words = request.getfixturevalue(source)
    harmless(warm.run("train", *words, *FAST, "run_dir=run", cwd=tmp_path, no_pictures=False))
    harmless(warm.run("report", "run", cwd=tmp_path))
    harmless(warm.run("data", "info", words[0].partition("=")[2], words[1], cwd=tmp_path))
    for path in (tmp_path / "run" / "train.log", tmp_path / "run" / "report.html"):
        assert "\x1b" not in path.read_text()
    ended = harmless(warm.run("train", *words, *FAST, "--log", "json", cwd=tmp_path))
    assert all(json.loads(line)["event"] for line in ended.out.splitlines())


@pytest.mark.parametrize(
    "words",
    [["report", "RUN"], ["report", "RUN", "plain"], ["report", "RUN", "plain", "--format", "md"], ["verify", "RUN"],
     ["runs", "."], ["diff", "RUN", "plain"], ["eval", "RUN"], ["decompose", "RUN"],
     ["resume", "RUN", "training.epochs=3"], ["ledger", "."], ["ledger", ".", "--rebuild"],
     ["export", "RUN", "--output", f"x{EVIL}.pt"]],
    ids=" ".join,
)  # fmt: skip
def test_names_of_run_directories(warm, table, tmp_path, tmp_path_factory, words):
    plain = tmp_path / "plain"
    harmless(warm.run("train", *table, *FAST, f"run_dir={plain}", cwd=tmp_path))
    name = f"r{EVIL}\n"
    shutil.copytree(plain, tmp_path / name)
    ended = harmless(warm.run(*(name if word == "RUN" else word for word in words), cwd=tmp_path))
    assert ended.out


@pytest.mark.parametrize(
    "words", [["report", "."], ["report", ".", "plain"], ["runs", ".."], ["diff", ".", "plain"]], ids=" ".join
)
def test_what_the_files_of_a_run_say(warm, table, tmp_path, words):
    """A run directory that came from elsewhere: every text in its notes is hostile."""
    plain, run = tmp_path / "run" / "plain", tmp_path / "run"
    for folder in (run, plain):
        harmless(warm.run("train", *table, *FAST, f"run_dir={folder}", cwd=tmp_path))
    summary = json.loads((run / "summary.json").read_text())
    summary["diagnosis"] += EVIL
    summary["warnings"] = [{"code": "evil", "text": EVIL}]
    (run / "summary.json").write_text(json.dumps(summary))
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"reason": EVIL}))
    config = (run / "config.yaml").read_text()
    assert "tags: []" in config
    (run / "config.yaml").write_text(config.replace("tags: []", 'tags: ["\\e[2J\\u202e"]'))
    assert harmless(warm.run(*words, cwd=run)).out

"""`dlcli runs` and `dlcli diff` on runs that ended well, failed, or were killed."""

import csv
import io
import json
import os
import re
import shutil
from contextlib import chdir

import numpy as np
import pytest

from dlcli.cli import main
from dlcli.report.runs import age

TINY = ("dataset=iris", "model=linear", "training.epochs=2", "decompose.budget=none")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with chdir(folder):
        assert main(["train", "-m", *TINY, "optimizer=adam,sgd", "run_dir=sweep"]) == 0
    return folder


@pytest.fixture
def shelf(trained, tmp_path):
    shelf = shutil.copytree(trained, tmp_path / "shelf")
    shutil.copytree(shelf / "sweep/optimizer=sgd", shelf / "killed")
    status = json.loads((shelf / "killed/status.json").read_text())
    status |= {"state": "running", "pid": 2**22 + 1, "updated": "2020-01-01T00:00:00+00:00"}  # beyond any process id
    (shelf / "killed/status.json").write_text(json.dumps(status))
    (shelf / "broken").mkdir()
    (shelf / "broken/config.yaml").write_text("a: [")
    shutil.copy(shelf / "killed/status.json", shelf / "broken")
    (shelf / "conf").mkdir()
    (shelf / "conf/config.yaml").write_text("seed: 1")
    return shelf


def test_runs_are_listed_sorted_and_filtered(dlcli, shelf):
    rows = json.loads(dlcli("runs", "shelf", "--format", "json").out)
    assert [(row["run"], row["status"]) for row in rows[2:]] == [("killed", "killed"), ("broken", "unreadable")]
    assert {row["run"] for row in rows[:2]} == {"sweep/optimizer=adam", "sweep/optimizer=sgd"}
    summary = json.loads((shelf / "sweep/optimizer=sgd/summary.json").read_text())
    (row,) = json.loads(dlcli("runs", "shelf", "-f", "optimizer=s*", "-f", "status=done", "--format", "json").out)
    assert row["test_loss"] == summary["risks"]["test"]["loss"]["value"] and row["optimizer.lr"] > 0
    losses = [float(row["test_loss"]) for row in read(dlcli("runs", "shelf", "-f", "test_loss>0", *BY_LOSS, "-r").out)]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    bound = f"test_loss<{max(losses)}"
    assert 0 < len(read(dlcli("runs", "shelf", "--filter", bound, *BY_LOSS).out)) < 3
    shown = dlcli("runs", "shelf", "--sort", "model.depth")
    assert shown.code == 0 and re.search(r"killed .* d +sgd", shown.out) and "unreadable: broken:" in shown.out
    (shelf / "killed/status.json").write_text(json.dumps({"state": "running", "pid": os.getpid(), "host": "elsewhere"}))
    assert "running" in dlcli("runs", "shelf", "-f", "run=killed").out


BY_LOSS = ("--sort", "test_loss", "--format", "csv")


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sort", "test_los"], "no run has 'test_los'\nhint: did you mean 'test_loss'?"),
        (["--filter", "test_loss<small"], "cannot read --filter 'test_loss<small'"),
        (["--filter", "fast"], "cannot read --filter 'fast'"),
    ],
)
def test_a_mistake_in_a_key_or_a_condition_is_told(dlcli, shelf, words, message):
    answer = dlcli("runs", "shelf", *words)
    assert answer.code == 2 and answer.err.startswith(f"error: {message}")
    assert "there is no run directory" in dlcli("runs", "nowhere").err


def test_ages_fill_their_unit():
    assert [age(s) for s in (0, 59, 60, 3599, 3600, 86400 * 3)] == ["0 s", "59 s", "1 min", "60 min", "1 h", "3 d"]


def test_diff_shows_settings_and_the_paired_difference(dlcli, shelf):
    first, second = "shelf/sweep/optimizer=adam", "shelf/sweep/optimizer=sgd"
    answer = dlcli("diff", first, second)
    assert answer.code == 0, answer.err
    assert re.search(r"^optimizer +adam +sgd *$", answer.out, re.MULTILINE) and "environment: the same" in answer.out
    assert "in common: function class, training set, loss, test set" in answer.out
    losses = [np.load(shelf.parent / run / "losses/test_loss.npy") for run in (first, second)]
    assert f"test loss, second - first: {(losses[1] - losses[0]).mean():#.4g} [" in answer.out
    same = dlcli("diff", second, "shelf/killed")
    assert "settings: the same" in same.out and re.search(r"status +done +running", same.out)
    assert "test loss, second - first: 0 [0, 0]" in same.out
    assert "is not a run directory" in dlcli("diff", "shelf", second).err

"""MLflow and Weights & Biases for real, without a network: what they have is what metrics.jsonl says."""

import json
import os
import subprocess
import sys

import pytest

from dlcli.training.tracker import read_metrics

WORDS = ("dataset=digits", "model.width=16", "training.epochs=2", "training.log_every=10", "decompose.budget=none")


def command(*words, cwd):
    """In a process of its own: both packages leave threads and hooks behind."""
    env = os.environ | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    ran = subprocess.run(
        [sys.executable, "-m", "dlcli", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stdout, ran.stdout


def of(row):
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


@pytest.mark.parametrize("words", [("train",), ("train", "-m")], ids=["run", "sweep"])
def test_a_missing_package_is_one_line_with_the_hint_and_nothing_begins(dlcli, tmp_path, monkeypatch, words):
    monkeypatch.setattr("dlcli.trackers.find_spec", lambda name: None)
    answer = dlcli(*words, "dataset=iris", "tracking.wandb=offline", "seed=1")
    assert answer.code == 2 and not (tmp_path / "outputs").exists()
    assert answer.err.splitlines() == [
        "error: tracking.wandb needs the package wandb, which is not installed",
        "hint: pip install 'dlcli-train[wandb]', or leave tracking.wandb out",
    ]


def test_an_address_with_a_password_is_refused_before_it_reaches_a_file(dlcli, tmp_path, monkeypatch):
    monkeypatch.setattr("dlcli.trackers.find_spec", lambda name: True)
    answer = dlcli("train", "dataset=iris", "tracking.mlflow=https://me:secret@host")
    assert answer.code == 2 and "secret" not in answer.err and not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_mlflow_has_every_point_once_after_a_resume(tmp_path):
    pytest.importorskip("mlflow", reason="pip install 'dlcli-train[mlflow]'")
    command("train", *WORDS, "tracking.mlflow=mlflow.db", "tracking.project=digits", "run_dir=run", cwd=tmp_path)
    command("resume", "run", "training.epochs=4", cwd=tmp_path)
    program = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
(run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
points = {key: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
print(json.dumps([run.info.status, run.data.params, points]))
"""
    asked = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'mlflow.db'}"]
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=120, env=env)
    status, settings, points = json.loads(answer.stdout.splitlines()[-1])
    assert status == "FINISHED" and settings["model.width"] == "16" and "run_dir" not in settings
    rows = [of(row) for row in read_metrics(tmp_path / "run")]
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch")):
        expected = [[row["step"], row[name]] for row in rows if name in row]
        assert sorted(points[name]) == expected, name


@pytest.mark.slow
def test_wandb_offline_has_every_row_once_after_a_resume_and_says_nothing_of_the_machine(tmp_path):
    pytest.importorskip("wandb", reason="pip install 'dlcli-train[wandb]'")
    command("train", *WORDS, "tracking.wandb=offline", "run_dir=run", cwd=tmp_path)
    command("resume", "run", "training.epochs=4", cwd=tmp_path)
    program = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2

def records(content):  # the log format of LevelDB: blocks of 32 KiB, in which records are whole or in pieces
    at, pieces = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, size, kind = struct.unpack_from("<IHB", content, at)
        pieces += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield pieces
            pieces = b""

for path in sys.argv[1:]:
    for found in records(open(path, "rb").read()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(found)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            print(json.dumps({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}))
"""
    files = sorted(map(str, (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")))
    assert len(files) == 2
    answer = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    history = [json.loads(line) for line in answer.stdout.splitlines()]
    rows = [of(row) for row in read_metrics(tmp_path / "run")]
    assert [row["_step"] for row in history] == list(range(len(rows)))
    assert [{name: row[name] for name in row if not name.startswith("_")} for row in history] == rows

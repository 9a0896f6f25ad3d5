from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

from dlcli.errors import UsageError
from dlcli.report.summary import SCHEMA, differing, flatten, read_rows, read_run, read_summary, summarize


def test_a_summary_that_was_written_is_read_back(write_run, summary):
    assert read_summary(write_run("a", {"seed": 0}, summary)) == summary


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run directory .*gone"):
        read_summary(tmp_path / "gone")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UsageError, match="is not a run directory"):
        read_summary(tmp_path)


def test_an_unfinished_run_is_sent_to_resume(write_run):
    with pytest.raises(UsageError) as caught:
        read_summary(write_run("a", {"seed": 0}))
    assert "dlcli resume" in caught.value.hint


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_summary_is_no_traceback(write_run, content):
    folder = write_run("a", {"seed": 0})
    (folder / "summary.json").write_text(content)
    with pytest.raises(UsageError, match="is damaged"):
        read_summary(folder)


def test_a_summary_of_another_schema_is_refused(write_run, summary):
    with pytest.raises(UsageError, match=r"has schema 'dlcli\.summary/9'"):
        read_summary(write_run("a", {"seed": 0}, summary | {"schema": "dlcli.summary/9"}))


def test_a_failed_run_is_read_with_its_reason(write_run):
    run = read_run(write_run("a", {"seed": 0}, status={"state": "failed", "reason": "loss is nan"}))
    assert (run["status"], run["reason"], run["summary"]) == ("failed", "loss is nan", None)


def test_a_text_that_reads_as_a_date_stays_text(write_run):
    assert read_run(write_run("a", {"name": "2024-01-01"}))["config"] == {"name": "2024-01-01"}


@pytest.mark.parametrize("content", ["a: [", "[]", "a: " + "[" * 50 + "]" * 50, "- " * 200_000], ids=len)
def test_a_damaged_or_bottomless_config_is_no_traceback(write_run, content):
    folder = write_run("a", {"seed": 0})
    (folder / "config.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"config\.yaml:\d+:\d+: "):
        read_run(folder)


def test_flat_keys_are_those_of_the_command_line():
    config = {"seed": 0, "name": "x", "model": {"name": "mlp", "width": 8}}
    assert flatten(config) == {"seed": 0, "name": "x", "model": "mlp", "model.width": 8}


def test_what_differs_leaves_out_where_a_run_is_kept():
    assert differing([{"seed": 0, "lr": 1, "run_dir": "a"}, {"seed": 1, "lr": 1, "run_dir": "b"}]) == ["seed"]


def test_the_same_warning_is_kept_once():
    warning = {"code": "a", "text": "b"}
    parts = {
        "run": {},
        "data": {},
        "function_class": {},
        "keys": {},
        "risks": {},
        "decomposition": {},
        "diagnosis": "",
        "timing": {},
    }
    assert summarize(**parts, warnings=[warning, dict(warning)]) == {
        "schema": SCHEMA,
        "run": {},
        "data": {},
        "class": {},
        "keys": {},
        "risks": {},
        "decomposition": {},
        "diagnosis": "",
        "timing": {},
        "warnings": [warning],
    }


def test_reading_reports_imports_neither_torch_nor_numpy_nor_hydra():
    code = (
        "import sys, dlcli.report.comparison, dlcli.report.table; "
        "print([name for name in ('torch', 'numpy', 'scipy', 'hydra', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def saved(rows):
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"PK\x03\x04",
        saved(np.arange(3.0))[:-1],
        saved(np.arange(3.0)).replace(b"(3,)", b"(-3)"),
        saved(np.arange(3.0)).replace(b"(3,)", b"(((("),
        saved(np.arange(3.0)).replace(b"(3,), }" + 8 * b" ", b"(99999999999,)}"),
        saved(np.array([{}])),
        saved(np.ones((2, 2))),
        saved(np.array(["a"])),
    ],
    ids=["empty", "text", "zip", "cut", "negative", "unclosed", "huge", "pickled", "matrix", "words"],
)
def test_damaged_rows_are_rows_that_are_not_there(tmp_path, content):
    (tmp_path / "losses").mkdir()
    path = tmp_path / "losses" / "test_loss.npy"
    path.write_bytes(saved(np.arange(3.0)))
    assert read_rows(tmp_path, "test", "loss").tolist() == [0, 1, 2] and read_rows(tmp_path, "train", "loss") is None
    path.write_bytes(content)
    assert read_rows(tmp_path, "test", "loss") is None

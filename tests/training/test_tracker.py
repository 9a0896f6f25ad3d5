import errno
import json
import math
import os
import shlex
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata as hparams

from dlcli.errors import StorageError
from dlcli.training.events import event_files
from dlcli.training.tracker import Tracker, read_metrics, tensorboard_command


def train(tracker, first, last):
    for step in range(first, last + 1):
        tracker.log(step, step / 4, {"risk/train/loss": 1 / step})
        tracker.scalar("speed/samples_per_second", 100.0, step)


def read(run_dir):
    accumulator = EventAccumulator(
        str(run_dir / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}
    )
    return accumulator.Reload()


def raw_steps(run_dir):
    """How often each (tag, step) stands in the event files, whatever a reader would make of it."""
    events = (event for path in event_files(run_dir / "tensorboard") for event in EventFileLoader(str(path)).Load())
    return Counter((value.tag, event.step) for event in events for value in event.summary.value)


# metrics.jsonl


def test_a_row_holds_step_epoch_and_values(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.log(50, 1.25, {"train/loss": 0.5, "train/lr": 0.1})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 50, "epoch": 1.25, "train/loss": 0.5, "train/lr": 0.1}


def test_what_is_not_finite_is_null_and_named(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.log(1, 0.5, {"a": math.nan, "b": math.inf, "c": 1.0})
    (row,) = read_metrics(tmp_path)
    assert row == {"step": 1, "epoch": 0.5, "a": None, "b": None, "c": 1.0, "nonfinite": ["a", "b"]}
    assert math.isnan(read(tmp_path).Scalars("a")[0].value)


def test_rows_are_cut_back_to_the_checkpoint(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 7)
    with Tracker(tmp_path, resume_step=4) as tracker:
        train(tracker, 5, 9)
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 10))


def test_a_resumed_file_is_that_of_the_unbroken_run_to_the_byte(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 9)
    unbroken = (tmp_path / "metrics.jsonl").read_bytes()
    with Tracker(tmp_path, resume_step=4) as tracker:
        train(tracker, 5, 9)
    assert (tmp_path / "metrics.jsonl").read_bytes() == unbroken


@pytest.mark.parametrize("torn", range(1, 40, 3))
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 4)
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - torn)
    with Tracker(tmp_path, resume_step=3) as tracker:
        train(tracker, 4, 5)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"step":"x"}', b"\xff\xfe", b'{"step":1,"a":NaN}', b"[" * 10**5])
def test_a_line_that_is_no_row_is_dropped(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step":1}\n' + line + b'\n{"step":2}\n')
    Tracker(tmp_path, resume_step=2).close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_a_start_without_checkpoint_forgets_what_a_killed_one_left(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 3)
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    assert set(raw_steps(tmp_path).values()) == {1}


def test_a_disk_that_fails_is_a_storage_error(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with Tracker(tmp_path) as tracker:
        tracker.log(1, 0.0, {"a": 1.0})
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"metrics\.jsonl: Input/output error"):
            tracker.flush()


# TensorBoard


def test_curves_have_no_duplicates_and_no_gaps_after_a_resume(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 7)
    for resumed, last in ((4, 6), (6, 12)):
        with Tracker(tmp_path, resume_step=resumed) as tracker:
            train(tracker, resumed + 1, last)
    for tag in ("risk/train/loss", "speed/samples_per_second"):
        assert [scalar.step for scalar in read(tmp_path).Scalars(tag)] == list(range(1, 13))
    assert set(raw_steps(tmp_path).values()) == {1}


def test_a_reader_that_saw_the_later_steps_forgets_them(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 7)
    reader = read(tmp_path)
    assert len(reader.Scalars("risk/train/loss")) == 7
    with Tracker(tmp_path, resume_step=4) as tracker:
        train(tracker, 5, 6)
    reader.Reload()
    assert [scalar.step for scalar in reader.Scalars("risk/train/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("torn", [1, 5, 20, 47])
def test_a_torn_event_is_dropped_and_earlier_ones_stay(tmp_path, torn):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 4)
    (path,) = event_files(tmp_path / "tensorboard")
    os.truncate(path, path.stat().st_size - torn)
    with Tracker(tmp_path, resume_step=3) as tracker:
        train(tracker, 4, 5)
    assert [scalar.step for scalar in read(tmp_path).Scalars("risk/train/loss")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("clock", [0.0, 1e9, 9e9])
def test_files_are_read_in_the_order_of_writing_whatever_the_clock_does(tmp_path, monkeypatch, clock):
    Tracker(tmp_path).close()
    (first,) = event_files(tmp_path / "tensorboard")
    monkeypatch.setattr("dlcli.training.events.time.time", lambda: clock)
    Tracker(tmp_path, resume_step=0).close()
    Tracker(tmp_path, resume_step=0).close()
    assert len(event_files(tmp_path / "tensorboard")) == 3
    assert event_files(tmp_path / "tensorboard")[0] == first


def test_an_image_comes_back_to_the_pixel(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with Tracker(tmp_path) as tracker:
        tracker.image("confusion", pixels, 3)
    (image,) = read(tmp_path).Images("confusion")
    (tmp_path / "image.png").write_bytes(image.encoded_image_string)
    assert (image.step, image.height, image.width) == (3, 5, 7)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "image.png")), pixels)


def test_a_text_comes_back(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.text("diagnosis", "**optimization** dominates", 9)
    (tensor,) = read(tmp_path).Tensors("diagnosis")
    assert tensor.tensor_proto.string_val == [b"**optimization** dominates"]


def test_hyper_parameters_and_final_metrics_lie_in_the_runs_own_folder(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 2)
        settings = {"optimizer.lr": 0.1, "model.name": "mlp", "compile": False, "clip": None, "betas": [0.9, 0.99]}
        tracker.hparams(settings, {"test/loss": 0.5, "test/error": 0.25}, 2)
    found = read(tmp_path)
    assert [scalar.value for scalar in found.Scalars("final/test/error")] == [0.25]
    content = found.SummaryMetadata(hparams.SESSION_START_INFO_TAG).plugin_data.content
    start = hparams.parse_session_start_info_plugin_data(content)
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert start.hparams["model.name"].string_value == "mlp"
    assert start.hparams["compile"].WhichOneof("kind") == "bool_value"
    assert start.hparams["clip"].string_value == "null"
    assert start.hparams["betas"].string_value == "[0.9, 0.99]"
    content = found.SummaryMetadata(hparams.SESSION_END_INFO_TAG).plugin_data.content
    assert hparams.parse_session_end_info_plugin_data(content).status == 1  # success
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == [
        path.name for path in event_files(tmp_path / "tensorboard")
    ]


def test_an_extended_run_has_one_row_of_hyper_parameters(tmp_path):
    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 2)
        tracker.hparams({"steps": 2}, {"test/loss": 0.5}, 2)
    with Tracker(tmp_path, resume_step=2) as tracker:
        train(tracker, 3, 4)
        tracker.hparams({"steps": 4}, {"test/loss": 0.25}, 4)
    assert raw_steps(tmp_path)[hparams.SESSION_START_INFO_TAG, 4] == 1
    assert raw_steps(tmp_path)[hparams.SESSION_START_INFO_TAG, 2] == 0
    assert [scalar.value for scalar in read(tmp_path).Scalars("final/test/loss")] == [0.25]


def test_what_follows_the_last_checkpoint_is_not_repeated(tmp_path):
    def finish(tracker):
        tracker.log(4, 1.0, {"risk/test/loss": 0.5})
        tracker.image("confusion", np.zeros((2, 2, 3), np.uint8), 4)
        tracker.text("diagnosis", "generalization dominates", 4)
        tracker.hparams({"seed": 0}, {"test/loss": 0.5}, 4)

    with Tracker(tmp_path) as tracker:
        train(tracker, 1, 4)
        finish(tracker)
    unbroken = (tmp_path / "metrics.jsonl").read_bytes(), raw_steps(tmp_path)
    with Tracker(tmp_path, resume_step=4) as tracker:
        finish(tracker)
    assert ((tmp_path / "metrics.jsonl").read_bytes(), raw_steps(tmp_path)) == unbroken


def test_what_a_kill_left_out_after_the_last_checkpoint_is_added(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.log(4, 1.0, {"train/running_loss": 0.5})
    with Tracker(tmp_path, resume_step=4) as tracker:
        tracker.log(4, 1.0, {"train/running_loss": 0.5})
        tracker.log(4, 1.0, {"risk/test/loss": 0.25})
    assert read_metrics(tmp_path) == [
        {"step": 4, "epoch": 1.0, "train/running_loss": 0.5},
        {"step": 4, "epoch": 1.0, "risk/test/loss": 0.25},
    ]


def test_the_command_is_quoted_for_the_shell(tmp_path):
    command = tensorboard_command(tmp_path / "a b;c")
    assert shlex.split(command) == ["tensorboard", "--logdir", str(tmp_path / "a b;c")]


def test_neither_tensorflow_nor_its_stand_in_is_imported():
    program = (
        "import sys, dlcli.training.tracker\n"
        "assert not {'tensorflow', 'tensorboard.compat.tensorflow_stub', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

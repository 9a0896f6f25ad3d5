"""Power cuts: of a run on a file system of its own, the image is copied without any sync and mounted elsewhere.

What the copy lacks is what the kernel had not yet written to the disk. DLCLI_KILLS is the number of cuts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.faults.left_behind import outcome
from tests.faults.runs import COMMON, KINDS, check_resumed

CUTS = int(os.environ.get("DLCLI_KILLS", "3"))
KIND = "batch norm and dropout"
MEGABYTES = 24
SAVES = 12  # checkpoints of that run

pytestmark = pytest.mark.faults


def call(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)


@contextmanager
def mounted(image, folder):
    folder.mkdir(exist_ok=True)
    done = call("mount", "-o", "loop", image, folder)
    if done.returncode:
        pytest.skip(f"mounting an image is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        assert call("umount", "--lazy", folder).returncode == 0


def acknowledged_events(text):
    """Steps of the checkpoints that a script was told of."""
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [event["step"] for event in events if event["event"] == "checkpoint_saved"]


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed")
def test_power_cuts(warm, unbroken, tmp_path):
    folder, seconds = unbroken(KIND)
    expected, generator, lost, resumed = outcome(folder), random.Random(4), [], 0
    for number in range(CUTS):
        image, copy = tmp_path / "image", tmp_path / "copy"
        with image.open("wb") as new:
            new.truncate(MEGABYTES * 2**20)
        assert call("mkfs.ext4", "-q", "-F", image).returncode == 0
        with mounted(image, tmp_path / "disk") as disk:
            process = warm.start("train", *KINDS[KIND], *COMMON, f"run_dir={disk / 'run'}", "--log", "json")
            saves, pause = generator.randrange(SAVES), generator.uniform(0.0, 0.2) * seconds
            while len(acknowledged_events(process.out)) < saves:
                time.sleep(0.002)
            time.sleep(pause)
            process.send(signal.SIGSTOP)
            promised = max(acknowledged_events(process.out), default=-1)
            shutil.copyfile(image, copy)
            process.send(signal.SIGKILL)
            process.send(signal.SIGCONT)
            process.wait()
        with mounted(copy, tmp_path / "after") as after:
            if (after / "run" / "config.yaml").is_file():
                resumed += check_resumed(warm, after / "run", expected, promised) >= 0
            elif promised >= 0:
                lost.append((number, promised))
    assert not lost
    assert resumed >= CUTS // 2, "the cuts came too early to show anything"

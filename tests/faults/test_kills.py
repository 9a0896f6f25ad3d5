"""kill -9 at random moments: nothing that was acknowledged is lost, and the resumed run is the unbroken one to the bit.

A running command is frozen, its directory copied, and the command let go again: every copy is what a kill at that
moment would have left. DLCLI_KILLS is the number of copies per kind of run; thousands are possible.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from tests.faults.left_behind import differences, outcome
from tests.faults.runs import COMMON, KINDS, check_resumed

SLOWLY, SECONDS, SYNCS = "batch norm and dropout", 0.03, 12  # kind, of one sync, of one save
KILLS = int(os.environ.get("DLCLI_KILLS", "0"))


def frozen_copies(warm, words, folder, count, seconds, generator, **circumstances):
    """Directories as kills at `count` random moments of one command leave them."""
    process = warm.start(*words, f"run_dir={folder / 'run'}", **circumstances)
    moments = sorted(generator.uniform(0, seconds) for _ in range(count))
    started, stopped = time.monotonic(), 0.0
    for number, moment in enumerate(moments):
        time.sleep(max(0.0, started + stopped + moment - time.monotonic()))
        frozen = time.monotonic()
        process.send(signal.SIGSTOP)
        if (folder / "run").is_dir():
            shutil.copytree(folder / "run", folder / f"copy-{number}", symlinks=True)
        process.send(signal.SIGCONT)
        stopped += time.monotonic() - frozen
    assert process.wait().code == 0
    return [folder / f"copy-{number}" for number in range(count) if (folder / f"copy-{number}").is_dir()]


def test_kill_while_the_disk_is_slow(warm, unbroken, tmp_path):
    """Steps are taken while a checkpoint is being written, and the next one waits: both are what kills meet here."""
    expected, generator = outcome(unbroken(SLOWLY)[0]), random.Random(os.environ.get("DLCLI_SEED", 0))
    for number in range(max(1, KILLS // 8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        words = ["train", *KINDS[SLOWLY], *COMMON]
        for copy in frozen_copies(warm, words, folder, 4, 12 * SYNCS * SECONDS, generator, slow_sync=SECONDS):
            check_resumed(warm, copy, expected)
        assert not differences(outcome(folder / "run"), expected)


@pytest.mark.short("batch norm and dropout", "vae")
@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_random_moments(warm, unbroken, tmp_path, kind):
    folder, seconds = unbroken(kind)
    expected, generator = outcome(folder), random.Random(f"{kind} {os.environ.get('DLCLI_SEED', 0)}")
    left = KILLS or 2
    while left > 0:
        count = min(left, 8)
        copies = frozen_copies(warm, ["train", *KINDS[kind], *COMMON], tmp_path, count, 0.8 * seconds, generator)
        for copy in copies:
            check_resumed(warm, copy, expected)
        assert not differences(outcome(tmp_path / "run"), expected), "being frozen for a while changed the run itself"
        shutil.rmtree(tmp_path / "run")
        left -= count

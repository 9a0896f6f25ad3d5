"""Kill a process at every durable system call of saving, retention and resuming; see test_checkpoint.

Run as a program: one import of torch serves all kills, each in a fork. Prints a JSON list, one entry per kill:
{"point", "acknowledged", "loaded", "right", "strays"}; "point" null ends it, where nothing was left to kill.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from dlcli.training import checkpoint

CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "close")


def tensors(step):
    return {"model": {"weight": torch.full((64,), float(step))}, "optimizer": {"momentum": torch.full((8,), -step)}}


def arm(point, before):
    """Kill this process at its durable call number `point`, just before or just after it."""
    seen = 0

    def counted(call):
        def run(*arguments, **keywords):
            nonlocal seen
            seen += 1
            last = seen == point
            if before and last:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*arguments, **keywords)
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return run

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def work(folder, acknowledge):
    """Resume past a damaged checkpoint, then save twice and forget the oldest."""
    loaded = checkpoint.load_newest(folder, None, lambda line: None)
    for step in (loaded.step + 1, loaded.step + 2):
        checkpoint.save(folder, checkpoint.snapshot(step, tensors(step), {"step": step}), {})
        acknowledge(step)
        checkpoint.prune(folder, 2)


def kill_at(template, folder, point, before):
    shutil.copytree(template, folder)
    reader, writer = os.pipe()
    write = os.write
    child = os.fork()
    if child == 0:
        os.fsync = lambda descriptor: None  # a killed process loses no page cache; only the order of calls matters
        arm(point, before)
        work(folder, lambda step: write(writer, bytes([step])))
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    acknowledged = max(os.read(reader, 100), default=2)  # the template's newest good one
    os.close(reader)
    loaded = checkpoint.load_newest(folder, checkpoint.expect(tensors(0)), lambda line: None)
    same = all(
        torch.equal(tensor, loaded.tensors[stem][name])
        for stem, named in tensors(loaded.step).items()
        for name, tensor in named.items()
    )
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return {
        "point": point if os.WIFSIGNALED(status) else None,
        "acknowledged": acknowledged,
        "loaded": loaded.step,
        "right": same and loaded.state == {"step": loaded.step},
        "strays": [path.name for path in folder.iterdir() if path.name.startswith(".")],
    }


def main(room):
    template = room / "template"
    for step in (1, 2, 3):
        checkpoint.save(template, checkpoint.snapshot(step, tensors(step), {"step": step}), {})
    os.truncate(checkpoint.path_of(template, 3) / "model.safetensors", 10)
    results = []
    for before in (True, False):
        point = 0
        while not results or results[-1]["point"] is not None or point == 0:
            point += 1
            folder = room / "checkpoints"
            results.append(kill_at(template, folder, point, before))
            shutil.rmtree(folder)
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

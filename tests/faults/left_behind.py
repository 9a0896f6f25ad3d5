"""What a run leaves behind, in a form in which two runs can be compared to the bit."""

from __future__ import annotations

import json
from pathlib import Path

from dlcli.errors import CheckpointError
from dlcli.training import checkpoint
from dlcli.training.events import Event, event_files, records

FREE = ("speed/",)  # curves of wall time


def acknowledged(run_dir: Path) -> int:
    """The step of the newest checkpoint that the command has said to be durable; -1 for none."""
    log = run_dir / "train.log"
    lines = log.read_text().splitlines() if log.exists() else []
    steps = [int(line.split("step-")[1].split()[0]) for line in lines if line.endswith(" saved") and "step-" in line]
    return max(steps, default=-1)


def newest_good(run_dir: Path) -> int:
    """The step of the newest checkpoint that is whole; -1 for none."""
    for path in checkpoint.checkpoints(run_dir / "checkpoints"):
        try:
            return checkpoint.load(path).step
        except CheckpointError:
            continue
    return -1


def outcome(run_dir: Path) -> dict[str, object]:
    """Weights, optimizer, state but for its times, metrics, and the values of every curve."""
    last = checkpoint.checkpoints(run_dir / "checkpoints")[0]
    state = json.loads((last / "state.json").read_text())
    del state["seconds"]
    return {
        "checkpoints": [path.name for path in checkpoint.checkpoints(run_dir / "checkpoints")],
        "model": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "optimizer.safetensors").read_bytes(),
        "state": state,
        "metrics": (run_dir / "metrics.jsonl").read_text(),
        "curves": curves(run_dir),
        "status": json.loads((run_dir / "status.json").read_text())["state"],
    }


def curves(run_dir: Path) -> dict[tuple[str, int], list[float]]:
    """Every value that stands in the event files: one per tag and step, if nothing was written twice."""
    found: dict[tuple[str, int], list[float]] = {}
    for path in event_files(run_dir / "tensorboard"):
        for _, content in records(path.read_bytes()):
            event = Event.FromString(content)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    kept = 0.0 if value.tag.startswith(FREE) else value.simple_value
                    found.setdefault((value.tag, event.step), []).append(kept)
    return found


def differences(broken: dict[str, object], unbroken: dict[str, object]) -> list[str]:
    """Names of what differs."""
    found = [name for name in unbroken if broken[name] != unbroken[name]]
    twice = [key for key, values in broken["curves"].items() if len(values) > 1]
    return found + [f"twice: {key}" for key in twice]


def strays(run_dir: Path) -> list[str]:
    return sorted(path.name for path in run_dir.rglob(".*") if path.is_file() or path.is_dir())

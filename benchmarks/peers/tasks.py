"""The tasks of the race, as dlcli's settings; every peer gets the very numbers that dlcli trains on."""

from __future__ import annotations

from pathlib import Path

COMMON = ["schedule=constant", "optimizer.lr=0.001", "dataset.validation_fraction=0", "training.epochs=1000000"]
IMAGES = [*COMMON, "dataset=fashion_mnist", "training.batch_size=128", "optimizer=adam"]
TEXT = ["dataset=text", "dataset.window=64", "training.batch_size=12", "training.clip_norm=1", "optimizer=adamw"]
TEXT += ["optimizer.beta2=0.99", "optimizer.weight_decay=0.1"]
SETTINGS = {
    "mlp": [*IMAGES, "model=mlp", "model.width=256", "model.depth=2"],
    "lenet": [*IMAGES, "model=lenet"],
    "lstm": [*IMAGES, "model=lstm", "model.width=128"],
    "transformer": [*COMMON, *TEXT, "model=transformer", "model.width=128", "model.depth=4", "model.bias=false"],
}
SHAPES = {"mlp": (-1, 784), "lenet": (-1, 1, 28, 28), "lstm": (-1, 28, 28), "transformer": (-1, 64)}
STEPS = {"mlp": 200, "lenet": 60, "lstm": 40, "transformer": 15}  # of a round: a second or so


def overrides(task: str, data: Path) -> list[str]:
    """data: a folder with `fashion-mnist/` (the four official files) and `text/tinyshakespeare.txt`."""
    place = "path" if task == "transformer" else "root"
    folder = data / ("text/tinyshakespeare.txt" if task == "transformer" else "fashion-mnist")
    return [*SETTINGS[task], f"dataset.{place}={folder}"]

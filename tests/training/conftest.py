"""A run small enough to be taken apart in a test: real parts from the registry, data in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from dlcli.datasets.resident import Resident
from dlcli.protocols import Data, DataSpec
from dlcli.registry import build
from dlcli.settings import Checkpoint, Training
from dlcli.training.evaluate import evaluate, reduce
from dlcli.training.parameters import FlatParameters
from dlcli.training.randomness import Batches, stream
from dlcli.training.run import Learner, Run

CONF = Path(__file__).parents[2] / "conf"
CPU = torch.device("cpu")


def section(group, name, **changes):
    return {**yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8")), **changes}


def images(examples, seed, classes=3, shape=(1, 6, 6)):
    """Noisy copies of one pattern per class: learnable, and not separable at once."""
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(classes, (examples,), generator=draw)
    return Resident(patterns[targets] + 1.5 * torch.randn(examples, *shape, generator=draw), targets)


def risks(model, task, split, **named):
    return reduce(task, evaluate(model, task, split, **named))


def make_run(
    *,
    model=None,
    normalization="none",
    optimizer="sgd",
    schedule="constant",
    augmentation=None,
    data=None,
    seed=5,
    steps=12,
    evaluate_every=5,
    checkpoint=None,
    label_smoothing=0.0,
    **training,
):
    """Sections are names or (name, changes); `training` takes the settings of that section."""

    def build_section(group, chosen, **supplied):
        name, changes = (chosen, {}) if isinstance(chosen, str) else chosen
        return build(group, section(group, name, **changes), **supplied)

    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    settings = Training(**{**defaults["training"], "batch_size": 8, "log_every": 4, **training})
    train, validation, test = data or (images(40, 1), images(24, 2), images(24, 3))
    spec = DataSpec("patterns", tuple(train.inputs.shape[1:]), classes=("a", "b", "c"))
    task = build("task", section("task", "multiclass", label_smoothing=label_smoothing), spec=spec)
    torch.default_generator.manual_seed(stream(seed, "weights"))
    net = build_section(
        "model",
        model or ("mlp", {"width": 7, "depth": 2}),
        spec=task.spec,
        normalization=build("normalization", section("normalization", normalization)),
        examples=train.inputs,
    )
    learners = []
    for phase in task.phases:
        parameters, rule = FlatParameters(net.get_submodule(phase.module)), build_section("optimizer", optimizer)
        learners.append(Learner(phase, parameters, rule, rule.init(parameters), build_section("schedule", schedule)))
    whole = learners[0].optimizer.full_batch
    return Run(
        seed=seed,
        device=CPU,
        data=Data(spec, train, validation, test, {}),
        task=task,
        model=net,
        learners=tuple(learners),
        augment=None if augmentation is None else build_section("augmentation", augmentation, spec=spec),
        batches=Batches(len(train), len(train) if whole else settings.batch_size, stream(seed, "order"), CPU),
        steps=steps,
        evaluate_every=evaluate_every,
        training=settings,
        checkpoint=Checkpoint(**{**defaults["checkpoint"], **(checkpoint or {})}),
    )


class Notebook:
    """A journal and a console that remember."""

    def __init__(self):
        self.rows, self.scalars, self.lines = [], [], []

    def log(self, step, epoch, values):
        self.rows.append((step, epoch, dict(values)))

    def scalar(self, tag, value, step):
        self.scalars.append((tag, step))

    def flush(self):
        pass

    def advance(self, step, loss, samples_per_second):
        assert samples_per_second > 0

    def evaluated(self, step, epoch, values):
        self.lines.append(step)


@pytest.fixture(name="make_run")
def make_run_fixture():
    return make_run


@pytest.fixture
def notebook():
    return Notebook()

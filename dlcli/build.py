"""The composition root: a checked config becomes a Run. The only module that knows every room."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcli import config as configs
from dlcli import registry
from dlcli.ahead import read_source
from dlcli.datasets.prepare import prepare
from dlcli.errors import CheckpointError, DataError, UsageError
from dlcli.models.predictor import dense_sequence
from dlcli.optimizers.adam import adam
from dlcli.optimizers.averaging import Averaging
from dlcli.optimizers.lbfgs import Lbfgs
from dlcli.protocols import Data, DataSpec, Normalization, Optimizer, Source, Task
from dlcli.settings import Checkpoint, Preparation, Training
from dlcli.training import checkpoint
from dlcli.training import device as devices
from dlcli.training.backpropagation import chain
from dlcli.training.parameters import FlatParameters
from dlcli.training.randomness import Batches, stream
from dlcli.training.ranks import here
from dlcli.training.run import Learner, Run
from dlcli.training.sharding import hollow

Config = dict[str, Any]
Read = Callable[[Config], Data]
GREATEST_EVALUATIONS = 20  # in a run, when `evaluate_every` is auto
NOT_IN_CLASS = {
    "dropout",
    "forget_bias",
    "average",
    "chains",
}  # model settings that regularize but do not change the set of functions


def build(config: Config, read: Read | None = None) -> Run:
    """Read the data, draw the initial weights, put both on the device. read: in place of `read_data`.

    Raises UsageError where the parts do not fit each other, DataError where the data are not usable.
    """
    training = Training(**config["training"])
    device = devices.choose(training.device, training.precision)
    devices.deterministic(training.deterministic)
    data = (read or read_data)(config["dataset"])
    supplied = {"spec": data.spec, "truth": data.facts["truth"], "read_features": partial(read_features, device)}
    task = registry.build("task", task_section(config), **supplied)
    refuse_lone_examples(task, data)
    torch.default_generator.manual_seed(stream(config["seed"], "weights"))  # on the CPU, so alike on every device
    model = build_model(config, task.spec, data)
    if not training.sharded or here().size == 1:
        model.to(device)
    elif here().rank > 0:  # it may fit in no device in one piece, and once in the memory of a host
        model = hollow(model)
    learners = tuple(learner(config, model, phase) for phase in task.phases)
    examples, order = len(data.train), stream(config["seed"], "order")
    placed = on_device(data, device)
    size = batch_size(training, learners, examples)
    batches = Batches(examples, size, order, placed.train.device, data.train.cuts)
    steps = training.steps or training.epochs * batches.epoch_steps
    if batches.batch_size < here().size:
        raise UsageError(
            f"a batch of {batches.batch_size} examples has none for some of {here().size} ranks",
            "lower training.devices, or use a larger training.batch_size",
        )
    if training.sharded and training.accumulate > 1 and batches.batch_size % here().size:
        raise UsageError(
            f"training.accumulate with training.sharded needs a batch that {here().size} ranks divide, and "
            f"{batches.batch_size} is none",
            f"use training.batch_size={max(1, batches.batch_size // here().size) * here().size}",
        )
    return Run(
        seed=config["seed"],
        device=device,
        data=placed,
        task=task,
        model=model,
        learners=learners,
        augment=build_augmentation(config, data.spec),
        batches=batches,
        steps=steps,
        evaluate_every=evaluation_steps(training, batches.epoch_steps, steps),
        training=training,
        checkpoint=Checkpoint(**config["checkpoint"]),
        ranks=here(),
        # Neither where the learning rate follows from the evaluations, nor where ranks would have to agree on a time.
        adaptive=training.evaluate_every == "auto" and config["schedule"]["name"] != "plateau" and here().size == 1,
    )


def task_section(config: Config) -> Config:
    """The task of the config; `auto` is the one that the model is made for. UsageError where they do not fit."""
    model, task = config["model"]["name"], config["task"]["name"]
    fitting = registry.entry("model", model).meant_for.get("tasks", ())
    if task == "auto":
        return {"name": fitting[0], **configs.defaults("task", fitting[0])} if fitting else config["task"]
    models = [name for name, made in registry.catalogue("model").items() if task in made.meant_for.get("tasks", ())]
    if task not in fitting and (fitting or models):
        raise UsageError(
            f"model={model} does not fit task={task}",
            f"use model={' or '.join(models)}, or task=auto" if models else f"use task={' or '.join(fitting)}",
        )
    return config["task"]


def read_data(section: Config, read: Callable[[Config], Source] = read_source) -> Data:
    return prepare(read(section), section["name"], {name: section[name] for name in Preparation._fields})


def refuse_lone_examples(task: Task, data: Data) -> None:
    """Where samples are compared, one example has no distance to others."""
    for name, split in data.splits().items():
        if task.drawn and len(split) < 2:
            raise DataError(
                f"the {name} split of dataset={data.spec.name} has one example; two are compared at least",
                "use more examples, or a larger share; dataset.validation_fraction=0 does without that split",
            )


def build_model(config: Config, spec: DataSpec, data: Data) -> nn.Module:
    """The model with its initial weights drawn from torch's default generator."""
    usual: Normalization = registry.build("normalization", normalization_section(config))
    supplied = {"spec": spec, "normalization": registry.build("normalization", config["normalization"], usual=usual)}
    if "examples" in registry.entry("model", config["model"]["name"]).supplied:  # a copy, so only on demand
        supplied["examples"] = data.train.batch(slice(None)).inputs
    model = registry.build("model", config["model"], **supplied)
    registry.build("initialization", config["initialization"])(model)
    # Images go through convolution and pooling a fifth faster with their channels last in memory.
    return model.to(memory_format=torch.channels_last) if len(spec.shape) == 3 else model


def normalization_section(config: Config) -> Config:
    """The normalization of the config; `auto` is the one that the model is meant for."""
    if config["normalization"]["name"] != "auto":
        return config["normalization"]
    usual = registry.entry("model", config["model"]["name"]).meant_for.get("normalization", "none")
    return {"name": usual, **configs.defaults("normalization", usual)}


def read_features(device: torch.device, run_dir: str, spec: DataSpec) -> Callable[[Tensor], Tensor]:
    """The body of a classifier that dlcli has trained on the same data, as a map from inputs of `spec`.

    Raises UsageError where `run_dir` is no such run, CheckpointError where its weights are not usable.
    """
    path = Path(run_dir)
    if not (path / "config.yaml").is_file():
        raise UsageError(f"task.features={run_dir} is not a run directory", "give one that `dlcli train` made")
    config = configs.load_saved(path / "config.yaml")
    predicts = "tasks" not in registry.entry("model", config["model"]["name"]).meant_for
    if not predicts or config["dataset"]["name"] != spec.name:
        raise UsageError(
            f"task.features needs a classifier of {spec.name}, and {run_dir} is {config['model']['name']} on "
            f"{config['dataset']['name']}",
            f"train one with: dlcli train dataset={spec.name} model=lenet",
        )
    data = read_data(config["dataset"])
    task = registry.build("task", task_section(config), spec=data.spec)
    model = build_model(config, task.spec, data)
    model.load_state_dict(newest_weights(path))
    model.to(device).eval().requires_grad_(False)
    return lambda inputs: model.body(data.spec.from_source(spec.to_source(inputs)))


def newest_weights(run_dir: Path) -> dict[str, Tensor]:
    for path in checkpoint.checkpoints(run_dir / "checkpoints"):
        with suppress(checkpoint.Damaged):
            return checkpoint.load(path).tensors["model"]
    raise CheckpointError(f"{run_dir} has no usable checkpoint", f"`dlcli verify {run_dir}` tells what is there")


def build_augmentation(config: Config, spec: DataSpec) -> Any:
    if config["augmentation"]["name"] == "none":
        return None  # nothing to draw, nothing to pay
    return registry.build("augmentation", config["augmentation"], spec=spec)


def learner(config: Config, model: nn.Module, phase: Any) -> Learner:
    parameters = FlatParameters(model.get_submodule(phase.module))
    optimizer: Optimizer = registry.build("optimizer", config["optimizer"])
    if config["training"]["average"] is not None:
        optimizer = Averaging(optimizer, config["training"]["average"])
    elementwise = registry.entry("optimizer", config["optimizer"]["name"]).meant_for.get("elementwise")
    return Learner(
        phase=phase,
        parameters=parameters,
        optimizer=optimizer,
        memory=optimizer.init(parameters),
        schedule=registry.build("schedule", config["schedule"]),
        chain=chain(dense_sequence(model), parameters) if phase.slope else None,
        alike=json.dumps([config["optimizer"], config["training"]["average"]]) if elementwise else "",
    )


def batch_size(training: Training, learners: tuple[Learner, ...], examples: int) -> int:
    asked = training.batch_size
    if asked == "full" or any(learner.optimizer.full_batch for learner in learners):
        return examples
    if asked == "auto":
        return max(1, min(100, examples // 8))
    if asked > examples:
        raise UsageError(
            f"training.batch_size={asked} makes 0 batches per epoch: the training split has {examples} examples",
            f"use training.batch_size=full, or {max(1, examples // 8)}",
        )
    return asked


def evaluation_steps(training: Training, epoch_steps: int, steps: int) -> int:
    if training.evaluate_every != "auto":
        return training.evaluate_every * epoch_steps
    return epoch_steps * max(1, -(-steps // (epoch_steps * GREATEST_EVALUATIONS)))


def on_device(data: Data, device: torch.device) -> Data:
    validation = None if data.validation is None else data.validation.to(device)
    return data._replace(train=data.train.to(device), validation=validation, test=data.test.to(device))


def class_key(config: Config, task: Task) -> dict[str, str]:
    """Identity of the function class F: architecture, sizes, normalization, shapes. Nothing about how it is trained."""
    model = {name: value for name, value in config["model"].items() if name not in NOT_IN_CLASS}
    normalized = "normalization" in registry.entry("model", model["name"]).supplied
    content = {
        "model": model,
        "normalization": normalization_section(config) if normalized else None,
        "shape": task.spec.shape,
        "outputs": task.spec.outputs,
    }
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"id": f"{model['name']}-{digest[:12]}", "spec_hash": digest}


def reference_minimizer() -> Optimizer:
    """What brings references down on the whole training set, for as many evaluations as it is given."""
    return Lbfgs(lr=1.0, iterations=sys.maxsize, history=20, tolerance=1e-10, weight_decay=0.0, decay="all")


def reference_optimizer() -> Optimizer:
    """What reference solutions are trained with, whatever the run used."""
    return adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decay="all")

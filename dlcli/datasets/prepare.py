"""From a source to data on which a run can be trained: checks, splits, subset, label noise, standardization, facts."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np

from dlcli.datasets.checks import check
from dlcli.datasets.cuts import binarize, cut, redraw_labels, subset
from dlcli.datasets.oddities import duplicates, oddities
from dlcli.datasets.on_disk import OnDisk
from dlcli.datasets.resident import Resident, Statistics, fit, fit_targets, read_through, resident
from dlcli.datasets.streamed import Streamed, streamed
from dlcli.datasets.tokens import prepare_tokens
from dlcli.errors import UsageError
from dlcli.protocols import Data, DataSpec, Examples, Source

LISTED_STATISTICS = 100  # more would bury the other facts
GIVEN = "as the source gives it"


def prepare(source: Source, name: str, preparation: dict[str, Any]) -> Data:
    """preparation: the settings of `dlcli.settings.Preparation`.

    Test and validation are split off first, then labels of the training split are redrawn, then its subset is taken,
    and only what is left is looked at for means and scales. DataError where the data are not usable, UsageError for
    label noise on a regression.
    """
    if source.vocabulary is not None:
        return prepare_tokens(source, name, preparation)
    seed, classes = preparation["seed"], len(source.classes)
    if preparation["label_noise"] and not classes:
        raise UsageError(
            f"dataset.label_noise redraws classes, and the targets of dataset={name} are numbers",
            "use dataset.label_noise=0",
        )
    source = with_levels(check(source, name), name, preparation["binarize"], seed)
    train, validation, test = source.train, source.validation, source.test
    rules = {"test": GIVEN, "validation": GIVEN}
    if test is None:
        train, test = cut(train, preparation["test_fraction"], seed, "test")
        rules["test"] = rule("test", preparation, len(test.inputs))
    validation_is_cut = validation is None and preparation["validation_fraction"] > 0
    if validation_is_cut:
        train, validation = cut(train, preparation["validation_fraction"], seed, "validation")
        rules["validation"] = rule("validation", preparation, len(validation.inputs))
    elif validation is None:
        rules["validation"] = "none"
    train, noise = trained_on(train, classes, preparation)
    statistics = fit(train.inputs, preparation["standardize"])
    parts = {"train": train, "test": test} | ({"validation": validation} if validation is not None else {})
    truth, unit, targets = dict(source.truth), {}, Statistics(np.zeros(1), np.ones(1))
    if not classes and preparation["standardize_targets"]:
        parts, truth, unit, targets = in_deviations(parts, truth)
        source = source._replace(
            notes=(*source.notes, f"the loss times {unit['scale'] ** 2:.6g} is in squared units of the targets")
        )
    on_disk = isinstance(train.inputs, OnDisk)
    splits = {split: (streamed if on_disk else resident)(part, statistics) for split, part in parts.items()}
    readings = {split: read_through(part) for split, part in splits.items()}
    spec = DataSpec(
        name=name,
        shape=train.inputs.shape[1:],
        classes=source.classes,
        targets=1 if classes else train.targets.shape[1],
        levels=source.levels,
        mean=tuple(statistics.mean.tolist()),
        scale=tuple(statistics.scale.tolist()),
        target_mean=tuple(targets.mean.tolist()),
        target_scale=targets.scale.item(),
    )
    repeated = duplicates(**{split: reading.inputs for split, reading in readings.items()})
    facts = {
        "name": name,
        "origin": source.origin,
        "n_train": len(splits["train"]),
        "n_validation": len(splits["validation"]) if validation is not None else 0,
        "n_test": len(splits["test"]),
        "shape": list(spec.shape),
        "classes": list(spec.classes),
        "class_counts": class_counts(splits, classes),
        **{f"{split}_sha256": reading.sha256 for split, reading in readings.items()},
        "names_sha256": names_hash(source),
        "duplicates": repeated,
        "label_noise": noise,
        "levels": spec.levels,
        "train_fraction": preparation["train_fraction"],
        "seed": seed,
        "splits": rules,
        "validation_cut_from_train": validation_is_cut,
        "standardize": standardization(preparation["standardize"], statistics),
        "standardize_targets": unit,
        "notes": list(source.notes),
        "warnings": oddities(train, source.classes, source.form, repeated["train"]),
        "truth": truth,
    }
    form = source.form._replace(binary=seed if preparation["binarize"] else None)
    return Data(spec, splits["train"], splits.get("validation"), splits["test"], facts, form, source.teacher)


def with_levels(source: Source, name: str, binary: bool, seed: int) -> Source:
    """How many values a pixel has; 2 where pixels are drawn black or white, in the training set like in the others."""
    levels = source.levels or (256 if source.train.inputs.dtype == np.uint8 else 0)
    if not binary:
        return source._replace(levels=levels)
    if isinstance(source.train.inputs, OnDisk):
        raise UsageError(
            "dataset.binarize draws the pixels of a whole data set, which dataset.streaming leaves on disk",
            "use dataset.streaming=false, or dataset.binarize=false",
        )
    if not levels:
        raise UsageError(
            f"dataset.binarize draws pixels black or white, and dataset={name} is made of numbers",
            "use dataset.binarize=false, or a data set of images",
        )
    drawn = {
        split: part._replace(inputs=binarize(part.inputs, seed, split))
        for split, part in source._asdict().items()
        if split in ("train", "validation", "test") and part is not None
    }
    return source._replace(levels=2, **drawn)


def rule(split: str, preparation: dict[str, Any], size: int) -> str:
    share = preparation[f"{split}_fraction"]
    origin = "the examples of the source" if split == "test" else "the training split"
    return f"{size} examples, {share:g} of {origin}: the first of a permutation, dataset.seed={preparation['seed']}"


def trained_on(train: Examples, classes: int, preparation: dict[str, Any]) -> tuple[Examples, dict[str, float]]:
    """Redraw labels, then take the subset: the noise of an example does not depend on how many are used."""
    share, seed, n = preparation["label_noise"], preparation["seed"], len(train.targets)
    labels, redrawn = train.targets, np.zeros(n, bool)
    if share:
        labels, redrawn = redraw_labels(labels, share, classes, seed)
    rows = subset(n, preparation["train_fraction"], seed)
    changed = labels[rows] != train.targets[rows]
    noise = {"asked": share, "redrawn": float(redrawn[rows].mean()), "changed": float(changed.mean())}
    return Examples(train.inputs[rows], labels[rows]), noise


def in_deviations(
    parts: dict[str, Examples], truth: dict[str, Any]
) -> tuple[dict[str, Examples], dict[str, Any], dict[str, Any], Statistics]:
    """Targets of a regression in deviations of the training targets, the true risk in the same unit, and the unit."""
    mean, scale = fit_targets(parts["train"].targets)
    moved = {split: part._replace(targets=(part.targets - mean) / scale) for split, part in parts.items()}
    if "bayes_loss" in truth:
        truth = truth | {"bayes_loss": truth["bayes_loss"] / scale.item() ** 2}
    listed = {"mean": mean.tolist()} if len(mean) <= LISTED_STATISTICS else {}
    return moved, truth, {"fitted_on": "train", **listed, "scale": scale.item()}, Statistics(mean, scale)


def class_counts(splits: dict[str, Resident | Streamed], classes: int) -> dict[str, list[int]]:
    if not classes:
        return {}
    return {name: np.bincount(split.targets.numpy(), minlength=classes).tolist() for name, split in splits.items()}


def names_hash(source: Source) -> str:
    """Of what the numbers stand for."""
    return sha256(repr((source.classes, source.form.columns)).encode("utf-8", "surrogatepass")).hexdigest()


def standardization(mode: str, statistics: Statistics) -> dict[str, Any]:
    if mode == "none":
        return {"mode": mode}
    listed = len(statistics.mean) <= LISTED_STATISTICS
    numbers = {name: part.tolist() for name, part in statistics._asdict().items()} if listed else {}
    return {"mode": mode, "fitted_on": "train", **numbers}

"""What is odd about training examples, but no error: a warning before the first step, and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from dlcli.datasets.resident import extremes
from dlcli.datasets.wording import quote
from dlcli.protocols import Examples, Form

LISTED = 5
COPIES = 0.01  # share of the training examples that may stand there twice without a word
SAMPLE = 1 << 20  # numbers that show how many values an input takes


def oddities(train: Examples, classes: tuple[str, ...], form: Form, repeated: int) -> list[str]:
    """Inputs and targets without information, classes without an example, copies of examples.

    repeated: training examples whose inputs stood there before.
    """
    found, n = [], len(train.inputs)
    if train.inputs.ndim == 2 and n > 1:
        least, greatest = extremes(train.inputs, (0,))
        constant = np.flatnonzero(least == greatest)
        if len(constant):
            names = names_of(form, train.inputs.shape[1])
            found.append(f"of {len(names)} features, constant in train: {some([names[i] for i in constant])}")
    if classes:
        absent = np.flatnonzero(np.bincount(train.targets, minlength=len(classes)) == 0)
        if len(absent):
            names = [quote(classes[i], 40) for i in absent]
            found.append(f"of {len(classes)} classes, without a training example: {some(names)}")
    elif n > 1 and (train.targets == train.targets[0]).all():
        found.append("the target is the same in every training example: there is nothing to learn")
    if repeated > COPIES * n and not meet_by_chance(train.inputs):
        found.append(f"{repeated} of {n} training examples are copies of the inputs of others, and count as often")
    return found


def duplicates(train: Sequence[bytes], test: Sequence[bytes], validation: Sequence[bytes] = ()) -> dict[str, int]:
    """Training examples whose input stood there before, and test examples whose input stands in train or validation.

    Each is a hash of one input, in the order of the split.
    """
    seen, judged = set(train), set(validation)
    return {
        "train": len(train) - len(seen),
        "train_test": sum(found in seen for found in test),
        "validation_test": sum(found in judged for found in test),
    }


def names_of(form: Form, features: int) -> list[str]:
    """Of the columns of a table, of a text one for each category; elsewhere the numbers of the features."""
    if not form.columns:
        return [f"{number} (from 0)" for number in range(features)]
    columns = [(quote(name, 30), texts) for name, texts in form.columns]
    return [
        each
        for name, texts in columns
        for each in ([name] if texts is None else [f"{name}={quote(t, 30)}" for t in texts])
    ]


def meet_by_chance(inputs: np.ndarray) -> bool:
    """Whether inputs are of so few values that equal ones need be no copies.

    Were all combinations equally likely, about n**2 / (2 combinations) of n examples would equal an earlier one, as
    people in a room share birthdays. Were they not, more would.
    """
    sample, combinations = np.asarray(inputs[: max(2, SAMPLE // prod(inputs.shape[1:]))]), 1
    for values in sample.reshape(len(sample), -1).T:
        combinations *= len(np.unique(values))
        if 4 * combinations > len(inputs) ** 2:
            return False
    return True


def some(items: Sequence[object]) -> str:
    more = len(items) - LISTED
    return ", ".join(map(str, items[:LISTED])) + (f" and {more} more" if more > 0 else "")

"""A random network as the truth to be learned: whether a student can match its teacher is then a fair question."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax

from dlcli.datasets.synthetic_regression import with_noise
from dlcli.protocols import Examples, Network, Source
from dlcli.registry import register
from dlcli.schema import Count, NonNegative

CALIBRATION = 20_000  # inputs on which the teacher's outputs are brought to mean 0 and variance 1
TRUTH_DRAWS = 200_000  # inputs over which the Bayes risk of noisy classes is averaged
CHUNK = 20_000
CERTAIN = 1e-6  # noise in place of none, with which scores tell the class


@register("dataset", "teacher_student")
def teacher_student(
    seed: int,
    *,
    examples: Count,
    test_examples: Count,
    kind: Literal["regression", "classification"],
    features: Count,
    outputs: Count,
    width: Count,
    depth: Count,
    activation: Literal["relu", "tanh"],
    noise: NonNegative,
) -> Source:
    """Targets given by a random teacher network on Gaussian inputs; the Bayes risk is known.

    A regression adds Gaussian noise to the teacher's outputs. A classification takes the greatest output, or with
    noise draws the class from the softmax of outputs / noise.
    """
    teacher = random_network(
        seed, features, outputs if kind == "regression" else max(2, outputs), width, depth, activation
    )

    def inputs(source: np.random.Generator, count: int) -> np.ndarray:
        return source.standard_normal((count, features))

    if kind == "regression":
        return with_noise(seed, inputs, partial(outputs_of, teacher), examples, test_examples, noise)._replace(
            teacher=teacher
        )

    def draw(purpose: int, count: int) -> Examples:
        source = np.random.default_rng([seed, purpose])
        x = inputs(source, count)
        return Examples(x, sample(outputs_of(teacher, x), noise, source))

    return Source(
        draw(1, examples),
        draw(2, test_examples),
        classes=tuple(map(str, range(max(2, outputs)))),
        truth=truth(teacher, features, noise, np.random.default_rng([seed, 3])),
        teacher=scaled(teacher, np.full(max(2, outputs), 1 / (noise or CERTAIN)), np.zeros(1)),
        origin=f"generated, dataset.seed={seed}",
    )


def random_network(
    seed: int, features: int, outputs: int, width: int, depth: int, activation: Literal["relu", "tanh"]
) -> Network:
    """`depth` hidden layers with biases; variances 2/fan-in for ReLU, 1/fan-in for tanh, as in He and Xavier starts."""
    source = np.random.default_rng([seed, 0])
    gain = {"relu": 2.0, "tanh": 1.0}[activation]
    sizes = [features, *[width] * depth]
    hidden = [
        ((source.standard_normal((n, m)) * np.sqrt(gain / n)).T, 0.5 * source.standard_normal(m))
        for n, m in pairwise(sizes)
    ]
    last = source.standard_normal((width, outputs)).T / np.sqrt(width)
    raw = Network((*hidden, (last, np.zeros(outputs))), activation)
    drawn = outputs_of(raw, source.standard_normal((CALIBRATION, features)))
    centre, scale = drawn.mean(0), drawn.std(0)
    scale[scale == 0] = 1.0  # a teacher whose units are all dead on these inputs is a constant
    return scaled(raw, 1 / scale, -centre / scale)


def outputs_of(network: Network, inputs: np.ndarray) -> np.ndarray:
    """(n, features) -> (n, outputs)."""
    act = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[network.activation]
    *hidden, (weights, biases) = network.layers
    for inner, shift in hidden:
        inputs = act(inputs @ inner.T + shift)
    return inputs @ weights.T + biases


def scaled(network: Network, factors: np.ndarray, shift: np.ndarray) -> Network:
    """The same with other outputs, factors * outputs + shift."""
    *hidden, (weights, biases) = network.layers
    return network._replace(layers=(*hidden, (weights * factors[:, None], biases * factors + shift)))


def sample(outputs: np.ndarray, noise: float, source: np.random.Generator) -> np.ndarray:
    """(n, classes) -> (n,) classes, by the greatest of outputs / noise + Gumbel draws: the softmax (Gumbel 1954)."""
    if noise == 0:
        return outputs.argmax(1)
    return (outputs / noise + source.gumbel(size=outputs.shape)).argmax(1)


def truth(teacher: Network, features: int, noise: float, source: np.random.Generator) -> dict[str, Any]:
    """Mean over inputs of what even the teacher's own probabilities leave open, with standard errors."""
    if noise == 0:
        return {"bayes_error": 0.0, "bayes_loss": 0.0, "method": "the class is a function of the input"}
    errors, entropies = [], []
    for _ in range(0, TRUTH_DRAWS, CHUNK):
        logs = log_softmax(outputs_of(teacher, source.standard_normal((CHUNK, features))) / noise, axis=1)
        probabilities = np.exp(logs)
        errors.append(1 - probabilities.max(1))
        entropies.append(-(probabilities * logs).sum(1))
    error, loss = np.concatenate(errors), np.concatenate(entropies)
    root = np.sqrt(len(error))
    return {
        "bayes_error": float(error.mean()),
        "bayes_error_se": float(error.std() / root),
        "bayes_loss": float(loss.mean()),
        "bayes_loss_se": float(loss.std() / root),
        "method": f"average over {len(error)} inputs",
    }

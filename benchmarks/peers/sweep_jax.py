"""Runs of 40-100-100-10 by hand, one compiled scan mapped over runs: python sweep_jax.py EXAMPLES.npz RUNS STEPS BATCH

Prints the seconds of the compiled training alone, and the mean last loss.
"""

import json
import sys
import time
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

SIZES = (40, 100, 100, 10)


def scores(parameters, x):
    for number, (weight, bias) in enumerate(parameters):
        x = (jax.nn.relu(x) if number else x) @ weight + bias
    return x


def train(inputs, targets, steps, batch, key):
    drawn, ordered = jax.random.split(key)
    keys = jax.random.split(drawn, len(SIZES) - 1)
    shapes = zip(keys, pairwise(SIZES), strict=True)
    parameters = [(jax.random.normal(k, shape) * (2 / shape[0]) ** 0.5, jnp.zeros(shape[1])) for k, shape in shapes]
    epoch, rule = len(inputs) // batch, optax.adam(0.003)
    orders = jax.vmap(lambda k: jax.random.permutation(k, len(inputs)))(jax.random.split(ordered, -(-steps // epoch)))
    order = orders[:, : epoch * batch].reshape(-1, batch)[:steps]

    def loss(parameters, chosen):
        found = optax.softmax_cross_entropy_with_integer_labels(scores(parameters, inputs[chosen]), targets[chosen])
        return found.mean()

    def step(state, chosen):
        parameters, memory = state
        value, gradient = jax.value_and_grad(loss)(parameters, chosen)
        moves, memory = rule.update(gradient, memory, parameters)
        return (optax.apply_updates(parameters, moves), memory), value

    return lax.scan(step, (parameters, rule.init(parameters)), order)[1][-1]


def main(path: str, runs: int, steps: int, batch: int) -> None:
    with np.load(path) as data:
        inputs, targets = jnp.asarray(data["inputs"]), jnp.asarray(data["targets"])
    sweep = jax.jit(jax.vmap(partial(train, inputs, targets, steps, batch)))
    sweep(jax.random.split(jax.random.key(0), runs)).block_until_ready()  # what a sweep is, with its compilation
    whole = time.perf_counter()
    last = sweep(jax.random.split(jax.random.key(1), runs)).block_until_ready()  # and once more without it
    training = time.perf_counter() - whole
    print(json.dumps({"training": training, "again": training, "loss": float(last.mean())}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

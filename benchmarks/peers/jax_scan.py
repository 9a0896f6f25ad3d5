"""JAX by hand: the steps of a round in one compiled scan over batches of a resident array, optax for the update."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from serve import serve

BATCH = {"mlp": 128, "lenet": 128, "lstm": 128, "transformer": 12}
WIDTH, HEADS, DEPTH, WINDOW = 128, 4, 4, 64


def matrix(key, rows, columns, scale=None):
    return jax.random.normal(key, (rows, columns)) * (scale or (2 / rows) ** 0.5)


def dense(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [(matrix(k, a, b), jnp.zeros(b)) for k, (a, b) in zip(keys, pairwise(sizes), strict=True)]


def layered(parameters, x):
    for weight, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def lenet(parameters, x):
    for kernel, bias in parameters["maps"]:
        x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = lax.reduce_window(jax.nn.relu(x + bias), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return layered(parameters["dense"], x.reshape(len(x), -1))


def lstm(parameters, rows):
    def move(state, row):
        hidden, cell = state
        gates = row @ parameters["into"] + hidden @ parameters["across"] + parameters["bias"]
        enter, forget, value, leave = jnp.split(gates, 4, 1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(value)
        return (jax.nn.sigmoid(leave) * jnp.tanh(cell), cell), None

    empty = jnp.zeros((len(rows), 128))
    (hidden, _), _ = lax.scan(move, (empty, empty), rows.transpose(1, 0, 2))
    return layered(parameters["head"], hidden)


def normed(scale, x):
    return scale * (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def decoder(parameters, tokens):
    x = parameters["tokens"][tokens] + parameters["places"]
    batch, length, _ = x.shape
    for block in parameters["blocks"]:
        parts = jnp.split(normed(block["norm1"], x) @ block["qkv"], 3, 2)
        heads = (part.reshape(batch, length, HEADS, -1) for part in parts)
        mixed = jax.nn.dot_product_attention(*heads, is_causal=True)
        x = x + mixed.reshape(batch, length, WIDTH) @ block["out"]
        x = x + jax.nn.gelu(normed(block["norm2"], x) @ block["up"], approximate=False) @ block["down"]
    return normed(parameters["norm"], x) @ parameters["tokens"].T


def build(task, targets):
    key = jax.random.key(0)
    if task == "mlp":
        return layered, dense(key, (784, 256, 256, 10))
    if task == "lenet":
        keys = jax.random.split(key, 3)
        shapes = ((3, 3, 1, 6), (3, 3, 6, 16))
        drawn = [jax.random.normal(key, shape) for key, shape in zip(keys[:2], shapes, strict=True)]
        maps = [(kernel * (2 / (9 * kernel.shape[2])) ** 0.5, jnp.zeros(kernel.shape[3])) for kernel in drawn]
        return lenet, {"maps": maps, "dense": dense(keys[2], (784, 120, 84, 10))}
    if task == "lstm":
        keys = jax.random.split(key, 3)
        parameters = {"into": matrix(keys[0], 28, 512, 0.09), "across": matrix(keys[1], 128, 512, 0.09)}
        return lstm, parameters | {"bias": jnp.zeros(512), "head": dense(keys[2], (128, 10))}
    keys = iter(jax.random.split(key, 4 * DEPTH + 2))
    shapes = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    blocks = [
        {name: matrix(next(keys), *shape, 0.02) for name, shape in shapes.items()}
        | {"norm1": jnp.ones(WIDTH), "norm2": jnp.ones(WIDTH)}
        for _ in range(DEPTH)
    ]
    tables = {
        "tokens": matrix(next(keys), int(targets.max()) + 1, WIDTH, 0.02),
        "places": matrix(next(keys), WINDOW, WIDTH, 0.02),
    }
    return decoder, tables | {"blocks": blocks, "norm": jnp.ones(WIDTH)}


def prepare(task, inputs, targets, clock):
    if task == "lenet":
        inputs = inputs.transpose(0, 2, 3, 1)
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
    model, parameters = build(task, targets)
    rule = optax.adam(1e-3)
    if task == "transformer":
        rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, 0.9, 0.99, weight_decay=0.1))

    def loss(parameters, some, wanted):
        return optax.softmax_cross_entropy_with_integer_labels(model(parameters, some), wanted).mean()

    @jax.jit
    def round_of(parameters, memory, order):
        def step(state, chosen):
            parameters, memory = state
            value, gradient = jax.value_and_grad(loss)(parameters, inputs[chosen], targets[chosen])
            moves, memory = rule.update(gradient, memory, parameters)
            return (optax.apply_updates(parameters, moves), memory), value

        state, values = lax.scan(step, (parameters, memory), order)
        return state, values[-1]

    state, generator = (parameters, rule.init(parameters)), np.random.default_rng(0)

    def advance(steps):
        nonlocal state
        order = generator.permutation(len(inputs))[: steps * BATCH[task]].reshape(steps, -1)
        with clock.running():
            state, value = round_of(*state, order)
            value.block_until_ready()
        return value

    return advance


if __name__ == "__main__":
    serve(prepare, "jax", "optax")

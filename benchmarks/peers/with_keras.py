"""Keras 3, on whichever backend KERAS_BACKEND names."""

import os

import keras
import numpy as np
from keras import layers
from serve import serve

BATCH = {"mlp": 128, "lenet": 128, "lstm": 128, "transformer": 12}


class TiedScores(layers.Layer):
    """Embeddings of tokens and places; those of the tokens are the last layer as well."""

    def __init__(self, tokens, width, window):
        super().__init__()
        self.table, self.places = layers.Embedding(tokens, width), layers.Embedding(window, width)
        self.order = np.arange(window)

    def call(self, tokens):
        return self.table(tokens) + self.places(self.order)

    def scores(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.table.embeddings))


def decoder(tokens, width=128, depth=4, window=64):
    inputs = keras.Input((window,), dtype="int32")
    tied = TiedScores(tokens, width, window)
    x = tied(inputs)
    for _ in range(depth):
        normed = layers.LayerNormalization(center=False)(x)
        attention = layers.MultiHeadAttention(4, width // 4, use_bias=False)
        x = x + attention(normed, normed, use_causal_mask=True)
        wide = layers.Dense(4 * width, activation="gelu", use_bias=False)(layers.LayerNormalization(center=False)(x))
        x = x + layers.Dense(width, use_bias=False)(wide)
    return keras.Model(inputs, layers.Lambda(tied.scores)(layers.LayerNormalization(center=False)(x)))


def build(task, targets):
    if task == "mlp":
        wide = [layers.Dense(256, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((784,)), *wide, layers.Dense(10)])
    if task == "lenet":
        maps = [
            part
            for channels in (6, 16)
            for part in (layers.Conv2D(channels, 3, padding="same", activation="relu"), layers.MaxPool2D())
        ]
        dense = [layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(10)]
        return keras.Sequential([keras.Input((28, 28, 1)), *maps, layers.Flatten(), *dense])
    if task == "lstm":
        return keras.Sequential([keras.Input((28, 28)), layers.LSTM(128), layers.Dense(10)])
    return decoder(int(targets.max()) + 1)


def prepare(task, inputs, targets, clock):
    if task == "lenet":
        inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
    model = build(task, targets)
    rule = keras.optimizers.Adam(1e-3)
    if task == "transformer":
        rule = keras.optimizers.AdamW(1e-3, weight_decay=0.1, beta_2=0.99, global_clipnorm=1.0)
    model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    timed = keras.callbacks.LambdaCallback(on_epoch_begin=clock.start, on_epoch_end=clock.stop)

    def advance(steps):
        chosen = np.random.permutation(len(inputs))[: steps * BATCH[task]]
        told = model.fit(inputs[chosen], targets[chosen], BATCH[task], epochs=1, verbose=0, callbacks=[timed])
        return told.history["loss"][-1]

    return advance


if __name__ == "__main__":
    serve(prepare, "keras", os.environ["KERAS_BACKEND"])

"""skorch: the module behind scikit-learn's interface."""

import numpy as np
import torch
from serve import serve
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping
from torch.nn import CrossEntropyLoss
from torch_models import BATCH, CLIP, build


class Timed(Callback):
    def __init__(self, clock):
        self.clock = clock

    def on_epoch_begin(self, *_, **__):
        self.clock.start()

    def on_epoch_end(self, *_, **__):
        self.clock.stop()


def prepare(task, inputs, targets, clock):
    settings = {"optimizer": torch.optim.Adam, "lr": 1e-3}
    callbacks = [("clock", Timed(clock))]
    if task == "transformer":
        settings |= {"optimizer": torch.optim.AdamW, "optimizer__betas": (0.9, 0.99), "optimizer__weight_decay": 0.1}
        callbacks.append(("clip", GradientNormClipping(CLIP[task])))
    net = NeuralNet(
        build(task, torch.from_numpy(targets)),
        CrossEntropyLoss,
        batch_size=BATCH[task],
        iterator_train__shuffle=True,
        train_split=None,
        max_epochs=1,
        verbose=0,
        callbacks=callbacks,
        **settings,
    ).initialize()

    def advance(steps):
        chosen = np.random.permutation(len(inputs))[: steps * BATCH[task]]
        net.partial_fit(inputs[chosen], targets[chosen])
        return net.history[-1, "train_loss"]

    return advance


if __name__ == "__main__":
    serve(prepare, "torch", "skorch")

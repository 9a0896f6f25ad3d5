"""scikit-learn's MLPClassifier."""

import warnings

import numpy as np
from serve import serve
from sklearn.neural_network import MLPClassifier


def prepare(task, inputs, targets, clock):
    assert task == "mlp"
    net = MLPClassifier((256, 256), batch_size=128, alpha=0.0)
    warnings.simplefilter("ignore")

    def advance(steps):
        chosen = np.random.permutation(len(inputs))[: steps * 128]
        with clock.running():
            net.partial_fit(inputs[chosen], targets[chosen], classes=np.arange(10))
        return net.loss_

    return advance


if __name__ == "__main__":
    serve(prepare, "scikit-learn")

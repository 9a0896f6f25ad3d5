"""Checks of the whole estimator on problems whose min_F L_tr is known: bounds in, three terms out, truth beside them.

Each takes a generator of random numbers and returns whether it holds, and the numbers that show it.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy.optimize import minimize

from dlcli.decomposition import cautions, floors, relu_dual
from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.certificates import label_conflicts, nonnegativity, repeated
from dlcli.decomposition.decompose import Decomposition, decompose
from dlcli.decomposition.diagnose import diagnose
from dlcli.decomposition.known_risks import gradient_descent_excess
from dlcli.decomposition.least_squares import bottleneck_floor, least_squares, linear_autoencoder
from dlcli.decomposition.linear_vae import linear_vae
from dlcli.decomposition.pieces import hinge_fit, pieces, piecewise_floor
from dlcli.decomposition.softmax_regression import cross_entropies, softmax_regression
from dlcli.protocols import Bound

Verdict = tuple[bool, str]
MNIST1D_SOFTMAX = 1.583247770786  # nats, authors' first 4000 examples; an independent Newton solver
DIGITS_RANK_3, DIGITS_AUTOENCODER_8 = 0.64721384, 1.53044819  # squared error per image, pixels / 16
DIGITS_VAE_2, DIGITS_VAE_8 = 4.503750, -6.666105  # nats per image, 55 pixels with a variance above 1e-4
FLOAT64 = 2.0**-52
ZERO = Bound("lower", 0.0, "certified", "nonnegativity")


def parts_of(train: np.ndarray, test: np.ndarray, *bounds: Bound, unit: str = "squared units") -> Decomposition:
    """The estimator as a run calls it, with rows evaluated in float64."""
    circumstances = Circumstances()
    return decompose(train, test, bounds, loss="loss", unit=unit, circumstances=circumstances, rounding=FLOAT64)


def squared(prediction: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.sum((prediction - targets) ** 2, axis=1)


def encloses(parts: Decomposition, truth: float, width: float, resolution: float) -> bool:
    """The interval of min_F L_tr is no wider than asked and holds a truth that is known to `resolution`."""
    low, high = parts.approximation
    return high - low < width and low - resolution <= truth <= high + resolution


def softmax_on_mnist1d(generator: np.random.Generator) -> Verdict:
    """Closed to 1e-6 around the exact optimum; a minibatch's 1.535 in place of the train loss is refused."""
    from dlcli.datasets.mnist1d import mnist1d

    source = mnist1d(examples=5000, shuffle=False, generator_seed=42)
    train, test = (split.inputs.reshape(len(split.inputs), -1) for split in (source.train, source.test))
    found = softmax_regression(train, source.train.targets)
    maps, offset = (0.7 * weights for weights in found.weights)  # a run that stopped early
    rows = [
        cross_entropies(inputs @ maps + offset, np.eye(10)[targets])
        for inputs, targets in ((train, source.train.targets), (test, source.test.targets))
    ]
    parts = parts_of(*rows, ZERO, *found.bounds(), unit="nats")
    holds = encloses(parts, MNIST1D_SOFTMAX, 1e-6, 1e-11) and parts.separable
    holds &= math.isclose(parts.optimization.high, rows[0].mean() - MNIST1D_SOFTMAX, abs_tol=1e-6)
    try:
        parts_of(np.full(4000, 1.535), rows[1], *found.bounds(), unit="nats")
    except ValueError:
        return holds, f"min in [{found.low:.9f}, {found.high:.9f}], known {MNIST1D_SOFTMAX:.9f}; 1.535 refused"
    return False, "a train loss below the minimum of its class was accepted"


def separable_classes(generator: np.random.Generator) -> Verdict:
    """Cross-entropy on separable data: the infimum 0 is not attained, and the reading goes by the 0-1 error."""
    labels = generator.integers(3, size=120)
    inputs = generator.normal(size=(120, 5)) + 30 * np.eye(5)[labels]
    found = softmax_regression(inputs, labels)
    scores = inputs @ found.weights[0] + found.weights[1]
    rows = cross_entropies(scores, np.eye(3)[labels])
    errors = (scores.argmax(1) != labels).astype(float)
    loss, error = parts_of(rows, rows, *found.bounds(), unit="nats"), parts_of(errors, errors, ZERO, unit="fraction")
    holds = loss.approximation == (0, 0) and loss.infimum_not_attained and loss.train.value > 0
    holds &= cautions.infimum_not_attained() in loss.warnings and "test error is 0" in diagnose(loss, error)
    return holds, f"inf 0, train loss {loss.train.value:.3g}, {errors.sum():.0f} errors"


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    source = load_digits()
    return source.data / 16, np.eye(10)[source.target]


def deep_linear(generator: np.random.Generator) -> Verdict:
    """Rank 3 from digits to one-hot, and the autoencoder of width 8; the floor of the bottleneck lies below both."""
    images, one_hot = digits()
    holds, said = True, []
    for targets, width, found, truth in (
        (one_hot, 3, least_squares(images, one_hot, rank=3), DIGITS_RANK_3),
        (images, 8, linear_autoencoder(images, 8), DIGITS_AUTOENCODER_8),
    ):
        first = generator.normal(size=(images.shape[1], width))  # a run: random features, last layer fitted
        run = squared(images @ first @ np.linalg.lstsq(images @ first, targets)[0], targets)
        floor = Bound("lower", bottleneck_floor(targets, width), "certified", "bottleneck")
        parts = parts_of(run, run, ZERO, floor, *found.bounds())
        holds &= encloses(parts, truth, 1e-6, 1e-8) and floor.value <= found.high * (1 + 1e-12)
        holds &= parts.optimization.low > 0 and parts.separable
        said.append(f"{found.high:.8f} (known {truth:.8f})")
    return holds, ", ".join(said)


def linear_vaes(generator: np.random.Generator) -> Verdict:
    """Exact, one of them negative; a floor of 0 is refused, and without a lower bound the interval is open below."""
    images = digits()[0]
    pixels = images[:, images.var(0) > 1e-4]
    holds, said = True, []
    for latents, truth in ((2, DIGITS_VAE_2), (8, DIGITS_VAE_8)):
        found = linear_vae(pixels, latents)
        decoder, centre, noise = found.weights
        run = gaussian_nll(pixels, centre, decoder @ decoder.T + 1.5 * noise * np.eye(pixels.shape[1]))
        parts = parts_of(run, run, *found.bounds(), unit="nats")
        best = gaussian_nll(pixels, centre, decoder @ decoder.T + noise * np.eye(pixels.shape[1])).mean()
        holds &= encloses(parts, truth, 1e-6, 6e-7) and math.isclose(best, found.high, abs_tol=1e-9)
        holds &= parts.optimization.low > 0 and parts_of(run, run, unit="nats").approximation.low == -math.inf
        said.append(f"{found.high:.6f} (known {truth:.6f})")
    try:
        parts_of(run, run, ZERO, *found.bounds(), unit="nats")
    except ValueError:
        return holds, ", ".join(said) + "; a floor of 0 refused"
    return False, "a floor of 0 under a negative log-likelihood was accepted"


def gaussian_nll(data: np.ndarray, centre: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    factor = np.linalg.cholesky(covariance)
    scaled = np.linalg.solve(factor, (data - centre).T)
    return 0.5 * (np.sum(scaled**2, axis=0) + data.shape[1] * math.log(2 * math.pi)) + np.log(np.diag(factor)).sum()


def planted_conflicts(generator: np.random.Generator) -> Verdict:
    """Identical inputs with drawn labels, among others: the table of shares reaches the floor, in every loss."""
    from dlcli.metrics import multiclass

    labels = generator.integers(4, size=(30, 12))
    inputs = np.repeat(generator.normal(size=(30, 3)), 12, axis=0)
    shares = np.stack([np.bincount(row, minlength=4) / 12 for row in labels])
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in shares]
    order = generator.permutation(360 + 40)
    inputs = np.vstack([inputs, generator.normal(size=(40, 3))])[order]
    targets = np.r_[labels.ravel(), generator.integers(4, size=40)][order]
    groups, said, holds = repeated(inputs), [], True
    for metric, truth in (
        (multiclass.CROSS_ENTROPY, 360 * np.mean(entropies) / 400),
        (multiclass.ZERO_ONE, 360 * np.mean(1 - shares.max(1)) / 400),
    ):
        bound = label_conflicts(groups, targets, metric)
        rows = np.full(400, truth) if metric.unit == "nats" else (np.arange(400) < round(400 * truth)).astype(float)
        parts = parts_of(rows, rows, nonnegativity(metric), bound, unit=metric.unit)
        holds &= math.isclose(bound.value, truth, rel_tol=1e-12) and encloses(parts, truth, 1e-9, 1e-12)
        said.append(f"{bound.value:.6f} {metric.unit}")
    return holds, ", ".join(said)


def soft_targets(generator: np.random.Generator) -> Verdict:
    """Label smoothing costs its entropy and no less; the plain loss of the same fit is not charged with it."""
    labels = np.arange(40) % 10
    smooth = 0.9 * np.eye(10)[labels] + 0.01
    floor = floors.target_entropy(smooth)
    found = softmax_regression(np.eye(10)[labels], smooth)
    scores = np.eye(10)[labels] @ found.weights[0] + found.weights[1]
    objective, plain = cross_entropies(scores, smooth), cross_entropies(scores, np.eye(10)[labels])
    smoothed = parts_of(objective, objective, ZERO, floor, *found.bounds(), unit="nats")
    decomposed = parts_of(plain, plain, ZERO, *softmax_regression(np.eye(10)[labels], labels).bounds(), unit="nats")
    holds = encloses(smoothed, floors.smoothing_entropy(0.1, 10), 1e-6, 1e-9) and abs(floor.value - 0.5003) < 5e-5
    holds &= decomposed.approximation == (0, 0) and decomposed.train.value < floor.value
    return holds, f"smoothed {smoothed.approximation.high:.6f}, floor {floor.value:.6f}, plain {plain.mean():.6f}"


def hidden_order(generator: np.random.Generator) -> Verdict:
    """A model without positions cannot name the first of five random bits."""
    from dlcli.metrics import multiclass

    bits = np.array(list(product((0, 1), repeat=5)))
    bound = [
        floors.canonical_conflicts(np.sort(bits, axis=1), bits[:, 0], metric, "permutation").value
        for metric in (multiclass.ZERO_ONE, multiclass.CROSS_ENTROPY)
    ]
    return bound[0] == 0.3125 and abs(bound[1] - 0.5770) < 5e-5, f"0-1 error {bound[0]:.4f}, {bound[1]:.4f} nats"


def learning_rates(generator: np.random.Generator) -> Verdict:
    """Gradient descent on least squares: a tiny learning rate is nearly all optimization error, a good one little."""
    inputs = generator.normal(size=(200, 10))
    targets = inputs @ generator.normal(size=10) + 0.1 * generator.normal(size=200)
    found = least_squares(inputs, targets, bias=False)
    curvatures, basis = np.linalg.eigh(2 * inputs.T @ inputs / 200)
    errors = basis.T @ found.weights[0][:, 0]
    shares, holds = [], True
    for lr in (1e-6, 0.2):
        weights = np.zeros(10)
        for _ in range(40):
            weights -= lr * 2 * inputs.T @ (inputs @ weights - targets) / 200
        rows = (inputs @ weights - targets) ** 2
        parts = parts_of(rows, rows, ZERO, *found.bounds())
        expected = gradient_descent_excess(curvatures, errors, lr, 40)
        holds &= math.isclose(parts.optimization.high, expected, rel_tol=1e-6, abs_tol=1e-12 * targets.var())
        shares.append(parts.optimization.high / parts.train.value)
        holds &= ("Optimization dominates" in diagnose(parts)) == (lr == 1e-6)
    return holds and shares[0] > 0.95 and shares[1] < 0.05, f"{shares[0]:.1%} of the train risk, then {shares[1]:.1%}"


def relu_on_a_line(generator: np.random.Generator) -> Verdict:
    """Width 8 on 60 points: a floor from dynamic programming, a member above it, and no claim between the two."""
    inputs = np.sort(generator.uniform(-1, 1, 60))
    targets = np.sin(9 * inputs) + 0.3 * generator.normal(size=60)
    lower = piecewise_floor(inputs, targets, pieces([8])).floor
    knots = piecewise_floor(inputs, targets, 8).knots
    high, values = hinge_fit(inputs, targets, (-2.0, *knots))
    rows = squared(values, targets[:, None])
    floor = Bound("lower", lower, "certified", "dynamic programme")
    parts = parts_of(rows, rows, ZERO, floor)
    open_ended = not parts.separable and cautions.not_separable(parts.kappa) in parts.warnings
    return 0 < lower < high and open_ended, f"min in [{lower:.5f}, {high:.5f}], kappa {parts.kappa:.2f}: not separable"


def relu_with_decay(generator: np.random.Generator) -> Verdict:
    """The convex dual closes on the minimum of a weight-decayed network; trained ones reach it and none lies below."""
    inputs = generator.normal(size=(30, 2))
    targets, decay, width = np.abs(inputs[:, 0]) + generator.normal(size=30) / 2, 0.5, 16
    found = relu_dual.relu_minimum(inputs, targets, decay)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        units, outputs = point[: 2 * width].reshape(2, width), point[2 * width :]
        hidden = np.maximum(0, inputs @ units)
        residual = hidden @ outputs - targets
        inner = inputs.T @ (np.outer(residual, outputs) * (hidden > 0)) + decay * units
        gradient = np.r_[inner.ravel(), hidden.T @ residual + decay * outputs]
        return relu_dual.objective(inputs, targets, decay, units, outputs), gradient

    starts = generator.normal(size=(12, 3 * width))
    trained = min(minimize(objective, start, jac=True, method="L-BFGS-B").fun for start in starts)
    holds = found.gap < 1e-6 * found.high and found.low <= trained <= found.high * 1.01
    return holds, f"min in [{found.low:.6f}, {found.high:.6f}], best of 12 trained {trained:.6f}"

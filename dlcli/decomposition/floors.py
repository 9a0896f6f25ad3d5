"""Lower bounds of min_F L_tr that follow from what a function cannot see, and from targets that are not certain; and
the members that every class with a free last layer has at little cost.

A floor is as good as what it is told: the inputs must be those that reach the model, after the whole input pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy  # `special` takes a fifth of a second to load, and does where it is named first

from dlcli.decomposition.certificates import label_conflicts, repeated
from dlcli.protocols import Bound, Metric

RESCALINGS = 25  # Newton steps: every point on the way is a member, and a few numbers are looked for
RESCALED = 1e-9  # decrease a step promises, relative to 1 + |value|, below which it is not made


def canonical_conflicts(canonical: np.ndarray, targets: np.ndarray, metric: Metric, invariance: str) -> Bound | None:
    """Every f in F satisfies f(x) = f(c(x)), so examples with one c(x) and different targets cost every member.

    canonical: (n, ...) the representatives c(x_i), e.g. the sorted tokens of a model without positions, the part of
    an image inside the receptive field, the context that a model reads. invariance: in words, for the report.
    """
    bound = label_conflicts(repeated(canonical), targets, metric)
    return bound and bound._replace(method=f"label conflicts under {invariance}")


def target_entropy(targets: np.ndarray, groups: Sequence[np.ndarray] = ()) -> Bound:
    """Cross-entropy to target distributions is at least their entropy; for identical inputs that of their mean.

    targets: (n, C), rows are distributions (label smoothing, distillation, several annotators). groups: as
    `certificates.repeated` returns them.
    """
    shares = np.array(targets, np.float64)
    for members in groups:
        shares[members] = shares[members].mean(0)
    mean = float(np.mean(scipy.special.entr(shares).sum(1)))
    return Bound("lower", mean, "certified", "entropy of the target distributions")


def smoothing_entropy(smoothing: float, classes: int) -> float:
    """Least cross-entropy to a one-hot target that is mixed with `smoothing` parts of the uniform distribution."""
    wrong = smoothing / classes
    return float(scipy.special.entr(1 - smoothing + wrong) + (classes - 1) * scipy.special.entr(wrong))


def bernoulli_entropy(values: np.ndarray) -> Bound:
    """Least binary cross-entropy to numbers in [0, 1] (n, ...) such as grey pixels, summed over each example."""
    shares = np.asarray(values, np.float64).reshape(len(values), -1)
    total = -np.sum(scipy.special.xlogy(shares, shares) + scipy.special.xlogy(1 - shares, 1 - shares), axis=1)
    return Bound("lower", float(np.mean(total)), "certified", "entropy of grey targets under binary cross-entropy")


def context_floor(tokens: np.ndarray, window: int, stride: int = 1) -> Bound:
    """Nats per token that a causal language model cannot avoid on this text, read in windows of `window` tokens.

    The model sees at most the tokens of its window before the one it predicts, so its loss is at least the mean over
    k = 1..window of the entropy of the next token given the k before it, over all windows that begin at multiples of
    `stride` (1: every window that random sampling can draw). The chain rule sums these entropies: what remains is the
    entropy of whole windows with their last target, less that of their first token. tokens: (n,) integers.
    """
    tokens = np.asarray(tokens)
    starts = np.arange(0, len(tokens) - window, stride)
    whole, first = prefix_entropies(tokens, starts, window + 1)
    floor = max(0.0, (whole - first) / window)
    method = f"entropy of the next token given at most {window} before it"
    return Bound("lower", floor, "certified", method, evidence={"windows": len(starts), "window": window})


def prefix_entropies(tokens: np.ndarray, starts: np.ndarray, length: int) -> tuple[float, float]:
    """Entropies of the token strings of this length and of length 1 at the starts.

    Strings are told apart token by token; one that stands there once stays alone and is dropped.
    """
    total, first, n = 0.0, 0.0, len(starts)
    vocabulary, alive, names = int(tokens.max()) + 1, starts, np.zeros(n, np.int64)
    for k in range(length):
        keys = names * vocabulary + tokens[alive + k]
        _, names, counts = np.unique(keys, return_inverse=True, return_counts=True)
        if k == 0:
            first = math.log(n) - float(np.sum(scipy.special.xlogy(counts, counts))) / n
        repeats = counts[names] > 1
        alive, names = alive[repeats], names[repeats]
        if not len(alive):
            return math.log(n), first
    total = float(np.sum(scipy.special.xlogy(counts, counts)))
    return math.log(n) - total / n, first


def bounded_scores(classes: int, bound: float) -> Bound:
    """Cross-entropy of scores within [-bound, bound] (soft caps, cosine heads): log(1 + (C - 1) exp(-2 bound))."""
    floor = math.log1p((classes - 1) * math.exp(-2 * bound))
    return Bound("lower", floor, "certified", f"scores are bounded by {bound:g}")


def constant_prediction(targets: np.ndarray, metric: Metric) -> Bound | None:
    """The best constant, a member of every class whose last layer has a free bias; None where the loss names none."""
    value = metric.constant_risk(targets)
    return None if value is None else Bound("upper", value, "certified", "the best constant prediction")


def rescaling(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The common factor and the biases (C,) that make given scores best in cross-entropy, a convex problem: with them
    they are those of another member of a class whose last layer is free.

    scores: (n, C) of one member; for a single score z of two classes, (0, z) in columns. labels: (n,).
    """
    scores, rows = np.asarray(scores, np.float64), np.arange(len(labels))
    given = np.bincount(labels, minlength=scores.shape[1]) / len(scores)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        """-> mean cross-entropy, predicted distributions (n, C)."""
        moved = point[0] * scores + point[1:]
        moved -= moved.max(1, keepdims=True)
        right = moved[rows, labels]
        shares = np.exp(moved, out=moved)
        totals = shares.sum(1, keepdims=True)
        return float(np.mean(np.log(totals[:, 0]) - right)), np.divide(shares, totals, out=shares)

    point = np.r_[1.0, np.zeros(scores.shape[1])]
    (value, shares), right = loss(point), float(np.mean(scores[rows, labels]))
    for _ in range(RESCALINGS):
        weighed, n = shares * scores, len(scores)
        means = weighed.sum(1)
        gradient = np.r_[means.mean() - right, shares.mean(0) - given]
        of_factor = np.mean(np.sum(weighed * scores, 1) - means**2)
        mixed = (weighed.sum(0) - means @ shares) / n
        of_biases = np.diag(shares.mean(0)) - shares.T @ shares / n
        hessian = np.block([[of_factor, mixed], [mixed[:, None], of_biases]])
        step = np.linalg.lstsq(hessian, gradient)[0]  # it is singular: biases that are all alike change nothing
        if gradient @ step < RESCALED * (1 + value):
            break
        while (trial := loss(point - step))[0] > value and np.abs(step).max() > RESCALED:
            step /= 2
        if trial[0] >= value:
            break
        point, (value, shares) = point - step, trial
    return float(point[0]), point[1:]

"""One sentence: which term carries the test risk, as far as the intervals allow to say, and what usually reduces it."""

from __future__ import annotations

from dlcli.decomposition.decompose import Decomposition
from dlcli.decomposition.intervals import Interval

REMEDIES = {
    "generalization": "more data, augmentation or stronger regularization usually reduce it",
    "optimization": "training longer, another learning rate, schedule or optimizer usually reduce it",
    "approximation": "a larger model or another architecture usually reduces it",
    "none": "more data or regularization act on the first, longer training or a larger model on the second",
    "both": "rule out optimization first (train longer, another learning rate), then try a larger model",
}
NEARLY_ALL = 0.9  # share of the test risk at which the Bayes risk leaves nothing to gain


def diagnose(loss: Decomposition, error: Decomposition | None = None) -> str:
    """Read the 0-1 error instead of the loss where the loss's infimum is not attained: the scale of the scores would
    pass for optimization.
    """
    if error is not None and loss.infimum_not_attained:
        return sentence(error)
    return sentence(loss)


def sentence(parts: Decomposition) -> str:
    quantity = "test error" if parts.test.unit == "fraction" else "test loss"
    if parts.test.value == 0:
        return f"The {quantity} is 0 on {parts.test.n} examples: this test set leaves nothing to explain."
    if irreducible(parts):
        return (
            f"The {quantity} of {parts.test.value:.4g} is within its sampling error of the Bayes risk "
            f"{parts.bayes:.4g}: no model can do better on new data."
        )
    return f"{judgement(parts, quantity)}{remainder(parts, quantity)}."


def judgement(parts: Decomposition, quantity: str) -> str:
    """The claim that the intervals support, and its remedy."""
    generalization = parts.generalization_ci or Interval(parts.generalization, parts.generalization)
    terms = {
        "approximation": parts.approximation,
        "optimization": parts.optimization,
        "generalization": generalization,
    }
    for name, term in terms.items():
        if term.low > max(other.high for key, other in terms.items() if key != name):
            return f"{name.capitalize()} dominates the {quantity} ({share(name, parts)}); {REMEDIES[name]}"
    if parts.train.value > generalization.high:
        return (
            f"The training set itself is not fitted: approximation and optimization together ({parts.train.value:.4g} "
            f"of {parts.test.value:.4g}) outweigh generalization, and what was evaluated does not tell which of the "
            f"two is larger; {REMEDIES['both']}"
        )
    return (
        f"No term clearly dominates the {quantity}: generalization is {parts.generalization:.4g}, approximation and "
        f"optimization together are {parts.train.value:.4g} of {parts.test.value:.4g}; {REMEDIES['none']}"
    )


def share(name: str, parts: Decomposition) -> str:
    whole = f"of {parts.test.value:.4g}"
    if name == "generalization":
        return f"{parts.generalization:.4g} {whole}"
    term = parts.approximation if name == "approximation" else parts.optimization
    exact = f"{term.high:.4g}" == f"{term.low:.4g}"
    return f"{term.high:.4g} {whole}" if exact else f"between {term.low:.4g} and {term.high:.4g} {whole}"


def irreducible(parts: Decomposition) -> bool:
    if parts.bayes is None or parts.test.ci is None:
        return False
    return parts.bayes >= NEARLY_ALL * parts.test.value and parts.test.ci[0] <= parts.bayes


def remainder(parts: Decomposition, quantity: str) -> str:
    if parts.bayes:
        return f"; of the {quantity}, {parts.bayes:.4g} is Bayes risk, which nothing reduces"
    return ""

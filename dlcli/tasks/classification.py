"""Classes as targets: one score per class, or a single score for two classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, NamedTuple

from torch import Tensor

from dlcli.errors import UsageError
from dlcli.metrics import binary as binary_metrics
from dlcli.metrics import multiclass as multiclass_metrics
from dlcli.protocols import Batch, DataSpec, Metric, Slope
from dlcli.registry import register
from dlcli.schema import Range
from dlcli.tasks.supervised import Supervised, averaged, refuse_smoothing, require_classes, supervised


class Loss(NamedTuple):
    """A loss as metric, and its mean as an objective that takes `smoothing`: None where smoothing has no meaning."""

    metric: Metric
    smooth: Callable[..., Tensor] | None


MULTICLASS = {
    "cross_entropy": Loss(multiclass_metrics.CROSS_ENTROPY, multiclass_metrics.mean_cross_entropy),
    "squared_error": Loss(multiclass_metrics.SQUARED_ERROR, averaged(multiclass_metrics.squared_error)),
    "hinge": Loss(multiclass_metrics.HINGE, None),
}
ONE_VS_REST = {
    "logistic": Loss(multiclass_metrics.LOGISTIC_EACH, averaged(multiclass_metrics.logistic_each)),
    "hinge": Loss(multiclass_metrics.HINGE_EACH, None),
}
BINARY = {
    "logistic": Loss(binary_metrics.LOGISTIC, averaged(binary_metrics.logistic)),
    "hinge": Loss(binary_metrics.HINGE, None),
    "squared_error": Loss(binary_metrics.SQUARED_ERROR, averaged(binary_metrics.squared_error)),
}


@register("task", "multiclass")
def multiclass(
    spec: DataSpec,
    *,
    loss: Literal["cross_entropy", "squared_error", "hinge"],
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)],
) -> Supervised:
    """Softmax classification: one score per class, trained by cross-entropy, squared error or hinge loss.

    Squared error is taken against the one-hot target and summed over the classes; the hinge loss is that of
    Crammer & Singer (2001). A user meets UsageError for a data set without classes.
    """
    require_classes(spec, "multiclass")
    metrics = {"loss": MULTICLASS[loss].metric, "error": multiclass_metrics.ZERO_ONE}
    slope = smoothed(MULTICLASS[loss].metric.slope, label_smoothing)
    return supervised(spec, len(spec.classes), objective(loss, MULTICLASS[loss], label_smoothing), metrics, slope)


@register("task", "one_vs_rest")
def one_vs_rest(
    spec: DataSpec,
    *,
    loss: Literal["logistic", "hinge"],
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)],
) -> Supervised:
    """One two-class problem per class, "this class or another"; their losses are summed, the greatest score decides.

    Source: Rifkin & Klautau, "In defense of one-vs-all classification", JMLR 5, 2004.
    """
    require_classes(spec, "one_vs_rest")
    metrics = {"loss": ONE_VS_REST[loss].metric, "error": multiclass_metrics.ZERO_ONE}
    return supervised(spec, len(spec.classes), objective(loss, ONE_VS_REST[loss], label_smoothing), metrics)


@register("task", "binary")
def binary(
    spec: DataSpec,
    *,
    loss: Literal["logistic", "hinge", "squared_error"],
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)],
) -> Supervised:
    """Two classes by the sign of a single score: logistic, hinge or squared loss."""
    require_classes(spec, "binary")
    if len(spec.classes) != 2:
        raise UsageError(
            f"task=binary needs two classes, data set {spec.name} has {len(spec.classes)}",
            "use task=multiclass or task=one_vs_rest",
        )
    metrics = {"loss": BINARY[loss].metric, "error": binary_metrics.ZERO_ONE}
    slope = smoothed(BINARY[loss].metric.slope, label_smoothing)
    return supervised(spec, 1, objective(loss, BINARY[loss], label_smoothing), metrics, slope)


def objective(name: str, loss: Loss, smoothing: float) -> Callable[[Tensor, Batch], Tensor]:
    """The mean that is trained on: that of the metric, with smoothed targets if asked for."""
    if loss.smooth is None:
        refuse_smoothing(name, smoothing)
        return averaged(loss.metric.rows)
    return partial(loss.smooth, smoothing=smoothing)


def smoothed(slope: Slope | None, smoothing: float) -> Slope | None:
    return slope and partial(slope, smoothing=smoothing)

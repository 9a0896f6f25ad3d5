"""The task that fits the data set."""

from __future__ import annotations

from typing import Annotated, Literal

from dlcli.errors import UsageError
from dlcli.protocols import DataSpec
from dlcli.registry import register
from dlcli.schema import Range
from dlcli.tasks.classification import binary, multiclass
from dlcli.tasks.language import language
from dlcli.tasks.regression import regression
from dlcli.tasks.supervised import Supervised, refuse_smoothing


@register("task", "auto")
def auto(
    spec: DataSpec,
    *,
    loss: Literal["auto", "cross_entropy", "squared_error", "hinge"],
    label_smoothing: Annotated[float, Range(0, 1, open_high=True)],
) -> Supervised:
    """Regression for numbers, binary for two classes, multiclass for more, language for tokens.

    `auto` is squared error for numbers and cross-entropy for classes (for two classes its single-score form, the
    logistic loss). A user meets UsageError for a loss of classes on a data set of numbers.
    """
    if spec.vocabulary is not None and not spec.classes:
        if loss not in ("auto", "cross_entropy"):
            raise UsageError(
                f"task.loss={loss} does not fit the tokens of data set {spec.name}", "use task.loss=cross_entropy"
            )
        return language(spec, label_smoothing=label_smoothing)
    if not spec.classes:
        if loss not in ("auto", "squared_error"):
            raise UsageError(
                f"task.loss={loss} needs classes, and the targets of data set {spec.name} are numbers",
                "use task.loss=auto or task.loss=squared_error",
            )
        refuse_smoothing("squared_error of numbers", label_smoothing)
        return regression(spec)
    if len(spec.classes) == 2:
        single = {"auto": "logistic", "cross_entropy": "logistic"}.get(loss, loss)
        return binary(spec, loss=single, label_smoothing=label_smoothing)
    return multiclass(spec, loss="cross_entropy" if loss == "auto" else loss, label_smoothing=label_smoothing)

"""Numbers as targets."""

from __future__ import annotations

from dlcli.errors import UsageError
from dlcli.metrics import numeric
from dlcli.protocols import DataSpec
from dlcli.registry import register
from dlcli.tasks.supervised import Supervised, averaged, supervised


@register("task", "regression")
def regression(spec: DataSpec) -> Supervised:
    """Numbers by squared error, averaged over the targets of an example."""
    if spec.classes:
        raise UsageError(
            f"task=regression needs numbers as targets, data set {spec.name} has {len(spec.classes)} classes",
            "use task=multiclass, or task=auto, which chooses by the data",
        )
    metric = numeric.SQUARED_ERROR
    return supervised(spec, spec.targets, averaged(metric.rows), {"loss": metric}, metric.slope)

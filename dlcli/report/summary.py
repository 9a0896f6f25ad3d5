"""What a finished run says about itself: the contract of summary.json, read by every report.

    {
      "schema": "dlcli.summary/1",
      "run":    {"id", "name", "seed", "tags", "command", "status", "step", "weights", ...}
      "data":   the facts of the data set, as `protocols.Data.facts`
      "class":  {"id", "parameters", ...}                   the function class F, as declared by the architecture
      "keys":   {"class", "data", "loss"}                   hashes; runs with equal keys share min_F L_train
      "risks":  {"train" | "validation" | "test": {METRIC: {"value", "n", "unit", "ci", "level", "method", ...}}}
      "decomposition": {METRIC: schema dlcli.decomposition/1}
      "diagnosis": one sentence
      "timing": {PURPOSE: seconds}
      "warnings": [{"code", "text"}]
    }

METRIC is "loss" or "error". A risk is a `decomposition.intervals.Estimate` as a dict; `ci` is null for a train risk,
which is known and not estimated, and for a single example. A risk may carry "constant", the least risk of a constant
prediction on that split; where the unit is "squared units", R^2 = 1 - value / constant is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from dlcli.config import yaml_file
from dlcli.errors import UsageError
from dlcli.training.train_log import escaped

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "dlcli.summary/1"
NOT_COMPARED = {"name", "tags", "run_dir", "output_root", "pictures"}  # where a run is kept and shown, not what it is
NOT_COMPARED |= {"tracking.mlflow", "tracking.wandb", "tracking.project"}


def summarize(
    *,
    run: Mapping[str, Any],
    data: Mapping[str, Any],
    function_class: Mapping[str, Any],
    keys: Mapping[str, str],
    risks: Mapping[str, Mapping[str, Any]],
    decomposition: Mapping[str, Any],
    diagnosis: str,
    timing: Mapping[str, float],
    warnings: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The content of summary.json; the arguments are plain already. The same warning is kept once."""
    once = {(warning["code"], warning["text"]): dict(warning) for warning in warnings}
    return {
        "schema": SCHEMA,
        "run": dict(run),
        "data": dict(data),
        "class": dict(function_class),
        "keys": dict(keys),
        "risks": {split: dict(metrics) for split, metrics in risks.items()},
        "decomposition": dict(decomposition),
        "diagnosis": diagnosis,
        "timing": dict(timing),
        "warnings": list(once.values()),
    }


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Raises UsageError for a folder that is no run, a run that has not finished, or a file of another schema."""
    summary = visible(read_object(run_dir / "summary.json"))
    if summary is None:
        raise UsageError(*absent(run_dir))
    if summary.get("schema") != SCHEMA:
        raise UsageError(
            f"{run_dir / 'summary.json'} has schema {summary.get('schema')!r}, this version reads {SCHEMA!r}",
            f"evaluate the run again: dlcli eval {run_dir}",
        )
    return summary


def read_run(run_dir: Path) -> dict[str, Any]:
    """A row of a comparison: {"path", "status", "reason", "config" (flat), "summary" or None}; failed runs included."""
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UsageError(*absent(run_dir))
    status = visible(read_object(run_dir / "status.json") or {})
    summary = read_summary(run_dir) if (run_dir / "summary.json").is_file() else None
    return {
        "path": str(run_dir),
        "status": status.get("state", "unknown"),
        "reason": status.get("reason") or "",
        "config": visible(flatten(yaml_file.read(path).data)),
        "summary": summary,
    }


def read_rows(run_dir: Path, split: str, metric: str) -> np.ndarray | None:
    """Losses of the single examples of a split, (n,); None where none were kept, or what is there is damaged."""
    import numpy as np

    try:
        with (run_dir / "losses" / f"{split}_{metric}.npy").open("rb") as stream:
            rows = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, EOFError, ValueError, TypeError, ArithmeticError, MemoryError, TokenError):
        return None
    return rows if rows.ndim == 1 and rows.dtype.kind == "f" else None


def read_object(path: Path) -> dict[str, Any] | None:
    """None where there is no file; UsageError where it is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # neither JSON nor UTF-8
        found = None
    if type(found) is not dict:
        raise UsageError(f"{path} is damaged: no JSON object", f"write it anew: dlcli eval {path.parent}")
    return found


def visible(value: Any) -> Any:
    """What a file says, in letters that a terminal does not obey: it may be anybody's."""
    if isinstance(value, str):
        return "\n".join(map(escaped, value.split("\n")))
    if isinstance(value, dict):
        return {visible(key): visible(inner) for key, inner in value.items()}
    return list(map(visible, value)) if isinstance(value, list) else value


def absent(run_dir: Path) -> tuple[str, str]:
    if not run_dir.is_dir():
        return f"there is no run directory {run_dir}", "the last line of `dlcli train` names the directory of its run"
    if not (run_dir / "config.yaml").is_file():
        return f"{run_dir} is not a run directory: it has no config.yaml", "give a directory that `dlcli train` made"
    return f"run {run_dir} has no summary.json: it has not finished", f"finish it: dlcli resume {run_dir}"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"name": "mlp", "width": 8}} -> {"model": "mlp", "model.width": 8}: keys as on the command line."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if type(value) is dict:
            found |= flatten(value, f"{prefix}{key}.")
        elif key == "name" and prefix:
            found[prefix[:-1]] = value
        else:
            found[prefix + key] = value
    return found


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values are not the same in all runs, in the order of the first config that has them."""
    keys = dict.fromkeys(key for config in configs for key in config if key not in NOT_COMPARED)
    return [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]

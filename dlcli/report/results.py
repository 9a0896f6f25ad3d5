"""Runs as a tidy table for other programs: one row a run, one column a setting that differs, a risk or a term."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from dlcli.report.summary import differing

Run = Mapping[str, Any]  # as `summary.read_run` returns it
TERMS = {"approximation": "approx_train", "optimization": "optimization"}


def results_csv(runs: Sequence[Run]) -> str:
    """Failed runs keep their row; what they do not have is empty."""
    keys = differing([run["config"] for run in runs])
    rows = [row(run, keys) for run in runs]
    columns = dict.fromkeys(name for each in rows for name in each)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(run: Run, keys: Sequence[str]) -> dict[str, Any]:
    found = {"run": run["path"], "status": run["status"], "reason": run["reason"]}
    found |= {key: run["config"].get(key, "") for key in keys}
    summary = run["summary"]
    if summary is None:
        return found
    for split, risks in summary["risks"].items():
        for metric, risk in risks.items():
            found[f"{split}_{metric}"] = risk["value"]
            if risk["ci"] is not None:
                found[f"{split}_{metric}_low"], found[f"{split}_{metric}_high"] = risk["ci"]
    for metric, record in summary["decomposition"].items():
        for term, name in TERMS.items():
            found[f"{term}_{metric}_low"], found[f"{term}_{metric}_high"] = record[name]["interval"]
        found[f"generalization_{metric}"] = record["generalization"]["value"]
    found["parameters"] = summary["class"]["parameters"]
    found["seconds"] = sum(summary["timing"].values())
    return found

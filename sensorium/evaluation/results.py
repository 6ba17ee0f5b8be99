"""What the examinations of a model say together: one list of metrics, in the form that scripts read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sensorium.atomic import write_file
from sensorium.evaluation.suite import Metric, Report

BLIND = "blind/"
"""What the names of the text-only twin's metrics begin with."""


def merge(reports: Sequence[Report], blind: Sequence[Report] = ()) -> dict[str, Metric]:
    """All metrics by name, the text-only twin's under `blind/`. Where suites use the same name, the later one's is
    prefixed with its suite."""
    merged: dict[str, Metric] = {}
    for prefix, side in (("", reports), (BLIND, blind)):
        for report in side:
            for name, metric in report.metrics.items():
                key = prefix + name
                merged[f"{prefix}{report.suite}/{name}" if key in merged else key] = metric
    return merged


def evaluation(reports: Sequence[Report], blind: Sequence[Report], checkpoint: str | Path) -> dict[str, Any]:
    """The contents of an `eval.json`."""
    return {
        "suite": "+".join(dict.fromkeys(report.suite for report in reports)),
        "checkpoint": str(checkpoint),
        "metrics": {name: _plain(metric) for name, metric in merge(reports, blind).items()},
    }


def _plain(metric: Metric) -> dict[str, Any]:
    """JSON has no NaN: a metric over nothing has the value null."""
    return metric.to_dict() | ({"value": None} if math.isnan(metric.value) else {})


def write_evaluation(
    file: str | Path, reports: Sequence[Report], blind: Sequence[Report], checkpoint: str | Path
) -> Path:
    """Write an `eval.json`, whole or not at all."""
    file = Path(file)
    write_file(file, json.dumps(evaluation(reports, blind, checkpoint), indent=2, ensure_ascii=False) + "\n")
    return file


def read_metrics(file: Path) -> dict[str, float]:
    """The values of an `eval.json` by name; a metric over nothing is NaN."""
    metrics = json.loads(file.read_text())["metrics"]
    return {name: math.nan if said["value"] is None else said["value"] for name, said in metrics.items()}

"""Log lines and metrics as one JSON object a line, as CloudWatch and others read them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from batch.runtime.environment import environment

METRICS: Final = {
    "rows": "Count",
    "refused_share": "None",
    "sessions_incomplete": "Count",
    "sessions_missing": "Count",
    "uploads_stuck": "Count",
}
"""Counts of a run that are metrics, and the unit of each. CloudWatch charges for every name."""


def batch_job() -> dict[str, str]:
    """Return what tells this AWS Batch job from others in a log; empty elsewhere."""
    names = {"job_id": "AWS_BATCH_JOB_ID", "attempt": "AWS_BATCH_JOB_ATTEMPT"}
    found = {field: environment().get(name) for field, name in names.items()}
    return {field: value for field, value in found.items() if value}


class JsonLines(logging.Formatter):
    """One JSON object a record: its time, level and message, and the same fields in each."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields: dict[str, object] = dict(fields)

    @classmethod
    def of(cls, logger: logging.Logger) -> JsonLines | None:
        """Return the one that a logger writes with; None where it writes text."""
        formatters = (handler.formatter for handler in logger.handlers)
        return next((one for one in formatters if isinstance(one, cls)), None)

    def add(self, **fields: object) -> None:
        """Add fields to every line from now on."""
        self._fields |= fields

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        instant = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{instant}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **self._fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def metrics_line(job: str, counts: Mapping[str, object], at: datetime) -> str | None:
    """Return the metrics among a run's counts in CloudWatch's embedded metric format.

    None outside a deployed pipeline, which ``OHLCV_PIPELINE`` names, and where there are none.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    pipeline = environment().get("OHLCV_PIPELINE")
    values = {name: counts[name] for name in METRICS if name in counts}
    if not pipeline or not values:
        return None
    metrics = {
        "Namespace": "OHLCV",
        "Dimensions": [["Pipeline"]],
        "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in values],
    }
    milliseconds = int(at.timestamp() * 1000)
    head = {"_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [metrics]}}
    return json.dumps({**head, "Pipeline": pipeline, "job": job, **batch_job(), **values})

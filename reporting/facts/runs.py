"""What the runs of jobs did, as their reports tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batch.core.layout import table_order


@dataclass(frozen=True, slots=True)
class RunFact:
    """One run of a job, as its report tells.

    Attributes:
        job: Name of the job.
        started_at: When it started.
        duration_s: How long it took, None where it never ended.
        exit_code: Its exit status.
        told: What it did or what ended it, in a few words.
    """

    job: str
    started_at: datetime
    duration_s: float | None
    exit_code: int | None
    told: str


def runs_of(reports: Iterable[Mapping[str, Any]]) -> list[RunFact]:
    """Read the reports of runs, newest first."""
    runs = [
        RunFact(
            job=str(report["job"]),
            started_at=datetime.fromisoformat(str(report["started_at"])),
            duration_s=report.get("duration_s"),
            exit_code=report.get("exit_code"),
            told=str(report["error"]) if report.get("error") else _published(report),
        )
        for report in reports
    ]
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


_PUBLISHERS = frozenset({"consolidate", "resample", "run", "demo"})
_COUNTS = 3


def _published(report: Mapping[str, Any]) -> str:
    parts = report.get("partitions") or []
    if not parts:
        return "nothing to do" if report["job"] in _PUBLISHERS else _counted(report)
    tables = sorted({str(part["table"]) for part in parts}, key=table_order)
    rows = sum(int(part["rows"]) for part in parts)
    many = f"{len(parts)} partitions" if len(parts) > 1 else "1 partition"
    return f"{many} of {', '.join(tables)}; {rows:,} rows"


def _counted(report: Mapping[str, Any]) -> str:
    """Tell the first counts of a job that publishes nothing, those above zero first."""
    counts = [
        (len(value) if isinstance(value, list) else value, name.replace("_", " "))
        for name, value in (report.get("counts") or {}).items()
        if isinstance(value, int | list)
    ]
    told = [(count, name) for count, name in counts if count] or counts
    return ", ".join(f"{count:,} {name}" for count, name in told[:_COUNTS]) or "nothing to do"

"""One JSON report per job run, kept in the lake whether the run succeeded or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from batch.core.errors import DataRefused
from batch.core.layout import RUNS, run_report_key, run_started_at, table_order
from batch.lake.partitions import PublishedPartition
from batch.runtime.formats import size_text
from batch.storage.store import ObjectStore

REPORTS_KEPT_FOR = timedelta(days=90)
"""Age up to which a vacuum keeps reports, as the bucket's own rule does on AWS."""

REPORTS_KEPT = 100
"""How many of the last reports a vacuum keeps, whatever their age."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run did, as its report and its JSON result say it.

    ``counts`` are rows, partitions, bytes and the like, by name. ``published`` and ``problems``
    (what could not be done) are None where the result has no such key.
    """

    counts: Mapping[str, object] = field(default_factory=dict)
    published: Sequence[PublishedPartition] | None = None
    problems: Sequence[str] | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as the keys of a command's JSON result."""
        content = dict(self.counts)
        if self.published is not None:
            content["published"] = [partition.to_json() for partition in self.published]
        if self.problems is not None:
            content["problems"] = list(self.problems)
        return content


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run of a job did.

    Attributes:
        run_id: Distinguishes runs that start at the same instant.
        settings: The settings in force, without secrets.
        finished_at: When it ended, if it did.
        error: What ended it, in one line.
        counts: Rows, partitions, bytes and the like, by name.
        partitions: What was published.
        problems: Every file, symbol or session that could not be done.
    """

    job: str
    run_id: str
    started_at: datetime
    settings: Mapping[str, object]
    finished_at: datetime | None = None
    exit_code: int | None = None
    error: str | None = None
    counts: Mapping[str, object] = field(default_factory=dict)
    partitions: Sequence[PublishedPartition] = field(default_factory=list)
    problems: Sequence[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end."""
        if self.finished_at is None:
            return None
        return round((self.finished_at - self.started_at).total_seconds(), 3)

    def to_json(self) -> str:
        """Return the report as JSON."""
        partitions = [part.to_json() for part in self.partitions]
        content = asdict(self) | {"partitions": partitions, "duration_s": self.duration_s}
        return json.dumps(content, default=str, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, source_name: str) -> RunReport:
        """Parse a report; what it lacks beside its job and its start keeps the default.

        Raises:
            DataRefused: It is not a run's report; the message begins with ``source_name``.
        """
        try:
            content = json.loads(text)
            finished_at = content.get("finished_at")
            partitions = [
                PublishedPartition(part["table"], part["year"], part["rows"], part["bytes"])
                for part in content.get("partitions", [])
            ]
            return cls(
                job=content["job"],
                run_id=content.get("run_id", ""),
                started_at=datetime.fromisoformat(content["started_at"]),
                settings=content.get("settings", {}),
                finished_at=datetime.fromisoformat(finished_at) if finished_at else None,
                exit_code=content.get("exit_code"),
                error=content.get("error"),
                counts=content.get("counts", {}),
                partitions=partitions,
                problems=content.get("problems", []),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            raise DataRefused(f"{source_name}: not a run's report ({err!r}); remove it") from err

    def keep(self, store: ObjectStore) -> None:
        """Write the report into the lake."""
        key = run_report_key(self.job, self.started_at, self.run_id)
        store.write(key, self.to_json().encode())


def list_run_reports(store: ObjectStore, limit: int) -> list[RunReport]:
    """Return the last reports that a lake keeps, newest first, at most ``limit`` of them.

    Raises:
        DataRefused: One of them is damaged.
    """
    return [
        RunReport.from_json(store.read(key), f"{store.uri}/{key}")
        for key in list(_starts_by_key(store))[:limit]
    ]


def old_run_reports(store: ObjectStore, now: datetime) -> tuple[str, ...]:
    """Return the keys of reports that nobody will ask for, ascending.

    They are older than :data:`REPORTS_KEPT_FOR` at ``now``, and not among the last
    :data:`REPORTS_KEPT`: a lake that rests keeps what it did last.
    """
    starts = list(_starts_by_key(store).items())[REPORTS_KEPT:]
    return tuple(sorted(key for key, started_at in starts if now - started_at > REPORTS_KEPT_FOR))


def _starts_by_key(store: ObjectStore) -> dict[str, datetime]:
    """List the reports and when their runs started, newest first."""
    started = {item.key: run_started_at(item.key) for item in store.list(RUNS)}
    return {key: at for key, at in sorted(started.items(), reverse=True) if at is not None}


def summary_by_table(
    published: Sequence[PublishedPartition],
) -> list[tuple[str, str, int, str]]:
    """Return name, years, rows and size of each published table, the narrowest bars first."""
    summary = []
    for table in sorted({part.table for part in published}, key=table_order):
        parts = [part for part in published if part.table == table]
        first, last = min(part.year for part in parts), max(part.year for part in parts)
        span = str(first) if first == last else f"{first}-{last}"
        size_bytes = sum(part.size_bytes for part in parts)
        summary.append((table, span, sum(part.rows for part in parts), size_text(size_bytes)))
    return summary

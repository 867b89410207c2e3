"""The state of a lake as metrics in Prometheus' text format. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from datetime import UTC, date, datetime

from batch.audit.status import Status
from batch.core.errors import ExitCode

_COUNTED = "since the date that `ohlcv status` prints"


@dataclass(frozen=True, slots=True)
class _Metric:
    """A gauge: its samples by label value, or one without; a sample that is None is left out."""

    name: str
    description: str
    samples: Mapping[str, float | None] | float | None
    label: str = ""

    def lines(self, lake: str) -> Iterator[str]:
        yield f"# HELP {self.name} {_escaped(self.description)}"
        yield f"# TYPE {self.name} gauge"
        samples = self.samples if isinstance(self.samples, Mapping) else {"": self.samples}
        for value, sample in samples.items():
            labels = {"lake": lake, self.label: value} if self.label else {"lake": lake}
            inside = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
            if sample is not None:
                yield f"{self.name}{{{inside}}} {sample!r}"


def prometheus_text(status: Status) -> str:
    """Return the metrics of a lake, each with ``HELP``, ``TYPE`` and the label ``lake``.

    Sessions are the seconds from 1970 to the beginning of their date in UTC. What is not known,
    such as the newest session of an empty lake, has no sample.
    """
    return "".join(f"{line}\n" for one in _metrics(status) for line in one.lines(status.lake))


def _metrics(status: Status) -> Iterable[_Metric]:
    exit_code = ExitCode.DATA_REFUSED if status.problems else ExitCode.DONE
    yield _Metric(
        "ohlcv_status_check_timestamp_seconds",
        "Time of this check.",
        status.at.timestamp(),
    )
    yield _Metric(
        "ohlcv_healthy", "1 if `ohlcv status` found no problem, else 0.", int(not status.problems)
    )
    yield _Metric("ohlcv_status_exit_code", "Exit code of `ohlcv status`.", int(exit_code))
    for name, session, what in (
        ("oldest", status.oldest, "Oldest session of the daily bars."),
        ("newest", status.newest, "Newest session of the daily bars."),
        ("expected", status.expected, "Newest session that the lake should have."),
    ):
        yield _Metric(f"ohlcv_{name}_session_timestamp_seconds", what, _seconds(session))
    counts: tuple[tuple[str, Sized, str], ...] = (
        (
            "sessions_behind",
            status.behind,
            "Sessions after the newest one, up to the expected one.",
        ),
        (
            "sessions_missing",
            status.missing,
            "Sessions without any daily bar, between the oldest and the newest.",
        ),
        ("sessions_ahead", status.ahead, "Sessions with bars that had not closed yet."),
        ("sessions_late", status.late, f"Sessions that arrived late, {_COUNTED}."),
        ("deliveries_waiting", status.waiting, "Deliveries not consolidated yet."),
        ("tables_outdated", status.outdated, "Tables made from outdated daily bars."),
        ("objects_wrong", status.wrong, "Objects that are missing, foreign or damaged."),
    )
    for name, items, what in counts:
        yield _Metric(f"ohlcv_{name}", what, len(items))
    for name, by, kind, what in (
        ("refused_rows", status.refused, "reason", "Refused rows"),
        ("restated_values", status.restated, "field", "Values that a later delivery changed"),
        ("held_back_values", status.held_back, "reason", "Values held back from later deliveries"),
    ):
        yield _Metric(f"ohlcv_recent_{name}", f"{what}, {_COUNTED}.", by, kind)
    yield _Metric(
        "ohlcv_restated_values", "Values that later deliveries changed.", status.restatements
    )
    yield _Metric(
        "ohlcv_held_back_values", "Values held back from later deliveries.", status.held_back_values
    )
    for name, sizes, what in (
        ("rows", {one.table: one.rows for one in status.tables}, "Rows of a table."),
        (
            "size_bytes",
            {one.table: one.size_bytes for one in status.tables},
            "Bytes of the files of a table.",
        ),
        (
            "newest_session_timestamp_seconds",
            {one.table: _seconds(one.newest) for one in status.tables},
            "Newest session that a table was made from.",
        ),
        (
            "open_window_sessions",
            {one.table: one.open_sessions for one in status.tables},
            "Sessions so far in the open window; 0 if the newest window is closed.",
        ),
    ):
        yield _Metric(f"ohlcv_table_{name}", what, sizes, "table")
    yield from _last_runs(status)


def _last_runs(status: Status) -> Iterable[_Metric]:
    last = {run.job: run for run in reversed(status.runs)}
    started = {job: run.started_at.timestamp() for job, run in last.items()}
    durations_s = {job: run.duration_s for job, run in last.items()}
    codes = {job: run.exit_code for job, run in last.items()}
    name = "ohlcv_last_run"
    yield _Metric(f"{name}_timestamp_seconds", "When a job last started.", started, "job")
    yield _Metric(f"{name}_duration_seconds", "Duration of a job's last run.", durations_s, "job")
    yield _Metric(f"{name}_exit_code", "Exit code of a job's last run.", codes, "job")


def _seconds(session: date | None) -> float | None:
    if session is None:
        return None
    return datetime(session.year, session.month, session.day, tzinfo=UTC).timestamp()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")

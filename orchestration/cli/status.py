"""The command ``ohlcv status``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from batch.audit.metrics import prometheus_text
from batch.audit.status import Status, read_status
from batch.core.errors import DataRefused
from batch.lake.read import Lake
from batch.runtime.formats import size_text
from batch.runtime.options import date_option, output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.settings import Settings
from orchestration.cli.files import replacing

_SHOWN = 5


@click.command(name="status")
@settings_options(Settings)
@click.option(
    "--delay",
    type=click.FloatRange(0),
    default=4.0,
    metavar="HOURS",
    help="How long after the close a session may arrive.",
)
@click.option(
    "--max-age-sessions",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Sessions that the lake may be behind.",
)
@date_option(
    "--since",
    "Report gaps, late sessions, refused rows and corrections since this date."
    "  [default: the last 30 sessions; gaps: the whole lake]",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write it as metrics that Prometheus reads, such as ohlcv.prom.",
)
@output_options
def command(
    settings: Settings,
    output: Output,
    delay: float,
    max_age_sessions: int,
    since: date | None,
    metrics: Path | None,
) -> None:
    """Show how fresh and complete the lake is: gaps, refused rows, sizes, last runs.

    Exits with code 3 when the lake is stale or has gaps, when its bars are older than its
    daily bars, or when a file is missing, foreign or damaged, so that a monitor can call
    it. Writes nothing into the lake, and reads no table in full. --metrics replaces its file
    in one step, for the textfile collector of node_exporter.

    \b
    Examples:
      ohlcv status
      ohlcv status --json --max-age-sessions 1 | jq .problems
      ohlcv status --quiet --metrics /var/lib/node_exporter/ohlcv.prom
    """
    status = read_status(
        Lake.open(settings.lake).store,
        now=datetime.now(UTC),
        delay=timedelta(hours=delay),
        max_age_sessions=max_age_sessions,
        since=since,
    )
    if metrics:
        with replacing(metrics, "--metrics") as part:
            part.write_text(prometheus_text(status), encoding="utf-8")
    output.result(asdict(status))
    _show(output, status)
    if status.problems:
        raise DataRefused("; ".join(status.problems))


def _show(output: Output, status: Status) -> None:
    output.say(f"{status.lake}, {status.at:%Y-%m-%d %H:%M} UTC\n")
    counts = [len(one) for one in (status.behind, status.missing, status.late, status.waiting)]
    output.table(
        ["newest", "expected", "behind", "missing", "late", "waiting"],
        [(str(status.newest or "none"), str(status.expected), *counts)],
    )
    if status.missing:
        output.say(f"missing: {_some([str(day) for day in status.missing])}", hanging=2)
    if status.late:
        late = [f"{one.session} ({one.hours:,.0f} h after the close)" for one in status.late]
        output.say(f"late since {status.since}: {_some(late)}", hanging=2)
    if status.waiting:
        output.say(f"waiting to be consolidated: {_some(list(status.waiting))}", hanging=2)
    output.table(
        ["table", "years", "rows", "size", "made from"],
        [
            (one.table, one.years, one.rows, size_text(one.size_bytes), one.newest)
            for one in status.tables
        ],
    )
    if status.refused:
        output.table([f"refused since {status.since}", "rows"], list(status.refused.items()))
    if status.restated:
        output.table([f"restated since {status.since}", "values"], list(status.restated.items()))
    if status.held_back:
        output.table([f"held back since {status.since}", "values"], list(status.held_back.items()))
    if status.runs:
        runs = [
            (
                run.job,
                f"{run.started_at:%Y-%m-%d %H:%M}",
                run.duration_s,
                run.exit_code,
                run.error,
            )
            for run in status.runs
        ]
        output.table(["last runs", "started (UTC)", "seconds", "exit", "error"], runs)
    if not status.problems:
        output.say("healthy: up to date, no gaps")


def _some(items: list[str]) -> str:
    """Return the newest few of a list, newest last, and how many there are before them."""
    shown = ", ".join(items[-_SHOWN:])
    return shown if len(items) <= _SHOWN else f"{len(items) - _SHOWN} and {shown}"

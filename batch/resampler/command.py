"""The command ``resample``, and the entry point of its container."""

from __future__ import annotations

import click

from batch.core.layout import table_order
from batch.core.sessions import Calendar
from batch.resampler.job import Resampling, resample
from batch.runtime.formats import count_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.progress import Progress, StopRequested
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome, summary_by_table
from batch.runtime.settings import ResamplerSettings
from batch.storage.store import ObjectStore, open_store


def resample_as_set(
    settings: ResamplerSettings,
    store: ObjectStore,
    *,
    progress: Progress,
    stop_requested: StopRequested,
    calendar: Calendar | None = None,
) -> Resampling:
    """Resample as settings say; every command that resamples goes through here."""
    return resample(
        store,
        intervals=settings.intervals,
        anchor=settings.anchor,
        full=settings.full,
        workers=settings.workers,
        memory_limit=settings.memory_limit,
        shard=settings.this_shard,
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar,
    )


@click.command(name="resample")
@settings_options(ResamplerSettings)
@output_options
def command(settings: ResamplerSettings, output: Output) -> None:
    """Fold the daily bars into bars of N sessions.

    Windows come from the exchange calendar, so gaps and history never move an edge. A
    bar whose window is still open has complete = false.

    \b
    Examples:
      ohlcv resample                                 the six Fibonacci intervals
      ohlcv resample --interval 5d --interval 10d
      ohlcv resample --interval 5d --anchor listing
    """
    store = open_store(settings.lake)
    with job_run("resample", store, settings, output) as run:
        done = resample_as_set(
            settings, store, progress=run.progress, stop_requested=run.stop_requested
        )
        published = sorted(done.published, key=lambda part: (table_order(part.table), part.year))
        run.outcome = RunOutcome(
            {
                "current": done.current,
                "removed": [{"table": table, "year": year} for table, year in done.removed],
                "daily_rows_read": done.daily_rows_read,
                "newest_session": done.newest,
            },
            published=published,
        )
        output.result({"lake": store.uri, **run.outcome.to_json()})
        if published:
            output.table(["table", "years", "bars", "size"], summary_by_table(published))
        output.say(
            f"{count_text(done.daily_rows_read, 'daily bars')} read,"
            f" {count_text(done.current, 'partitions')} up to date,"
            f" newest session {done.newest or 'none'}"
        )

"""The command ``resample``, and the entry point of its container."""

from __future__ import annotations

from typing import Any

import click

from batch.core.layout import table_order
from batch.lake.partitions import PublishedPartition
from batch.runtime.command import job_run, lake_option, output_options, sharing_options
from batch.runtime.formats import size_text
from batch.runtime.output import Output


@click.command(name="resample")
@lake_option
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    metavar="ND",
    help="Sessions per bar, such as 5d or 5; may be repeated."
    "  [env: OHLCV_INTERVALS; default: 3 5 8 13 21 34]",
)
@click.option(
    "--anchor",
    metavar="calendar|listing",
    help="Count windows by the exchange calendar, or from each symbol's first bar."
    "  [env: OHLCV_ANCHOR; default: calendar]",
)
@click.option(
    "--full", is_flag=True, default=None, help="Make every year again.  [env: OHLCV_FULL]"
)
@click.option(
    "--workers", type=int, metavar="N", help="Threads that fold and write.  [env: OHLCV_WORKERS]"
)
@sharing_options
@output_options
def command(output: Output, intervals: tuple[str, ...], **options: Any) -> None:
    """Fold the daily bars into bars of N sessions.

    Windows come from the exchange calendar, so gaps and history never move an edge. The
    bar whose window is still open is there, with complete = false.

    \b
    Examples:
      ohlcv resample                                 the six Fibonacci intervals
      ohlcv resample --interval 5d --interval 10d
      ohlcv resample --interval 5d --anchor listing
    """
    from batch.resampler.job import resample  # noqa: PLC0415
    from batch.runtime.settings import ResamplerSettings  # noqa: PLC0415 - help stays quick
    from batch.storage.store import open_store  # noqa: PLC0415

    settings = ResamplerSettings.read(intervals=intervals or None, **options)
    store = open_store(settings.lake)
    with job_run("resample", store, settings, output) as run:
        outcome = resample(
            store,
            intervals=settings.intervals,
            anchor=settings.anchor,
            full=settings.full,
            workers=settings.workers,
            memory_limit=settings.memory_limit,
            shard=settings.this_shard,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        published = sorted(outcome.published, key=lambda part: (table_order(part.table), part.year))
        run.report.counts = {
            "current": outcome.current,
            "removed": outcome.removed,
            "daily_rows_read": outcome.daily_rows_read,
            "newest_session": outcome.newest,
        }
        run.report.partitions = published
        output.result(
            {
                "lake": store.uri,
                **run.report.counts,
                "published": [part.to_json() for part in published],
            }
        )
        if published:
            output.table(
                ["table", "years", "bars", "size"],
                _by_table(published),
            )
        output.say(
            f"{outcome.daily_rows_read:,} daily bars read, {outcome.current} partitions up to date,"
            f" newest session {outcome.newest or 'none'}"
        )


def _by_table(published: list[PublishedPartition]) -> list[tuple[str, str, int, str]]:
    rows = []
    for table in dict.fromkeys(part.table for part in published):
        parts = [part for part in published if part.table == table]
        years = [part.year for part in parts]
        span = str(years[0]) if len(years) == 1 else f"{min(years)}-{max(years)}"
        bars = sum(part.rows for part in parts)
        rows.append((table, span, bars, size_text(sum(part.size_bytes for part in parts))))
    return rows

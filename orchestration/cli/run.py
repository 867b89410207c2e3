"""The command ``ohlcv run``: the daily pipeline on this machine."""

from __future__ import annotations

from typing import Any

import click

from batch.core.layout import table_order
from batch.runtime.command import Run, job_run, lake_option, output_options
from batch.runtime.environment import environment
from batch.runtime.formats import size_text
from batch.runtime.output import Output
from orchestration.cli.vendor_options import pace_options, strict_option


@click.command(name="run")
@lake_option
@strict_option
@click.option("--no-reference", is_flag=True, help="Fetch bars only.")
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    metavar="N",
    help="Sessions per bar; may be repeated.  [env: OHLCV_INTERVALS; default: 3 5 8 13 21 34]",
)
@pace_options
@click.option("--workers", type=int, metavar="N", help="Threads of the jobs.  [env: OHLCV_WORKERS]")
@output_options
def command(output: Output, no_reference: bool, intervals: tuple[str, ...], **options: Any) -> None:
    """Do the whole day: fetch, consolidate, resample. The lake may be on S3.

    Bars and reference data are fetched side by side. What has come is consolidated and
    resampled even where something could not be fetched; the run then ends non-zero. A
    second run of the same day does only what is left.

    \b
    Examples:
      ohlcv run
      ohlcv run --lake s3://bucket/market --requests-per-minute 0
      ohlcv run --interval 5d --no-reference
    """
    from batch.consolidator.job import consolidate  # noqa: PLC0415 - help stays quick
    from batch.resampler.job import resample  # noqa: PLC0415
    from batch.runtime.settings import ResamplerSettings  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.fetch import fetch_in_run  # noqa: PLC0415
    from fetchers.request import FetchRequest  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(**options)
    resampling = ResamplerSettings.read(intervals=intervals or None)
    store = open_store(settings.lake)
    with job_run("run", store, settings, output) as run:
        request = FetchRequest(reference=not no_reference)
        fetched = fetch_in_run(run, store, settings, environment(), request)
        _require_worth_going_on(fetched.errors, store)
        daily = consolidate(
            store,
            workers=settings.workers,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        bars = resample(
            store,
            intervals=resampling.intervals,
            workers=settings.workers,
            memory_limit=settings.memory_limit,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        run.report.problems = [*fetched.problems, *daily.problems]
        run.report.partitions = [*daily.published, *bars.published]
        run.report.counts = {**fetched.counts, "newest_session": bars.newest}
        _tell(output, store.uri, run, fetched, bars.newest)
        fetched.require_success(strict=settings.strict)
        run.require_no_problems()


def _require_worth_going_on(errors: list[Any], store: Any) -> None:
    """End at once where settings are wrong, somebody asked to stop, or nothing ever came.

    Raises:
        OhlcvError: The error that the fetch ended with.
    """
    from batch.core.errors import Interrupted, SettingsError  # noqa: PLC0415

    for err in errors:
        if isinstance(err, SettingsError | Interrupted) or not store.exists():
            raise err


def _tell(output: Output, uri: str, run: Run, fetched: Any, newest: str | None) -> None:
    """Give the one summary."""
    output.result(
        {
            "lake": uri,
            **run.report.counts,
            "published": [part.to_json() for part in run.report.partitions],
            "problems": run.report.problems,
        }
    )
    for fetched_part in fetched.parts:
        output.say(fetched_part.summary)
    tables: dict[str, tuple[int, int, int]] = {}
    for part in run.report.partitions:
        rows, size, count = tables.get(part.table, (0, 0, 0))
        tables[part.table] = (rows + part.rows, size + part.size_bytes, count + 1)
    if tables:
        output.table(
            ["table", "years written", "rows", "size"],
            [
                (name, count, rows, size_text(size))
                for name in sorted(tables, key=table_order)
                for rows, size, count in [tables[name]]
            ],
        )
    else:
        output.say("every table is up to date")
    output.say(f"newest session {newest or 'none'} in {uri}")

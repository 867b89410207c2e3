"""The command ``ohlcv import``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from batch.core.errors import SettingsError
from batch.core.instants import parse_instant, receipt_refusal
from batch.core.sessions import load_calendar
from batch.runtime.formats import count_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome
from batch.runtime.settings import MemorySettings, RefusalSettings, WorkerSettings
from batch.storage.store import open_store
from fetchers.files.imports import import_files
from fetchers.files.reader import find_files
from fetchers.files.reading import Reading
from fetchers.files.reference import Kind


class ImportSettings(WorkerSettings, MemorySettings, RefusalSettings):
    """What the import of files reads."""


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option(
    "--splits",
    type=click.Path(),
    metavar="FILE",
    help="A file of splits: the same as naming it among FILE.",
)
@click.option(
    "--received-at",
    metavar="INSTANT",
    help="When the files were received, such as 2025-01-10T21:30Z; by default the date in"
    " a file's name, else its modification time. Of files received at the same instant, the one"
    " imported last wins.",
)
@click.option("--source", metavar="NAME", default="import", help="Name of the source.")
@click.option(
    "--accept-adjusted",
    is_flag=True,
    help="Import files of Yahoo, yfinance and Stooq, whose prices are adjusted for splits; without"
    " it they are refused, because a lake has prices as traded.",
)
@settings_options(ImportSettings)
@output_options
def command(
    settings: ImportSettings,
    output: Output,
    files: tuple[str, ...],
    splits: str | None,
    received_at: str | None,
    source: str,
    accept_adjusted: bool,
) -> None:
    """Import deliveries into the lake: files and folders of CSV and Parquet.

    They may be compressed with gzip or zstd, or in ZIP archives.

    Columns may be named as Polygon, Yahoo, yfinance or Stooq name them, or in any other
    sensible way; prints which column was read as what. Splits, dividends and tickers are
    recognised by their columns. A file without a column of symbols is named after its
    symbol: AAPL.csv. Folders symbol=* and date=* are read as an existing lake, with the
    symbols and dates that only their names have. Rows that cannot be true are kept under
    bronze/rejected with a reason.

    \b
    Examples:
      ohlcv import deliveries/*.csv.gz splits.csv dividends.csv tickers.csv
      ohlcv import AAPL.csv --received-at 2025-01-10T21:30Z
      ohlcv import yahoo/AAPL.csv --accept-adjusted
      ohlcv import s3://old-bucket/processed/
    """
    now = datetime.now(UTC)
    received = parse_instant(received_at) if received_at else None
    refusal = receipt_refusal(received, now=now) if received else None
    if refusal:
        raise SettingsError(f"--received-at {received_at}: {refusal}")
    store = open_store(settings.lake)
    store.exists()
    places = [*files, splits] if splits else files
    found = [file for place in places for file in find_files(place, lake=store)]
    with job_run("import", store, settings, output) as run:
        outcome = import_files(
            store,
            found,
            calendar=load_calendar(),
            source=source,
            received_at=received,
            now=now,
            reading=Reading(accept_adjusted=accept_adjusted),
            max_refused_share=settings.max_refused_share,
            workers=settings.workers,
            memory_limit=settings.memory_limit,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        added = {str(kind): outcome.reference[kind] for kind in Kind}
        run.outcome = RunOutcome(
            {
                "files": outcome.files,
                "deliveries": outcome.deliveries,
                "new_deliveries": outcome.written,
                "accepted_rows": outcome.accepted_rows,
                "refused_rows": outcome.refused_rows,
                "refused": dict(outcome.reasons.most_common()),
                **added,
                "layouts": dict(outcome.layouts.most_common()),
                "refused_files": [asdict(one) for one in outcome.refused],
            },
            problems=outcome.problems,
        )
        output.result({"lake": store.uri, **run.outcome.to_json()})
        for layout, count in outcome.layouts.most_common():
            output.say(f"{count_text(count, 'files')}: {layout}")
        for note in outcome.notes:
            run.progress.warn(note)
        output.table(
            ["files", "deliveries", "new", "rows", "refused", *added, "problems"],
            [
                (
                    outcome.files,
                    outcome.deliveries,
                    outcome.written,
                    outcome.accepted_rows,
                    outcome.refused_rows,
                    *added.values(),
                    len(outcome.problems),
                )
            ],
        )
        if outcome.reasons:
            output.table(["refused because", "rows"], outcome.reasons.most_common())
        run.require_no_problems()

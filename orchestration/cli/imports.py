"""The command ``ohlcv import``."""

from __future__ import annotations

from typing import Any

import click

from batch.runtime.command import job_run, lake_option, output_options
from batch.runtime.output import Output


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@lake_option
@click.option(
    "--splits",
    type=click.Path(),
    metavar="FILE",
    help="Splits: ticker, execution_date, split_from, split_to.",
)
@click.option(
    "--received-at",
    metavar="INSTANT",
    help="When the files were received, such as 2025-01-10T21:30Z; else the date in a"
    " file's name, else its modification time.",
)
@click.option(
    "--source",
    metavar="NAME",
    default="import",
    show_default=True,
    help="Who the deliveries are from.",
)
@click.option(
    "--max-refused-share",
    type=float,
    metavar="SHARE",
    help="Share of refused rows that makes a file a problem."
    "  [env: OHLCV_MAX_REFUSED_SHARE; default: 0.01]",
)
@click.option(
    "--workers", type=int, metavar="N", help="Files read side by side.  [env: OHLCV_WORKERS]"
)
@output_options
def command(
    output: Output,
    files: tuple[str, ...],
    splits: str | None,
    received_at: str | None,
    source: str,
    **options: Any,
) -> None:
    """Bring deliveries into the lake: CSV, CSV.gz or Parquet files and folders.

    The columns may have the names of Polygon, Yahoo, Stooq or any other sensible ones;
    what was taken for what is printed. A folder of symbol=*/data.parquet and
    symbol=*/date=*.parquet files is taken as an existing lake. Rows that cannot be true
    are kept under bronze/rejected with a reason.

    \b
    Examples:
      ohlcv import deliveries/*.csv.gz --splits splits.csv
      ohlcv import AAPL.csv --received-at 2025-01-10T21:30Z
      ohlcv import s3://old-bucket/processed/
    """
    from batch.core.instants import parse_instant  # noqa: PLC0415
    from batch.core.sessions import load_calendar  # noqa: PLC0415 - help stays quick
    from batch.runtime.settings import Settings  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.files.imports import import_files, import_splits  # noqa: PLC0415
    from fetchers.files.reader import find_files  # noqa: PLC0415

    settings = Settings.read(**options)
    received = parse_instant(received_at) if received_at else None
    store = open_store(settings.lake)
    store.exists()
    found = [file for place in files for file in find_files(place)]
    split_file = find_files(splits)[0] if splits else None
    with job_run("import", store, settings, output) as run:
        outcome = import_files(
            store,
            found,
            calendar=load_calendar(),
            source=source,
            received_at=received,
            max_refused_share=settings.max_refused_share,
            workers=settings.workers,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        if split_file:
            outcome.splits = import_splits(store, split_file)
        counts = {
            "files": outcome.files,
            "deliveries": outcome.deliveries,
            "new_deliveries": outcome.written,
            "accepted_rows": outcome.accepted_rows,
            "refused_rows": outcome.refused_rows,
            "refused": dict(outcome.reasons.most_common()),
            "splits": outcome.splits,
            "layouts": dict(outcome.layouts.most_common()),
        }
        run.report.counts = counts
        run.report.problems = outcome.problems
        output.result({"lake": store.uri, **counts, "problems": outcome.problems})
        for layout, count in outcome.layouts.most_common():
            output.say(f"{count:,} files: {layout}")
        for note in outcome.notes:
            run.progress.warn(note)
        output.table(
            ["files", "deliveries", "of them new", "rows", "refused", "splits", "problems"],
            [
                (
                    outcome.files,
                    outcome.deliveries,
                    outcome.written,
                    outcome.accepted_rows,
                    outcome.refused_rows,
                    outcome.splits,
                    len(outcome.problems),
                )
            ],
        )
        if outcome.reasons:
            output.table(["refused because", "rows"], outcome.reasons.most_common())
        run.require_no_problems()

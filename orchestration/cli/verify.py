"""The command ``verify``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from batch.core.errors import DataRefused
from batch.runtime.command import job_run, lake_option, output_options
from batch.runtime.output import Output


@click.command(name="verify")
@lake_option
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Memory for the other engine, such as 2GiB.  [env: OHLCV_MEMORY_LIMIT]",
)
@click.option(
    "--show",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    metavar="N",
    help="Differences to print.",
)
@output_options
def command(output: Output, show: int, **options: Any) -> None:
    """Recompute every bar with an independent engine and compare every value.

    DuckDB folds the deliveries into daily bars and the daily bars into every interval, by
    the rules and not by the jobs' code. Keys, order, manifests and gaps are checked too.
    Exit code 3 and a table of differences where anything is not what it should be.

    \b
    Examples:
      ohlcv verify
      ohlcv verify --lake s3://bucket/market --memory-limit 4GiB --json
    """
    from batch.audit.verify import verify  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415 - help stays quick
    from batch.storage.store import open_store  # noqa: PLC0415

    settings = Settings.read(**options)
    store = open_store(settings.lake)
    with job_run("verify", store, settings, output) as run:
        outcome = verify(
            store,
            progress=run.progress,
            stop_requested=run.stop_requested,
            memory_limit=settings.memory_limit,
        )
        gaps = [str(day) for day in outcome.gaps]
        run.report.counts = {"differences": outcome.count, "gaps": len(gaps)}
        run.report.problems = [str(asdict(found)) for found in outcome.differences[:show]]
        output.result(
            {
                "lake": store.uri,
                "checked": [
                    dict(zip(("table", "partitions", "rows"), row, strict=True))
                    for row in outcome.checked
                ],
                "gaps": gaps,
                "differences": outcome.count,
                "shown": [asdict(found) for found in outcome.differences[:show]],
            }
        )
        if outcome.checked:
            output.table(["table", "partitions", "rows recomputed"], outcome.checked)
        if gaps:
            more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
            run.progress.warn(
                f"{len(gaps)} sessions have no daily bars: {', '.join(gaps[:5])}{more}"
            )
        if outcome.count:
            output.table(
                ["table", "symbol", "date", "column", "expected", "found"],
                [
                    (
                        d.table,
                        d.symbol,
                        d.day or str(d.year),
                        d.column,
                        repr_of(d.expected),
                        repr_of(d.found),
                    )
                    for d in outcome.differences[:show]
                ],
            )
            raise DataRefused(
                f"{store.uri}: {outcome.count:,} values are not what they should be;"
                " `ohlcv consolidate --full` and `ohlcv resample --full` make them again"
            )
        output.say("every value is what the other engine computes")


def repr_of(value: Any) -> str:
    """Return a value with all its digits."""
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)

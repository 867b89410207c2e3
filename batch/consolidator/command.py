"""The command ``consolidate``, and the entry point of its container."""

from __future__ import annotations

from typing import Any

import click

from batch.runtime.command import job_run, lake_option, output_options, sharing_options
from batch.runtime.formats import size_text
from batch.runtime.output import Output


@click.command(name="consolidate")
@lake_option
@click.option(
    "--full", is_flag=True, default=None, help="Make every year again.  [env: OHLCV_FULL]"
)
@click.option(
    "--as-of",
    metavar="INSTANT",
    help="Use only what was received by then, such as 2025-01-10 or 2025-01-10T09:00Z;"
    " a run without it returns to the present.  [env: OHLCV_AS_OF]",
)
@click.option(
    "--workers", type=int, metavar="N", help="Threads that read deliveries.  [env: OHLCV_WORKERS]"
)
@sharing_options
@output_options
def command(output: Output, **options: Any) -> None:
    """Merge the deliveries that arrived into clean daily bars.

    The newest delivery of a symbol and session wins; what it changed is kept under
    silver/restatements. Only years with something new are written.

    \b
    Examples:
      ohlcv consolidate
      ohlcv consolidate --full
      ohlcv consolidate --lake s3://bucket/market --as-of 2025-01-10T09:00Z
    """
    from batch.consolidator.job import consolidate  # noqa: PLC0415 - help stays quick
    from batch.runtime.settings import ConsolidatorSettings  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415

    settings = ConsolidatorSettings.read(**options)
    store = open_store(settings.lake)
    with job_run("consolidate", store, settings, output) as run:
        outcome = consolidate(
            store,
            full=settings.full,
            as_of=settings.as_of,
            workers=settings.workers,
            memory_limit=settings.memory_limit,
            shard=settings.this_shard,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        run.report.counts = {
            "current": outcome.current,
            "removed": outcome.removed,
            "deliveries_read": outcome.deliveries_read,
            "newest_session": outcome.newest,
        }
        run.report.partitions = [*outcome.published]
        run.report.problems = [*outcome.problems]
        output.result(
            {
                "lake": store.uri,
                **run.report.counts,
                "published": [part.to_json() for part in outcome.published],
                "problems": outcome.problems,
            }
        )
        if outcome.published:
            output.table(
                ["table", "year", "rows", "size"],
                [
                    (part.table, str(part.year), part.rows, size_text(part.size_bytes))
                    for part in outcome.published
                ],
            )
        if outcome.removed:
            output.say(f"years without deliveries, removed: {[*outcome.removed]}")
        output.say(
            f"{outcome.deliveries_read:,} deliveries read, {outcome.current} years up to date,"
            f" newest session {outcome.newest or 'none'}"
        )
        run.require_no_problems()

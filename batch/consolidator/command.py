"""The command ``consolidate``, and the entry point of its container."""

from __future__ import annotations

import click

from batch.consolidator.job import Consolidation, consolidate
from batch.core.sessions import Calendar
from batch.runtime.formats import count_text, size_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.progress import Progress, StopRequested
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome
from batch.runtime.settings import ConsolidatorSettings
from batch.storage.store import ObjectStore, open_store


def consolidate_as_set(
    settings: ConsolidatorSettings,
    store: ObjectStore,
    *,
    progress: Progress,
    stop_requested: StopRequested,
    calendar: Calendar | None = None,
) -> Consolidation:
    """Consolidate as settings say; every command that consolidates goes through here."""
    return consolidate(
        store,
        full=settings.full,
        as_of=settings.as_of,
        workers=settings.workers,
        memory_limit=settings.memory_limit,
        shard=settings.this_shard,
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar,
    )


@click.command(name="consolidate")
@settings_options(ConsolidatorSettings)
@output_options
def command(settings: ConsolidatorSettings, output: Output) -> None:
    """Merge the deliveries that arrived into clean daily bars.

    The newest delivery of a symbol and session wins; silver/restatements records what it
    changed. Only years with something new are written.

    \b
    Examples:
      ohlcv consolidate
      ohlcv consolidate --full
      ohlcv consolidate --lake s3://bucket/market --as-of 2025-01-10T09:00Z
    """
    store = open_store(settings.lake)
    with job_run("consolidate", store, settings, output) as run:
        done = consolidate_as_set(
            settings, store, progress=run.progress, stop_requested=run.stop_requested
        )
        run.outcome = RunOutcome(
            {
                "current": done.current,
                "removed": done.removed,
                "deliveries_read": done.deliveries_read,
                "newest_session": done.newest,
            },
            published=done.published,
            problems=done.problems,
        )
        output.result({"lake": store.uri, **run.outcome.to_json()})
        if done.published:
            output.table(
                ["table", "year", "rows", "size"],
                [
                    (part.table, str(part.year), part.rows, size_text(part.size_bytes))
                    for part in done.published
                ],
            )
        if done.removed:
            output.say(f"years without deliveries, removed: {[*done.removed]}")
        output.say(
            f"{count_text(done.deliveries_read, 'deliveries')} read,"
            f" {count_text(done.current, 'years')} up to date,"
            f" newest session {done.newest or 'none'}"
        )
        run.require_no_problems()

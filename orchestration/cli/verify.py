"""The command ``verify``."""

from __future__ import annotations

from dataclasses import asdict

import click

from batch.audit.verify import verify
from batch.core.errors import DataRefused
from batch.runtime.formats import count_text, listed_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome
from batch.runtime.settings import MemorySettings
from batch.storage.store import open_store


@click.command(name="verify")
@settings_options(MemorySettings)
@click.option(
    "--show", type=click.IntRange(1, 200), default=20, metavar="N", help="Differences to print."
)
@output_options
def command(settings: MemorySettings, output: Output, show: int) -> None:
    """Recompute every bar with an independent engine and compare every value.

    DuckDB folds the deliveries into daily bars and the daily bars into every interval, by
    the rules and without the jobs' code. Keys, order, manifests and gaps are checked too.
    If anything differs, prints a table of differences and exits with code 3.

    \b
    Examples:
      ohlcv verify
      ohlcv verify --lake s3://bucket/market --memory-limit 4GiB --json
    """
    store = open_store(settings.lake)
    with job_run("verify", store, settings, output, only_reads=True) as run:
        outcome = verify(
            store,
            progress=run.progress,
            stop_requested=run.stop_requested,
            memory_limit=settings.memory_limit,
        )
        gaps = [str(day) for day in outcome.gaps]
        shown = outcome.differences[:show]
        run.outcome = RunOutcome(
            {"differences": outcome.count, "gaps": len(gaps)},
            problems=[str(asdict(found)) for found in shown],
        )
        output.result(
            {
                "lake": store.uri,
                "checked": [
                    dict(zip(("table", "partitions", "rows"), row, strict=True))
                    for row in outcome.checked
                ],
                "gaps": gaps,
                "differences": outcome.count,
                "shown": [asdict(found) for found in shown],
            }
        )
        if outcome.checked:
            output.table(["table", "partitions", "rows recomputed"], outcome.checked)
        if gaps:
            run.progress.warn(
                f"no daily bars on {count_text(len(gaps), 'sessions')}: {listed_text(gaps, 5)}"
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
                        _exact(d.expected),
                        _exact(d.found),
                    )
                    for d in shown
                ],
            )
            raise DataRefused(
                f"{store.uri}: {count_text(outcome.count, 'differences')};"
                " `ohlcv consolidate --full` and `ohlcv resample --full` rebuild them"
            )
        output.say("all values match DuckDB's recomputation")


def _exact(value: object) -> str:
    """Return a value with all its digits."""
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)

"""The command ``ohlcv fetch``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from batch.runtime.environment import environment
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from fetchers.fetch import run_fetch
from fetchers.plan import read_session_range
from fetchers.request import FetchRequest
from fetchers.settings import FetchSettings


@click.command(name="fetch")
@click.option("--date", "day", metavar="DATE", help="Fetch this session, such as 2025-01-10.")
@click.option("--from", "first", metavar="DATE", help="First session of a range to fill.")
@click.option("--to", "last", metavar="DATE", help="Last session of it; the newest by default.")
@click.option("--backfill", metavar="YEARS", type=float, help="Fill the last YEARS years.")
@click.option("--again", is_flag=True, help="Also fetch sessions that the lake already has.")
@click.option("--flat-files", is_flag=True, help="Read the vendor's flat files: fast, paid plans.")
@click.option(
    "--only",
    type=click.Choice(["bars", "reference"]),
    help="Fetch only bars, or only reference data.",
)
@settings_options(FetchSettings)
@output_options
def command(
    settings: FetchSettings,
    output: Output,
    day: str | None,
    first: str | None,
    last: str | None,
    backfill: float | None,
    again: bool,
    flat_files: bool,
    only: str | None,
) -> None:
    """Fetch daily bars and reference data from Polygon.

    Without a date, fetches the sessions that the lake lacks, and the last few again,
    because bars change after the close. The key comes from POLYGON_API_KEY or
    MASSIVE_API_KEY. The next run continues one that was stopped.

    \b
    Examples:
      ohlcv fetch
      ohlcv fetch --backfill 2
      ohlcv fetch --from 2020-01-01 --flat-files
    """
    request = FetchRequest(
        read_session_range(day, first, last, backfill, again=again, now=datetime.now(UTC)),
        bars=only != "reference",
        reference=only != "bars",
        flat_files=flat_files,
    )
    run_fetch(settings, environment(), request, output)

"""The command ``ohlcv fetch``."""

from __future__ import annotations

from typing import Any

import click

from batch.runtime.command import lake_option, output_options
from batch.runtime.environment import environment
from batch.runtime.output import Output
from orchestration.cli.vendor_options import pace_options, strict_option


@click.command(name="fetch")
@lake_option
@click.option("--date", "day", metavar="DATE", help="Fetch this session, such as 2025-01-10.")
@click.option("--from", "first", metavar="DATE", help="First session of a range to fill.")
@click.option("--to", "last", metavar="DATE", help="Last session of it; the newest by default.")
@click.option("--backfill", metavar="YEARS", type=float, help="Fill the last so many years.")
@click.option("--again", is_flag=True, help="Ask for sessions of the range that are there, too.")
@click.option("--flat-files", is_flag=True, help="Read the vendor's flat files: fast, paid plans.")
@click.option("--only", type=click.Choice(["bars", "reference"]), help="Fetch one of the two.")
@strict_option
@pace_options
@output_options
def command(
    output: Output,
    day: str | None,
    first: str | None,
    last: str | None,
    backfill: float | None,
    again: bool,
    flat_files: bool,
    only: str | None,
    **options: Any,
) -> None:
    """Fetch daily bars and reference data from Polygon.

    Without a date: the sessions that the lake lacks, and the last few again, for bars
    change after the close. The key comes from POLYGON_API_KEY or MASSIVE_API_KEY. A run
    that was stopped is continued by the next one.

    \b
    Examples:
      ohlcv fetch
      ohlcv fetch --backfill 2
      ohlcv fetch --from 2020-01-01 --flat-files
    """
    from fetchers.fetch import run_fetch  # noqa: PLC0415 - help stays quick
    from fetchers.options import read_session_range  # noqa: PLC0415
    from fetchers.request import FetchRequest  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(**options)
    request = FetchRequest(
        read_session_range(day, first, last, backfill, again=again),
        bars=only != "reference",
        reference=only != "bars",
        flat_files=flat_files,
    )
    run_fetch(settings, environment(), request, output)

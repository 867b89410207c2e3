"""The command ``ohlcv demo``."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime
from typing import Any

import click

from batch.runtime.command import command_name, job_run, lake_option, output_options
from batch.runtime.formats import size_text
from batch.runtime.output import Output


@click.command(name="demo")
@lake_option
@click.option(
    "--symbols",
    type=click.IntRange(1, 20_000),
    metavar="N",
    default=400,
    show_default=True,
    help="Stocks listed at any time.",
)
@click.option("--first", metavar="DATE", help="First date.  [default: three years before the last]")
@click.option("--last", metavar="DATE", help="Last date.  [default: the newest closed session]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=7,
    show_default=True,
    help="Which market.",
)
@click.option("--workers", type=int, metavar="N", help="Threads of the jobs.  [env: OHLCV_WORKERS]")
@output_options
def command(
    output: Output,
    symbols: int,
    first: str | None,
    last: str | None,
    seed: int,
    **options: Any,
) -> None:
    """Make a whole lake from a synthetic exchange: no key, no network.

    Listings, delistings, halts, splits, early closes, late, repeated and corrected
    deliveries and broken rows all occur. The lake is consolidated, resampled into six
    intervals, and every value is checked by another engine.

    \b
    Examples:
      ohlcv demo --lake demo-lake
      ohlcv demo --symbols 50 --first 2020-01-01 --last 2020-12-31
    """
    from batch.core.errors import DataRefused  # noqa: PLC0415 - help stays quick
    from batch.core.sessions import load_calendar  # noqa: PLC0415
    from batch.lake.partitions import TablePartitions  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from orchestration.demo import make_demo_lake, three_years_to  # noqa: PLC0415
    from simulation.exchange import ExchangeSpec  # noqa: PLC0415

    settings = Settings.read(**options)
    calendar = load_calendar()
    until = _date(last, "--last") or calendar.newest_closed(datetime.now(UTC))
    since = _date(first, "--first") or three_years_to(until)
    if since > until:
        raise click.BadParameter(f"--first {since} is after --last {until}")
    spec = ExchangeSpec(symbols=symbols, first=since, last=until, seed=seed)
    store = open_store(settings.lake)
    with job_run("demo", store, settings, output) as run:
        made = make_demo_lake(
            store,
            spec,
            calendar=calendar,
            workers=settings.workers,
            progress=run.progress,
            stop_requested=run.stop_requested,
        )
        run.report.counts = {
            "new_deliveries": made.deliveries,
            "refused_rows": made.refused_rows,
            "newest_session": made.consolidation.newest,
            "differences": made.verification.count,
        }
        run.report.partitions = [*made.consolidation.published, *made.resampling.published]
        run.report.problems = [*made.consolidation.problems]
    tables = [
        (name, partitions, rows, TablePartitions.list(store, name).size_bytes)
        for name, partitions, rows in made.verification.checked
    ]
    output.result(
        {
            "lake": store.uri,
            "tables": [
                dict(zip(("table", "years", "rows", "bytes"), row, strict=True)) for row in tables
            ],
            **run.report.counts,
        }
    )
    output.table(
        ["table", "years", "bars", "size"],
        [(name, years, rows, size_text(size)) for name, years, rows, size in tables],
    )
    output.say(
        f"The lake is {store.uri}: {symbols} synthetic stocks, {since} to {until};\n"
        f"broken rows, refused on the way and kept with their reasons: {made.refused_rows:,}."
    )
    if made.verification.count:
        raise DataRefused(f"{made.verification.count} values differ: run `ohlcv verify`")
    where = "" if settings.lake == "./lake" else f" --lake {shlex.quote(settings.lake)}"
    output.say("Every value is what a second engine computes. Try next:\n")
    ohlcv = command_name()
    symbol = shlex.quote(Lake(store).symbols()[0])
    output.say(f"  {ohlcv} status{where}")
    output.say(f"  {ohlcv} chart {symbol}{where}")
    output.say(f"  {ohlcv} report{where}")
    output.say(f'  {ohlcv} sql{where} "select * from bars_5d limit 5"')


def _date(text: str | None, option: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as err:
        raise click.BadParameter(
            f"{text!r} is not a date such as 2025-01-31", param_hint=option
        ) from err

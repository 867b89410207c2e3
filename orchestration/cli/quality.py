"""The command ``ohlcv quality``."""

from __future__ import annotations

from typing import Any

import click

from batch.runtime.command import StopSwitch, lake_option, output_options
from batch.runtime.output import Output


@click.command(name="quality")
@lake_option
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--since", metavar="DATE", help="Only findings from this date on.")
@click.option(
    "--show",
    type=click.IntRange(0),
    metavar="N",
    default=3,
    show_default=True,
    help="Findings to print each.",
)
@click.option("--strict", is_flag=True, help="End with exit code 3 when anything was found.")
@output_options
def command(
    output: Output,
    checks: tuple[str, ...],
    since: str | None,
    show: int,
    strict: bool,
    **options: Any,
) -> None:
    """Look for bars that keep every rule and still are not what they seem.

    Splits missing from the record, splits that the price does not show, stale and repeated
    bars, runs without volume, drops in coverage, symbols that vanish. Findings are hints:
    nothing is changed. --json prints all of them.

    \b
    Examples:
      ohlcv quality --since 2025-01-01
      ohlcv quality --check unrecorded_split --show 50
    """
    from batch.audit.quality import check_lake  # noqa: PLC0415
    from batch.core.errors import DataRefused  # noqa: PLC0415 - help stays quick
    from batch.core.instants import parse_date  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415

    settings = Settings.read(**options)
    first = parse_date(since, label="--since") if since else None
    lake = Lake.open(settings.lake)
    with StopSwitch().armed() as switch, output.progress() as progress:
        quality = check_lake(
            lake, names=checks, since=first, progress=progress, stop_requested=switch
        )
    output.result(
        {
            "lake": lake.store.uri,
            "bars": quality.bars,
            "symbols": quality.symbols,
            "counts": quality.counts,
            "findings": quality.findings.to_dicts(),
        }
    )
    output.table(
        ["check", "found", "looks for"],
        [(name, count, quality.checks[name]) for name, count in quality.counts.items()],
    )
    for name, count in quality.counts.items():
        if count and show:
            output.say(f"{name}: the newest {min(show, count):,} of {count:,}")
            for row in quality.findings.filter(check=name).head(show).iter_rows(named=True):
                output.say(f"  {row['date']}  {row['symbol'] or '':<6}  {row['told']}", hanging=22)
    output.say(f"{quality.bars:,} daily bars of {quality.symbols:,} symbols looked at")
    if strict and quality.findings.height:
        raise DataRefused(f"{quality.findings.height:,} findings")

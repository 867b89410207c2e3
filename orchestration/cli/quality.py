"""The command ``ohlcv quality``."""

from __future__ import annotations

from datetime import date

import click

from batch.audit.checks import CHECKS, LAKE_CHECKS
from batch.audit.quality import check_lake
from batch.core.errors import DataRefused
from batch.lake.read import Lake
from batch.runtime.formats import count_text
from batch.runtime.options import date_option, output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import StopSwitch
from batch.runtime.settings import Settings
from orchestration.cli.completion import completing


@click.command(name="quality")
@settings_options(Settings)
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="NAME",
    shell_complete=completing([*(check.name for check in CHECKS), *LAKE_CHECKS]),
    help="Only this check; may be repeated.",
)
@date_option("--since", "Only findings since this date.")
@click.option(
    "--show", type=click.IntRange(0), metavar="N", default=3, help="Findings to print per check."
)
@click.option("--strict", is_flag=True, help="Exit with code 3 if anything was found.")
@output_options
def command(
    settings: Settings,
    output: Output,
    checks: tuple[str, ...],
    since: date | None,
    show: int,
    strict: bool,
) -> None:
    """Find bars that obey every rule and still look wrong.

    Splits missing from the record, splits that the price does not show, stale and repeated
    bars, runs without volume, drops in coverage, symbols that vanish. Findings are hints;
    nothing is changed. --json prints all of them.

    \b
    Examples:
      ohlcv quality --since 2025-01-01
      ohlcv quality --check unrecorded_split --show 50
    """
    lake = Lake.open(settings.lake)
    with StopSwitch().armed() as switch, output.progress() as progress:
        quality = check_lake(
            lake, names=checks, since=since, progress=progress, stop_requested=switch
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
        ["check", "found", "finds"],
        [(name, count, quality.checks[name]) for name, count in quality.counts.items()],
    )
    for name, count in quality.counts.items():
        if count and show:
            output.say(f"{name}: the newest {min(show, count):,} of {count:,}")
            for row in quality.findings.filter(check=name).head(show).iter_rows(named=True):
                output.say(f"  {row['date']}  {row['symbol'] or '':<6}  {row['told']}", hanging=22)
    symbols = count_text(quality.symbols, "symbols")
    output.say(f"{count_text(quality.bars, 'daily bars')} of {symbols} checked")
    if strict and quality.findings.height:
        raise DataRefused(count_text(quality.findings.height, "findings"))

"""The command ``ohlcv sql``."""

from __future__ import annotations

import sys

import click

from batch.core.errors import SettingsError
from batch.lake.read import Lake
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output, terminal_width
from batch.runtime.settings import Settings
from batch.runtime.tables import split_table


@click.command(name="sql")
@click.argument("query")
@settings_options(Settings)
@click.option("--csv", "as_csv", is_flag=True, help="Print every row as CSV.")
@click.option(
    "--rows", type=click.IntRange(1), metavar="N", default=50, help="Rows of the table to print."
)
@output_options
def command(settings: Settings, output: Output, query: str, as_csv: bool, rows: int) -> None:
    """Run a DuckDB query over the lake.

    There is a view of every table: bars_1d, bars_3d ... bars_34d, restatements, splits,
    tickers and dividends. Prices are as traded; adjusted.bars_1d ... adjusted.bars_34d have
    them adjusted for splits. The views have open bars too: filter with WHERE complete.
    window_end is the column "end", a reserved word, under a name that needs no quotes. A
    query cannot write, and cannot read other files. --csv and --json print every row. Use -
    to read the query from standard input.

    \b
    Examples:
      ohlcv sql "select * from bars_5d where symbol = 'AAPL' and complete"
      ohlcv sql "select window_end, close from adjusted.bars_21d limit 9"
      ohlcv sql "select date, count(*) from bars_1d group by 1 order by 1" --csv
    """
    if as_csv and output.as_json:
        raise SettingsError("--csv and --json: give one of them")
    found = Lake.open(settings.lake).sql(sys.stdin.read() if query == "-" else query)
    if as_csv:
        click.echo(found.write_csv(), nl=False)
        return
    output.result({"columns": found.columns, "rows": found.rows()})
    if not found.columns:
        return
    for line in split_table(found.columns, found.head(rows).rows(), terminal_width()):
        output.say(line)
    if not found.height:
        output.say("no rows")
    if found.height > rows:
        output.say(f"{rows:,} of {found.height:,} rows; --rows, --csv or --json print more")
